"""The programs ``cat2import`` and ``cat2export``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from caterva2.errors import Caterva2Error


def import_main() -> int:
    """Run ``cat2import HDF5_FILE CATERVA2_ROOT``; return its exit code."""
    from .hdf5_import import import_hdf5

    return _run("cat2import HDF5_FILE CATERVA2_ROOT", import_hdf5)


def export_main() -> int:
    """Run ``cat2export CATERVA2_ROOT HDF5_FILE``; return its exit code."""
    from .hdf5_export import export_hdf5

    return _run("cat2export CATERVA2_ROOT HDF5_FILE", export_hdf5)


def _run(usage: str, convert: Callable[[Path, Path], int]) -> int:
    arguments = sys.argv[1:]
    if len(arguments) != 2 or arguments[0].startswith("-"):
        sys.stderr.write(f"usage: {usage}\n")
        return 0 if arguments in (["-h"], ["--help"]) else 1
    # As the original's programs showed it.
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s:root:%(message)s")
    try:
        convert(Path(arguments[0]), Path(arguments[1]))
    except (Caterva2Error, OSError) as error:
        sys.stderr.write(f"{usage.split()[0]}: {error}\n")
        return 1
    return 0
