"""From a directory with Blosc2 files to an HDF5 file: what ``cat2export`` does."""

from __future__ import annotations

import logging
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from caterva2.errors import BadRequest, Caterva2Error
from caterva2.paths import ARRAY_SUFFIX, FRAME_SUFFIX, printable
from caterva2.slices import select
from caterva2.wire import Kind

from .assemble import plan_frame
from .base import DatasetSource, Layout
from .chunks import Special, decompress, placement, read_header, read_part
from .directory import DirectoryRoot, FrameSource
from .dtypes import Dtype, from_storage, parse_dtype, storage_dtype
from .frames import Coding
from .hdf5 import library

logger = logging.getLogger(__name__)


def export_hdf5(source: Path, target: Path) -> int:
    """Write the files of a directory as datasets of a new HDF5 file.

    Arrays keep chunks, compression and attributes, and lose their suffix; frames of bytes and plain files become
    datasets of bytes; directories become groups. What HDF5 cannot hold is left out, with a line in the log.

    Parameters
    ----------
    source
        The directory.
    target
        The HDF5 file to be made.

    Returns
    -------
    int
        Number of datasets written.

    Raises
    ------
    BadRequest
        If there is no such directory, or `target` exists.
    """
    if not source.is_dir():
        raise BadRequest(f"there is no directory at {source}")
    root = DirectoryRoot(source)
    try:
        file = library().File(target, "x")
    except FileExistsError:
        raise BadRequest(f"{target} exists already") from None
    except OSError as error:
        raise BadRequest(f"{target} cannot be made: {error.strerror or error}") from None
    with file:
        for folder in sorted(path for path in source.rglob("*") if path.is_dir() and not path.is_symlink()):
            file.require_group(folder.relative_to(source).as_posix())
        return sum(_export(root, found.path, file) for found in list(root.scan()))


def _export(root: DirectoryRoot, path: str, file: Any) -> int:
    try:
        with root.open(path) as source:
            if source.layout.kind is Kind.ARRAY:
                dataset = _export_array(source, path.removesuffix(ARRAY_SUFFIX), file)
            else:
                dataset = _export_bytes(source, path.removesuffix(FRAME_SUFFIX), file)
            if isinstance(source, FrameSource):
                _export_attributes(source.frame.vlmeta, dataset, path)
    except Caterva2Error as error:
        logger.error("%s is left out: %s", printable(path), error.detail)
        return 0
    except (OSError, TypeError, ValueError, RuntimeError, KeyError) as error:
        logger.error("%s is left out: HDF5 cannot hold it (%s)", printable(path), error)
        return 0
    return 1


# --- arrays ---------------------------------------------------------------------
def _export_array(source: DatasetSource, name: str, file: Any) -> Any:
    layout = source.layout
    dtype = parse_dtype(layout.dtype)
    if not layout.shape or not layout.nchunks:
        return file.create_dataset(name, data=_as_hdf5(_whole(source), dtype), dtype=_hdf5_dtype(dtype))
    dataset = file.create_dataset(
        name,
        shape=layout.shape,
        # HDF5 wants no chunk longer than its axis, unless the axis can grow.
        maxshape=tuple(None if c > n else n for c, n in zip(layout.chunks, layout.shape, strict=True)),
        dtype=_hdf5_dtype(dtype),
        chunks=layout.chunks,
        **_filter(source),
    )
    if dtype.kind == "U" or not _pass_through(source, dataset):
        for nchunk in range(layout.nchunks):
            _write_chunk(source, nchunk, dataset, dtype)
    return dataset


def _hdf5_dtype(dtype: Dtype) -> Any:
    """Return the type under which HDF5 holds the elements: text of fixed length as UTF-8, times as opaque."""
    h5py = library()
    if dtype.kind == "U":
        return h5py.string_dtype("utf-8", dtype.itemsize)
    return h5py.opaque_dtype(dtype) if dtype.kind in "mM" else dtype


def _as_hdf5(values: np.ndarray[Any, Any], dtype: Dtype) -> np.ndarray[Any, Any]:
    return np.char.encode(values, "utf-8").astype(_hdf5_dtype(dtype)) if dtype.kind == "U" else values


def _filter(source: DatasetSource) -> dict[str, Any]:
    import hdf5plugin

    coding = source.frame.coding if isinstance(source, FrameSource) else Coding()
    names = {0: "blosclz", 1: "lz4", 2: "lz4hc", 4: "zlib", 5: "zstd"}
    return dict(
        hdf5plugin.Blosc2(cname=names.get(coding.codec, "zstd"), clevel=coding.clevel, filters=_shuffle(coding))
    )


def _shuffle(coding: Coding) -> int:
    return next((number for number in reversed(coding.filters) if number in (1, 2)), 0)


def _pass_through(source: DatasetSource, dataset: Any) -> bool:
    """Store the compressed chunks as they are; tell whether HDF5 reads the first of them as we do."""
    layout = source.layout
    grid = tuple(-(-n // c) for n, c in zip(layout.shape, layout.chunks, strict=True))
    checked = False
    for nchunk in range(layout.nchunks):
        chunk = source.chunk(nchunk)
        if read_header(chunk).special == Special.ZEROS:
            continue  # what was never written reads as zeros
        index = np.unravel_index(nchunk, grid)
        start = tuple(int(i) * c for i, c in zip(index, layout.chunks, strict=True))
        dataset.id.write_direct_chunk(start, _as_filter_writes(chunk, layout))
        if not checked:
            where = tuple(slice(i, min(i + c, n)) for i, c, n in zip(start, layout.chunks, layout.shape, strict=True))
            if not _reads_back(dataset, where, _part(source, where)):
                return False
            checked = True
    return True


def _as_filter_writes(chunk: bytes, layout: Layout) -> bytes:
    """Wrap a chunk into the small frame that HDF5's Blosc2 filter makes."""
    alone = replace(layout, shape=layout.chunks, nchunks=1, nbytes=prod(layout.chunks) * layout.typesize)
    return b"".join(plan_frame(alone, [placement(chunk)]).stream([chunk]))


def _reads_back(dataset: Any, where: tuple[slice, ...], expected: np.ndarray[Any, Any]) -> bool:
    try:
        return bool(np.asarray(dataset[where]).tobytes() == expected.tobytes())
    except (OSError, RuntimeError, ValueError):
        return False


def _write_chunk(source: DatasetSource, nchunk: int, dataset: Any, dtype: Dtype) -> None:
    layout = source.layout
    grid = tuple(-(-n // c) for n, c in zip(layout.shape, layout.chunks, strict=True))
    where = tuple(
        slice(int(i) * c, min((int(i) + 1) * c, n))
        for i, c, n in zip(np.unravel_index(nchunk, grid), layout.chunks, layout.shape, strict=True)
    )
    dataset[where] = _as_hdf5(_part(source, where), dtype)


def _whole(source: DatasetSource) -> np.ndarray[Any, Any]:
    return _part(source, tuple(slice(None) for _ in source.layout.shape))


def _part(source: DatasetSource, where: tuple[slice, ...]) -> np.ndarray[Any, Any]:
    layout = source.layout
    dtype = parse_dtype(layout.dtype)
    selection = select(where, layout.shape)
    box = np.empty(selection.box, dtype=storage_dtype(dtype))
    for part in selection.parts(layout.chunks):
        read_part(source.chunk(part.nchunk), layout, part, box)
    return from_storage(box, dtype)


# --- bytes ---------------------------------------------------------------------
def _export_bytes(source: DatasetSource, name: str, file: Any) -> Any:
    layout = source.layout
    typesize = layout.typesize if layout.nbytes % max(layout.typesize, 1) == 0 else 1
    dtype = np.dtype("u1") if typesize == 1 else np.dtype((np.void, typesize))
    count = layout.nbytes // typesize
    if not count:
        return file.create_dataset(name, shape=(0,), dtype=dtype)
    import hdf5plugin

    chunk = min(max(layout.chunksize // typesize, 1), count)
    dataset = file.create_dataset(
        name, shape=(count,), dtype=dtype, chunks=(chunk,), **hdf5plugin.Blosc2(cname="zstd", clevel=5)
    )
    for nchunk in range(layout.nchunks):
        start = nchunk * layout.chunksize // typesize
        data = np.frombuffer(decompress(source.chunk(nchunk)), dtype=dtype)
        dataset[start : start + len(data)] = data
    return dataset


# --- attributes ---------------------------------------------------------------------
def _export_attributes(values: dict[str, Any], dataset: Any, path: str) -> None:
    for name, value in values.items():
        try:
            dataset.attrs[name] = _attribute(value)
        except (TypeError, ValueError, OSError, RuntimeError) as error:
            logger.error("attribute %s of %s is left out: %s", printable(name), printable(path), error)


def _attribute(value: Any) -> Any:
    h5py = library()
    if value is None:
        return h5py.Empty("f8")
    if value == b"":
        return h5py.Empty("S1")
    if isinstance(value, bytes):
        return np.bytes_(value)
    if isinstance(value, dict | msgpack.Timestamp):
        raise TypeError("HDF5 has no attributes of this kind")
    if isinstance(value, list):
        array = np.asarray(value)
        return np.asarray(value, dtype=h5py.string_dtype()) if array.dtype.kind == "U" else array
    return value
