"""What a file must be to get a name in a root: read it as a reader would, as far as a bounded effort goes.

Run it in the `caterva2_formats.sandbox`, never in a service: libraries may crash on what they are given here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from caterva2.errors import ChunkNotFound, DatasetNotFound, Unavailable, UnsafeContent
from caterva2.wire import Kind

from .base import DatasetSource
from .chunks import decompress
from .directory import kind_of, open_file
from .hdf5 import Handles, HDF5Source, check_dataset, is_dataset, walk
from .opening import OpenFile

MAX_READ_BYTES = 1 * 2**30
"""Compressed bytes that are read of one file; chunks behind them are checked when somebody reads them."""
MAX_DECOMPRESSED_BYTES = 256 * 2**20
MAX_DATASETS = 1000
"""Datasets of an HDF5 file of which a chunk is decoded."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A file that may be shared."""

    kind: Kind
    nbytes: int
    """Uncompressed bytes of the dataset; bytes of the file where it is no dataset."""
    ndatasets: int = 1
    """Arrays that can be read, for an HDF5 file."""


def inspect(fd: int, listed: str, *, packed: bool = False) -> Verdict:
    """Check the content of an open file.

    Parameters
    ----------
    fd
        Descriptor, which is closed.
    listed
        Name under which the file will be listed; its suffix says what it must be.
    packed
        Whether it is a plain file that is stored compressed in a frame (``.b2``).

    Raises
    ------
    UnsafeContent
        With one sentence that says what is wrong.
    """
    opened = OpenFile(fd)
    kind = kind_of(listed)
    try:
        if kind is Kind.HDF5:
            return _inspect_hdf5(opened)
        if kind is Kind.FILE and not packed:
            return Verdict(kind, opened.stamp.size)
        source = open_file(opened, listed, packed=packed)
        _read(source)
        return Verdict(kind, source.layout.nbytes)
    finally:
        opened.close()


def _read(source: DatasetSource) -> None:
    read = decompressed = 0
    for nchunk in range(source.layout.nchunks):
        chunk = source.chunk(nchunk)
        read += len(chunk)
        if decompressed < MAX_DECOMPRESSED_BYTES:
            decompressed += len(decompress(chunk))
        if read > MAX_READ_BYTES:
            return


def _inspect_hdf5(opened: OpenFile) -> Verdict:
    handles = Handles()
    handle = handles.acquire(f"/proc/self/fd/{opened.fd}", lambda: opened)
    try:
        with handle.reading() as file:
            names = [name for name, member in walk(file) if is_dataset(member) and _is_readable(member)]
        decompressed = 0
        for name in names[:MAX_DATASETS]:
            source = HDF5Source(handles, handle, name)
            if source.layout.nchunks and decompressed < MAX_DECOMPRESSED_BYTES:
                decompressed += len(decompress(source.chunk(0)))
        return Verdict(Kind.HDF5, os.fstat(opened.fd).st_size, len(names))
    except Unavailable:
        raise UnsafeContent("the file is not an HDF5 file, or not a complete one") from None
    except (DatasetNotFound, ChunkNotFound):
        raise UnsafeContent("the HDF5 file is damaged") from None
    finally:
        handles.close()
        handles.release(handle)


def _is_readable(member: Any) -> bool:
    """Tell whether a dataset is one that can be shared; not every dataset of a file need be."""
    try:
        check_dataset(member)
    except UnsafeContent:
        return False
    return True
