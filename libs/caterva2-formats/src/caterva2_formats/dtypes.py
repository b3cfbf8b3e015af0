"""Data types as text: from what a file says to a `numpy.dtype` that cannot hold Python objects."""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import Any

import numpy as np

from caterva2.errors import UnsafeContent

MAX_DTYPE_TEXT = 64 * 1024
"""Longest text of a structured type, which names every column of a table."""
_SHORT_TEXT = 4096
"""Longest text of any other type. Few longer ones are remembered: they take megabytes as types."""
MAX_ITEMSIZE = 64 * 1024
"""Largest element, in bytes. `numpy` itself accepts gigabytes, which makes any array a bomb."""

_KINDS = frozenset("biufcSUVmM")

Dtype = np.dtype[Any]


def named_dtype(text: str) -> tuple[Dtype, str]:
    """Return what `parse_dtype` does, and the text under which ``/api/info`` shows it. Raises UnsafeContent."""
    return _short(text) if len(text) <= _SHORT_TEXT else _long(text)


def parse_dtype(text: str) -> Dtype:
    """Read a data type from its text, as frames and ``/api/info`` hold it.

    Parameters
    ----------
    text
        A type string (``<f8``, ``int64``, ``datetime64[s]``) or the Python literal of a structured or sub-array type.

    Raises
    ------
    UnsafeContent
        If the text is no data type, or one that holds Python objects or is unreasonably large.
    """
    return named_dtype(text)[0]


@lru_cache(maxsize=1024)
def _short(text: str) -> tuple[Dtype, str]:
    return _parse(text)


@lru_cache(maxsize=16)
def _long(text: str) -> tuple[Dtype, str]:
    return _parse(text)


def _parse(text: str) -> tuple[Dtype, str]:
    is_literal = text[:1] in ("[", "(", "{")
    limit = MAX_DTYPE_TEXT if is_literal else _SHORT_TEXT
    if len(text) > limit:
        raise UnsafeContent(f"the text of the data type is longer than {limit} characters")
    try:
        dtype = np.dtype(ast.literal_eval(text)) if is_literal else np.dtype(text)
    except (TypeError, ValueError, SyntaxError, MemoryError, RecursionError, OverflowError, Warning):
        # Spellings on their way out, such as "a3" for "S3", are errors where an operator has turned warnings into them.
        raise UnsafeContent(f"'{text[:80]}' is not a data type") from None
    check_dtype(dtype)
    return dtype, str(dtype)


def check_dtype(dtype: Dtype) -> Dtype:
    """Return `dtype` if its elements are plain bytes of a reasonable size. Raises UnsafeContent."""
    if dtype.hasobject or not _is_plain(dtype):
        raise UnsafeContent(f"data of type '{str(dtype)[:80]}' cannot be shared: its elements are not plain values")
    if not 1 <= dtype.itemsize <= MAX_ITEMSIZE:
        raise UnsafeContent(f"elements of {dtype.itemsize} bytes are not supported (1 to {MAX_ITEMSIZE})")
    return dtype


def _is_plain(dtype: Dtype) -> bool:
    if dtype.subdtype is not None:
        return _is_plain(dtype.subdtype[0])
    if dtype.fields is not None:
        return all(_is_plain(field[0]) for field in dtype.fields.values())
    return dtype.kind in _KINDS


def storage_dtype(dtype: Dtype) -> Dtype:
    """Return the type under which one element occupies one array cell.

    `numpy` turns an array of a sub-array type such as ``('<f8', (4,))`` into one with more axes; code that cuts
    and joins chunks must not see that, so it works on opaque cells of the same size.
    """
    return np.dtype((np.void, dtype.itemsize)) if dtype.subdtype is not None else dtype


def from_storage(array: np.ndarray[Any, Any], dtype: Dtype) -> np.ndarray[Any, Any]:
    """Return an array of `storage_dtype` elements as `numpy` shows `dtype`: sub-arrays become trailing axes."""
    if dtype.subdtype is None:
        return array
    base, inner = dtype.subdtype
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return flat.view(base).reshape(array.shape + inner)


def to_storage(array: np.ndarray[Any, Any], dtype: Dtype) -> np.ndarray[Any, Any]:
    """Undo `from_storage`."""
    if dtype.subdtype is None:
        return np.asarray(array, dtype=dtype)
    base, inner = dtype.subdtype
    cells = np.ascontiguousarray(array, dtype=base)
    shape = cells.shape[: cells.ndim - len(inner)]
    return cells.reshape(-1).view(np.uint8).view(storage_dtype(dtype)).reshape(shape)
