"""Arrays as a browser reads them in place: little-endian bytes in C order, of dtypes that JavaScript knows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from caterva2.errors import BadRequest

Array = np.ndarray[Any, Any]

SHUFFLE_MIN_BYTES = 4096
"""Answers below this size are not worth shuffling."""


def browser_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which values of `dtype` are sent.

    Little-endian; float16 becomes float32 and extended floats float64, because browsers have neither. Fields of
    structured dtypes are packed, in their order.

    Raises
    ------
    BadRequest
        If the dtype holds Python objects.
    """
    if dtype.hasobject:
        raise BadRequest("a dataset of Python objects cannot be shown")
    if dtype.names is not None:
        fields = [(name, browser_dtype(dtype[name])) for name in dtype.names]
        return np.dtype([(name, *_subarray(sent)) for name, sent in fields])
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return np.dtype((browser_dtype(base), shape))
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        return np.dtype("<f4" if dtype.itemsize == 2 else "<f8")
    if dtype.kind == "c" and dtype.itemsize not in (8, 16):
        return np.dtype("<c16")
    return dtype.newbyteorder("<")


def _subarray(dtype: np.dtype[Any]) -> tuple[Any, ...]:
    return dtype.subdtype if dtype.subdtype is not None else (dtype,)


def describe_dtype(dtype: np.dtype[Any]) -> str:
    """Return the JSON text of a dtype: a type string such as ``"<f4"``, or a list of ``[name, type, shape?]``."""
    return json.dumps(_describe(dtype), separators=(",", ":"))


def _describe(dtype: np.dtype[Any]) -> Any:
    if dtype.names is None:
        return dtype.str
    described = []
    for name in dtype.names:
        base, shape = dtype[name].subdtype or (dtype[name], ())
        described.append([name, _describe(base), list(shape)] if shape else [name, _describe(base)])
    return described


def to_bytes(array: Array, *, shuffle: bool) -> tuple[bytes, bool]:
    """Encode an array that already has its `browser_dtype`.

    Parameters
    ----------
    array
        Any shape.
    shuffle
        Whether the bytes may be shuffled: byte 0 of every element first, then byte 1 of every element, and so on.
        Compressors find more in numbers that way.

    Returns
    -------
    tuple[bytes, bool]
        The bytes in C order, and whether they are shuffled.
    """
    contiguous = np.ascontiguousarray(array)
    itemsize = contiguous.dtype.itemsize
    if not shuffle or itemsize < 2 or contiguous.nbytes < SHUFFLE_MIN_BYTES:
        return contiguous.tobytes(), False
    as_bytes = contiguous.reshape(-1).view(np.uint8).reshape(-1, itemsize)
    return np.ascontiguousarray(as_bytes.T).tobytes(), True


def value_range(array: Array) -> tuple[float, float] | None:
    """Return the least and greatest finite value, the amplitude's for complex; None if there is no number."""
    if array.dtype.kind not in "biufc" or not array.size:
        return None
    numbers = np.abs(array) if array.dtype.kind == "c" else array
    if numbers.dtype.kind == "f":
        low, high = np.fmin.reduce(numbers, axis=None), np.fmax.reduce(numbers, axis=None)
        if not (np.isfinite(low) and np.isfinite(high)):
            finite = numbers[np.isfinite(numbers)]
            if not finite.size:
                return None
            low, high = finite.min(), finite.max()
        return float(low), float(high)
    return float(numbers.min()), float(numbers.max())
