"""Between the bytes of an answer and the containers and arrays that people work with."""

from __future__ import annotations

from typing import Any

import blosc2
import numpy as np

CFRAME_MAGIC = b"b2frame\0"


def from_cframe(body: bytes) -> Any:
    """Return the container that a contiguous frame holds: a `blosc2.NDArray` or a `blosc2.SChunk`.

    Raises
    ------
    ValueError
        If the bytes are not a Blosc2 frame.
    """
    if body[2:10] != CFRAME_MAGIC:
        raise ValueError("the answer is not a Blosc2 frame")
    try:
        return blosc2.ndarray_from_cframe(body, copy=True)
    except RuntimeError:
        return blosc2.schunk_from_cframe(body, copy=True)


def to_value(container: Any) -> np.ndarray[Any, Any] | bytes:
    """Return the content of a container: an array of an NDArray, bytes of a super-chunk."""
    if isinstance(container, blosc2.NDArray):
        return np.asarray(container[()] if container.ndim == 0 else container[:])
    return bytes(container[:]) if len(container) else b""


def to_cframe(data: Any) -> bytes:
    """Return array-like data as the contiguous frame of an NDArray."""
    if not isinstance(data, blosc2.NDArray):
        array = np.ascontiguousarray(data)
        data = blosc2.asarray(array.reshape(np.shape(data)))
    return bytes(data.to_cframe())
