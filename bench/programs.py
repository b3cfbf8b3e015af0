"""The programs that are measured: this project, and two releases of the original, which are only ever run.

Each release of the original lives in a virtual environment of its own, as its users install it from PyPI. It is a black
box: nothing of it is read.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Release:
    """A release of the original on PyPI."""

    name: str
    requirements: tuple[str, ...]


ORIGINAL = Release("original", ("caterva2[services]==2025.6.26", "blosc2==3.5.1"))
"""The last one that publishes and subscribes."""
NEWEST = Release("newest", ("caterva2[services]==2026.9.2",))
"""It mounts the public files of another server as a peer."""
RELEASES = {release.name: release for release in (ORIGINAL, NEWEST)}


@dataclass(frozen=True)
class Programs:
    """Installed programs."""

    name: str
    bin: Path

    @property
    def python(self) -> Path:
        """The Python that they run in."""
        return self.bin / "python"

    def version(self, package: str) -> str:
        """Return the version of an installed package."""
        question = f"import importlib.metadata as m; print(m.version('{package}'))"
        return subprocess.run([self.python, "-c", question], capture_output=True, text=True, check=True).stdout.strip()


def ours() -> Programs:
    """Return the programs of this checkout."""
    return Programs("ours", Path(sys.executable).parent)


def installed(release: Release, directory: Path) -> Programs | None:
    """Return a release, installed below `directory` unless it is there already; None if PyPI does not answer."""
    venv = directory / release.name
    done = venv / f"done-{release.requirements[0].partition('==')[2]}"
    if not done.exists():
        print(f"installing {' '.join(release.requirements)} from PyPI, once", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        pip = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        answer = subprocess.run([*pip, *release.requirements], capture_output=True, text=True, check=False)
        if answer.returncode:
            print(f"{release.name} is not measured: {answer.stderr.strip()[-300:]}", file=sys.stderr)
            return None
        done.touch()
    return Programs(release.name, venv / "bin")
