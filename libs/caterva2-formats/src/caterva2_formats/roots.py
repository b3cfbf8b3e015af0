"""Choosing the kind of a root from what its path holds."""

from __future__ import annotations

import os
from pathlib import Path

from caterva2.errors import BadRequest

from .base import RootSource

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def open_root(path: str | os.PathLike[str]) -> RootSource:
    """Return the root that a path holds: a directory, or one HDF5 file.

    Raises
    ------
    BadRequest
        If there is nothing that can be published.
    """
    place = Path(path)
    if place.is_dir():
        from .directory import DirectoryRoot

        return DirectoryRoot(place)
    if place.is_file() and has_hdf5_signature(place):
        from .hdf5 import HDF5Root

        return HDF5Root(place)
    if not place.exists():
        raise BadRequest(f"there is no directory or HDF5 file at {place}")
    raise BadRequest(f"{place} is neither a directory nor an HDF5 file, so it cannot be published as a root")


def has_hdf5_signature(path: Path) -> bool:
    """Tell whether a file begins as HDF5 files do, at one of the places where the format allows it to begin."""
    with path.open("rb") as file:
        size = path.stat().st_size
        offset = 0
        while offset + len(_HDF5_SIGNATURE) <= size:
            file.seek(offset)
            if file.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE:
                return True
            offset = max(offset * 2, 512)
    return False
