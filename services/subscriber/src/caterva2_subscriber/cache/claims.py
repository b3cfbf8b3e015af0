"""Claims: which of the processes that share a cache brings a chunk in.

A claim is a lock on one byte of a file that stays empty, at a place that stands for the chunk (open file description
locks of Linux). The kernel gives the claims of a process that died back.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
from collections.abc import Iterable
from pathlib import Path

from .records import VersionKey

_FLOCK = struct.Struct("hhqqi4x")
_CHUNK_BITS = 22
_PLACE_BITS = 40
"""Chunks that happen to share a place are fetched one after the other."""
_TAKEN = (errno.EAGAIN, errno.EACCES)


class Claims:
    """Claims of one batch of chunks; given back by `close`, or one by one.

    Parameters
    ----------
    file
        The file of locks that all processes use.
    key
        Version that the chunks belong to.

    Raises
    ------
    OSError
        If the file cannot be used.
    """

    def __init__(self, file: Path, key: VersionKey) -> None:
        facts = "\0".join((key.root, key.epoch, key.path, key.etag)).encode()
        place = int.from_bytes(hashlib.blake2b(facts, digest_size=8).digest()) & (2**_PLACE_BITS - 1)
        self._first = place << _CHUNK_BITS
        self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self, ranges: Iterable[tuple[int, int]]) -> list[int]:
        """Claim those of the chunks in half-open ranges that no other process has claimed, and return them."""
        mine: list[int] = []
        for start, stop in ranges:
            if self._lock(fcntl.F_WRLCK, start, stop):
                mine.extend(range(start, stop))
            else:
                mine.extend(nchunk for nchunk in range(start, stop) if self._lock(fcntl.F_WRLCK, nchunk, nchunk + 1))
        return mine

    def give_back(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Let others claim the chunks in half-open ranges."""
        for start, stop in ranges:
            self._lock(fcntl.F_UNLCK, start, stop)

    def close(self) -> None:
        """Give everything back."""
        os.close(self._fd)

    def _lock(self, kind: int, start: int, stop: int) -> bool:
        lock = _FLOCK.pack(kind, os.SEEK_SET, self._first + start, stop - start, 0)
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, lock)
        except OSError as error:
            # Where there are no locks, every process fetches for itself.
            return error.errno not in _TAKEN
        return True
