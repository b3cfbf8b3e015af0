"""Pyramids on disk: one file for each plane of each version, the least recently used ones removed.

A file is tiles one behind the other, then the index, then its length and digest. It is derived data: what is damaged,
or what there is no room for, is made again.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from caterva2.errors import ChunkNotFound, StorageFailed, TooLarge
from caterva2_formats.chunks import digest
from caterva2_formats.pyramid import Plane

_SUFFIX = ".pyramid"
_TRAILER = struct.Struct("<Q16s")
_MAX_INDEX = 64 * 2**20
_KEPT_INDEXES = 64
"""Indexes that are held in memory."""


@dataclass(frozen=True, slots=True)
class PyramidKey:
    """A plane of one version of a dataset."""

    path: str
    etag: str
    plane: Plane

    @property
    def name(self) -> str:
        """Name of the file; those of a dataset begin alike."""
        return f"{_hash(self.path)}-{_hash(f'{self.etag}:{self.plane}')}"


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


Index = dict[str, tuple[int, int, str]]
"""Start, length and digest (hexadecimal) of each tile, by ``LEVEL/NUMBER``."""


class PyramidFile:
    """A pyramid that is being written."""

    def __init__(self, file: Path, limit: int) -> None:
        self._fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._limit = limit
        self._index: Index = {}
        self.nbytes = 0

    def add(self, level: int, number: int, tile: bytes) -> None:
        """Add a tile. Raises TooLarge when the file would be larger than all may be together."""
        if self.nbytes + len(tile) > self._limit:
            raise TooLarge("the pyramid of this plane is larger than the room for pyramids")
        self._index[f"{level}/{number}"] = self.nbytes, len(tile), digest(tile).hex()
        self._write(tile)

    def finish(self) -> None:
        """Write the index."""
        index = orjson.dumps(self._index)
        self._write(index + _TRAILER.pack(len(index), digest(index)))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while len(view):
            view = view[os.write(self._fd, view) :]
        self.nbytes += len(data)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)


class PyramidFiles:
    """Pyramids by key, bounded in bytes. Methods may be called from any thread.

    Parameters
    ----------
    directory
        Where they are kept over restarts; made when the first one is.
    disk_bytes
        Bound of the files there, together.
    """

    def __init__(self, directory: Path, *, disk_bytes: int) -> None:
        self._directory = directory
        self._disk_bytes = disk_bytes
        self._lock = threading.Lock()
        self._files: OrderedDict[str, int] = OrderedDict()
        self._indexes: OrderedDict[str, Index] = OrderedDict()
        self._used = 0
        if directory.is_dir():
            self._load()

    def _load(self) -> None:
        found = []
        for entry in os.scandir(self._directory):
            if entry.name.endswith(_SUFFIX):
                state = entry.stat()
                found.append((state.st_mtime_ns, entry.name.removesuffix(_SUFFIX), state.st_size))
            else:
                Path(entry.path).unlink(missing_ok=True)  # begun by a publisher that was killed
        for _, name, size in sorted(found):
            self._files[name] = size
            self._used += size
        self._shrink()

    def has(self, key: PyramidKey) -> bool:
        """Tell whether a pyramid is here."""
        return key.name in self._files

    @contextmanager
    def writing(self, key: PyramidKey) -> Iterator[PyramidFile]:
        """Give a file for the tiles of a pyramid, which is kept if the block ends well.

        Raises
        ------
        StorageFailed
            If the disk refuses it.
        """
        begun = self._directory / f"{key.name}.begun"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            begun.unlink(missing_ok=True)
            file = PyramidFile(begun, self._disk_bytes)
            try:
                yield file
                file.finish()
            finally:
                file.close()
            begun.replace(self._place(key.name))
        except BaseException as error:
            with suppress(OSError):
                begun.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise StorageFailed(f"the pyramid cannot be kept: {error.strerror}", retry_after_s=10) from None
            raise
        with self._lock:
            self._used += file.nbytes - self._files.pop(key.name, 0)
            self._files[key.name] = file.nbytes
            self._shrink()

    def tile(self, key: PyramidKey, level: int, number: int) -> bytes | None:
        """Return a tile; None if the pyramid is not here (any more), or damaged. Raises ChunkNotFound."""
        if key.name not in self._files:
            return None
        try:
            with open(self._place(key.name), "rb") as file:
                index = self._index(key.name, file.fileno())
                place = index.get(f"{level}/{number}") if index is not None else None
                if index is not None and place is None:
                    raise ChunkNotFound(f"level {level} has no tile {number}")
                found = os.pread(file.fileno(), place[1], place[0]) if place is not None else b""
                os.utime(file.fileno())  # the order of use over restarts
        except OSError:
            place, found = None, b""
        with self._lock:
            if place is None or digest(found).hex() != place[2]:
                self._drop(key.name)
                return None
            if key.name in self._files:
                self._files.move_to_end(key.name)
        return found

    def _index(self, name: str, fd: int) -> Index | None:
        with self._lock:
            known = self._indexes.get(name)
        if known is not None:
            return known
        end = os.fstat(fd).st_size - _TRAILER.size
        if end < 0:
            return None
        length, wanted = _TRAILER.unpack(os.pread(fd, _TRAILER.size, end))
        if not 0 < length <= min(end, _MAX_INDEX):
            return None
        data = os.pread(fd, length, end - length)
        if digest(data) != wanted:
            return None
        found: Index = orjson.loads(data)
        with self._lock:
            self._indexes[name] = found
            while len(self._indexes) > _KEPT_INDEXES:
                self._indexes.popitem(last=False)
        return found

    def forget(self, paths: Iterable[str]) -> None:
        """Remove the pyramids of datasets that changed."""
        with self._lock:
            if not self._files:
                return
            gone = {_hash(path) for path in paths}
            for name in [name for name in self._files if name.partition("-")[0] in gone]:
                self._drop(name)

    def _shrink(self) -> None:
        while self._used > self._disk_bytes and self._files:
            self._drop(next(iter(self._files)))

    def _drop(self, name: str) -> None:
        self._used -= self._files.pop(name, 0)
        self._indexes.pop(name, None)
        with suppress(OSError):
            self._place(name).unlink(missing_ok=True)

    def _place(self, name: str) -> Path:
        return self._directory / (name + _SUFFIX)
