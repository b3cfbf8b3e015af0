"""Chunks that had to be compressed when they were read, kept for the next reader: in memory, then on disk.

The chunks of HDF5 datasets that are not Blosc2, and of plain files, are made when they are asked for, at 10 to 50 ms
each.
What is kept is derived data: a chunk that is damaged, or that there is no room for, is made again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from caterva2_formats.chunks import digest

log = logging.getLogger(__name__)

MEMORY_BYTES = 64 * 2**20
LEAST_BYTES = 1024
"""Smaller chunks (repeated values) are made faster than they are found."""
_DIGEST_BYTES = 16
_SUFFIX = ".chunk"


class KeptChunks:
    """Least recently used chunks by (path, etag, label), bounded in memory and on disk. Methods block.

    Parameters
    ----------
    directory
        Where chunks are kept over restarts; made when the first one is.
    disk_bytes
        Bound of the files there, together.
    """

    def __init__(self, directory: Path, *, disk_bytes: int, memory_bytes: int = MEMORY_BYTES) -> None:
        self._directory = directory
        self._disk_bytes = disk_bytes
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._memory: OrderedDict[str, bytes] = OrderedDict()
        self._memory_used = 0
        self._disk: OrderedDict[str, int] = OrderedDict()
        self._disk_used = 0
        self._failed = False
        self._load()

    def _load(self) -> None:
        if not self._directory.is_dir():
            return
        files = []
        for entry in os.scandir(self._directory):
            if entry.name.endswith(_SUFFIX):
                state = entry.stat()
                files.append((state.st_mtime_ns, entry.name.removesuffix(_SUFFIX), state.st_size))
            else:
                Path(entry.path).unlink(missing_ok=True)  # begun by a publisher that was killed
        for _, key, size in sorted(files):
            self._disk[key] = size
            self._disk_used += size
        self._shrink()

    def get(self, path: str, etag: str, label: object, make: Callable[[], bytes]) -> bytes:
        """Return what is kept of a version under a label (the number of a chunk), or what `make` makes now."""
        key = hashlib.blake2b(f"{etag}:{label}:{path}".encode(), digest_size=16).hexdigest()
        with self._lock:
            chunk = self._memory.get(key)
            if chunk is not None:
                self._memory.move_to_end(key)
                return chunk
            on_disk = key in self._disk
        chunk = self._read(key) if on_disk else None
        if chunk is None:
            chunk = make()
            if len(chunk) < LEAST_BYTES:
                return chunk
            self._write(key, chunk)
        self._remember(key, chunk)
        return chunk

    def _remember(self, key: str, chunk: bytes) -> None:
        with self._lock:
            if key not in self._memory:
                self._memory[key] = chunk
                self._memory_used += len(chunk)
            while self._memory_used > self._memory_bytes:
                self._memory_used -= len(self._memory.popitem(last=False)[1])

    def _read(self, key: str) -> bytes | None:
        file = self._file(key)
        try:
            data = file.read_bytes()
            os.utime(file)  # the order of use over restarts
        except OSError:
            data = b""
        found, chunk = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if not chunk or digest(chunk) != found:
            with self._lock:
                self._drop(key)
            return None
        with self._lock:
            if key in self._disk:
                self._disk.move_to_end(key)
        return chunk

    def _write(self, key: str, chunk: bytes) -> None:
        size = len(chunk) + _DIGEST_BYTES
        if size > self._disk_bytes:
            return
        file = self._file(key)
        begun = file.with_name(f"{key}.{threading.get_ident()}")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            begun.write_bytes(digest(chunk) + chunk)
            begun.replace(file)
        except OSError as error:
            with suppress(OSError):
                begun.unlink(missing_ok=True)
            if not self._failed:
                log.warning("Compressed chunks cannot be kept on disk (%s): they are made again", error.strerror)
            self._failed = True
            return
        self._failed = False
        with self._lock:
            self._disk_used += size - self._disk.pop(key, 0)
            self._disk[key] = size
            self._shrink()

    def _shrink(self) -> None:
        while self._disk_used > self._disk_bytes:
            self._drop(next(iter(self._disk)))

    def _drop(self, key: str) -> None:
        self._disk_used -= self._disk.pop(key, 0)
        with suppress(OSError):
            self._file(key).unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        return self._directory / (key + _SUFFIX)
