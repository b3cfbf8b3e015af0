"""Write ``docker/locks/ROLE.txt``: every package in the image of a role, with the hashes of its files.

Run by ``make lock`` after a change of a ``pyproject.toml`` or of ``constraints.txt``. The images install from these
with ``--require-hashes``, so that nothing gets into them that was not there when the file was written.
"""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
LOCKS = REPOSITORY / "docker" / "locks"
FOLDERS = {
    "broker": ("libs/caterva2-client", "libs/caterva2-service", "services/broker"),
    "publisher": ("libs/caterva2-client", "libs/caterva2-formats", "libs/caterva2-service", "services/publisher"),
    "subscriber": ("libs/caterva2-client", "libs/caterva2-formats", "libs/caterva2-service", "services/subscriber"),
}
BUILD = ("hatchling", "setuptools", "wheel", "cyclonedx-bom")
"""What builds the wheels and lists what is in an image; it is not in the images itself."""


def requirements(role: str) -> str:
    """Return what the packages of a role ask for, one a line."""
    program = [sys.executable, REPOSITORY / "docker" / "third_party.py", *FOLDERS[role]]
    return subprocess.run(program, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout


def lock(name: str, wanted: str) -> None:
    """Resolve `wanted` for Python 3.13 on Linux within the constraints, and write the lock of that name."""
    options = ["--generate-hashes", "--no-header", "--quiet", "--no-annotate", "--python-version", "3.13"]
    target = ["--python-platform", "linux", "-c", "constraints.txt", "-o", LOCKS / f"{name}.txt", "-"]
    subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", *options, *target],
        cwd=REPOSITORY,
        check=True,
        input=wanted,
        text=True,
        stdout=subprocess.DEVNULL,
    )


def main() -> None:
    """Write all locks."""
    LOCKS.mkdir(exist_ok=True)
    lock("build", "\n".join(BUILD))
    for role in FOLDERS:
        lock(role, requirements(role))


if __name__ == "__main__":
    main()
