"""The JSON of ``/api/info``, in the shapes that clients of the original rely on (reference API section 2.4)."""

from __future__ import annotations

import base64
import math
from datetime import UTC, datetime
from typing import Any

import msgpack

from caterva2.errors import UnsafeContent
from caterva2.wire import Kind

from .base import FILE_CHUNK_BYTES, Layout
from .frames import Coding, array_layout, bytes_layout

MAX_DEPTH = 32


def timestamp(mtime: float) -> str:
    """Return a Unix time in seconds as ISO 8601 in UTC, with microseconds."""
    moment = datetime.fromtimestamp(mtime, tz=UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def frame_info(
    layout: Layout, coding: Coding, *, vlmeta: dict[str, Any], cbytes: int, nbytes: int, mtime: float
) -> dict[str, Any]:
    """Describe an array, a frame of bytes or a plain file.

    Parameters
    ----------
    layout, coding
        Geometry and compression parameters.
    vlmeta
        User attributes.
    cbytes, nbytes
        Compressed and uncompressed bytes of all chunks, padding included.
    mtime
        Unix time in seconds of the last change.
    """
    schunk: dict[str, Any] = {
        "cbytes": cbytes,
        "chunkshape": layout.chunksize // layout.typesize,
        "chunksize": layout.chunksize,
        "contiguous": True,
        "cparams": _cparams(coding, layout.typesize),
        "cratio": nbytes / cbytes if cbytes else 0.0,
        "nbytes": nbytes,
        "urlpath": None,
        "vlmeta": {name: to_json(value) for name, value in vlmeta.items()},
        "nchunks": layout.nchunks,
    }
    if layout.kind is not Kind.ARRAY:
        return {**schunk, "mtime": timestamp(mtime)}
    return {
        "shape": list(layout.shape),
        "chunks": list(layout.chunks),
        "blocks": list(layout.blocks),
        "dtype": layout.dtype,
        "schunk": {**schunk, "mtime": None},
        "mtime": timestamp(mtime),
    }


def _cparams(coding: Coding, typesize: int) -> dict[str, Any]:
    pairs = zip(coding.filters, coding.filters_meta, strict=True)
    return {
        "codec": coding.codec,
        "codec_meta": coding.codec_meta,
        "clevel": coding.clevel,
        "filters": list(coding.filters),
        "filters_meta": list(coding.filters_meta),
        "typesize": typesize,
        "blocksize": coding.blocksize,
        "nthreads": 1,
        "splitmode": coding.splitmode,
        "tuner": 0,
        "use_dict": False,
        "filters, meta": [[number, meta] for number, meta in pairs if number],
    }


def hdf5_file_info(size: int, mtime: float) -> dict[str, Any]:
    """Describe an HDF5 file as a whole: `size` in bytes, `mtime` in seconds since the Unix epoch."""
    return {"mtime": mtime, "size": size}


def layout_of(kind: Kind, info: dict[str, Any]) -> Layout:
    """Return the layout that `info` describes, checked as if it came from a file.

    Parameters
    ----------
    kind
        What the dataset is.
    info
        What ``/api/info`` answered.

    Raises
    ------
    UnsafeContent
        If the numbers are missing, contradict each other, or are too large.
    """
    try:
        if kind is Kind.HDF5:
            return bytes_layout(kind, _size(info["size"]), FILE_CHUNK_BYTES)
        if kind is Kind.ARRAY:
            shape, chunks, blocks = (tuple(_size(n) for n in info[key]) for key in ("shape", "chunks", "blocks"))
            return array_layout(shape, chunks, blocks, str(info["dtype"]))
        typesize = max(_size(info["cparams"]["typesize"]), 1)
        return bytes_layout(kind, _size(info["nbytes"]), _size(info["chunksize"]) or 1, typesize=typesize)
    except (KeyError, TypeError, ValueError):
        raise UnsafeContent("the description of the dataset is incomplete") from None


def coding_of(info: dict[str, Any]) -> Coding:
    """Return the compression parameters that `info` describes, or the defaults where it does not."""
    cparams = info.get("schunk", info).get("cparams", {})
    try:
        return Coding(
            int(cparams["codec"]),
            int(cparams["codec_meta"]),
            int(cparams["clevel"]),
            tuple(cparams["filters"]),
            tuple(cparams["filters_meta"]),
            int(cparams["splitmode"]),
            int(cparams["blocksize"]),
        )
    except (KeyError, TypeError, ValueError):
        return Coding()


def _size(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise ValueError(value)
    return value


def to_json(value: Any, depth: int = 0) -> Any:
    """Return the value of an attribute as JSON can hold it.

    Bytes become text where they are UTF-8, else ``{"__bytes__": base64}``; NaN and infinities become null.
    """
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"__bytes__": base64.b64encode(value).decode()}
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {str(to_json(name, depth + 1)): to_json(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item, depth + 1) for item in value]
    if isinstance(value, msgpack.Timestamp):
        return timestamp(value.to_unix())
    return value
