"""Between the bytes of an answer and the containers and arrays that people work with."""

from __future__ import annotations

import ast
from typing import Any

import blosc2
import numpy as np

CFRAME_MAGIC = b"b2frame\0"


class DType(str):
    """A dtype as the original reports it, as text, that also has the attributes of `numpy.dtype`.

    ``ds.dtype == "int64"``, ``ds.dtype == np.int64``, ``ds.dtype.itemsize`` and ``ds.dtype.names`` all work.
    """

    __slots__ = ()

    @property
    def numpy(self) -> np.dtype[Any]:
        """The dtype as numpy's own object."""
        return parse_dtype(self)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.numpy, name)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return str.__eq__(self, other)
        try:
            return bool(self.numpy == np.dtype(other))  # type: ignore[call-overload]
        except TypeError:
            return False

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def parse_dtype(text: str) -> np.dtype[Any]:
    """Return the numpy dtype that a subscriber describes, structured and sub-array ones included.

    Raises
    ------
    ValueError
        If the text describes no dtype.
    """
    try:
        return np.dtype(str(text))
    except TypeError:
        pass
    try:
        described: np.dtype[Any] = np.dtype(ast.literal_eval(str(text)))
    except (TypeError, ValueError, SyntaxError) as error:
        raise ValueError(f"{text[:80]!r} is not a dtype") from error
    return described


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
