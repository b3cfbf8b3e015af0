"""Memory that a service shares with a process which evaluates for it: operands go in, results come out, uncopied."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterable, Iterator
from math import prod
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
ALIGNMENT = 64


def aligned(at: int) -> int:
    """Return the next place where an array may begin."""
    return -(-at // ALIGNMENT) * ALIGNMENT


class SharedMemory:
    """A piece of memory that grows as needed.

    Parameters
    ----------
    fd
        Descriptor of a piece that another process made; None to make one, which cannot be made smaller: a reader
        whose memory was taken away would be killed.
    """

    def __init__(self, fd: int | None = None) -> None:
        self._owned = fd is None
        if fd is None:
            fd = os.memfd_create("cat2-expression", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        self.fd = fd
        self.size = 0
        self._map: mmap.mmap | None = None

    def need(self, size: int) -> None:
        """Make at least `size` bytes usable. Raises OSError."""
        if size <= self.size:
            return
        if self._owned:
            os.ftruncate(self.fd, size)
        self._map = mmap.mmap(self.fd, size)
        self.size = size

    def put(self, at: int, array: Array) -> int:
        """Copy an array to a place; return where it ends."""
        end = at + array.nbytes
        if array.nbytes:
            assert self._map is not None, "need() was called"
            np.frombuffer(self._map, np.uint8)[at:end] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return end

    def get(self, at: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return what is at a place, without a copy; it must not be used after the next `need`."""
        count = prod(shape)
        if not count:
            return np.empty(shape, dtype)
        assert self._map is not None, "need() was called"
        return np.frombuffer(self._map, dtype, count, at).reshape(shape)

    def close(self) -> None:
        """Give the memory back."""
        self._map = None
        if self._owned and self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def places(sizes: Iterable[int]) -> Iterator[int]:
    """Yield where arrays of these sizes in bytes begin, and at the end where the next one would."""
    at = 0
    for size in sizes:
        yield at
        at = aligned(at + size)
    yield at
