"""Print the third-party requirements of the packages in the given folders, one a line.

The locks of the images are made from these (``make_locks.py``).
"""

import re
import sys
import tomllib
from pathlib import Path


def main(folders: list[str]) -> None:
    """Print what the pyproject files of `folders` ask for, less the packages of this repository."""
    wanted: set[str] = set()
    for folder in folders:
        project = tomllib.loads(Path(folder, "pyproject.toml").read_text())["project"]
        wanted.update(project["dependencies"])
    ours = re.compile(r"caterva2-[a-z]+")
    sys.stdout.writelines(f"{line}\n" for line in sorted(wanted) if not ours.match(line))


if __name__ == "__main__":
    main(sys.argv[1:])
