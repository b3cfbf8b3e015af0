"""Packs: the files in which chunks are kept, one for each version of a dataset. docs/cache-format.md has the layout.

A pack is only ever appended to, but for records that die: their bytes are given back to the file system by punching
holes. What a crash leaves behind is either a whole record or a torn tail, which `Pack.scan` cuts off. Nothing is
synced to the disk: after a power cut a record may hold anything, which is why every read checks the digest.

Methods block. All but `read`, `has` and what only looks are serialised by a lock of the pack.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from caterva2_formats.chunks import digest

FORMAT_VERSION = 1
_MAGIC = b"C2PK"
_HEADER = struct.Struct("<4sBBxxQQ16s")
_CHECK = struct.Struct("<I")
HEADER_SIZE = _HEADER.size + _CHECK.size
_NO_DIGEST = bytes(16)
_PUNCH_HOLE_KEEP_SIZE = 3
_TRUST_S = 600.0
"""Seconds for which a digest that was right is not computed again for a part of a chunk."""
_HEAD_BYTES = 4096
_SLACK = 256 * 1024
"""Dead bytes that punching could not give back and that are not worth a compaction."""

Bytes = bytes | memoryview
Choose = Callable[[bytes], list[tuple[int, int]] | None]

_libc = ctypes.CDLL(None, use_errno=True)


class Record(IntEnum):
    """What a record of a pack holds."""

    IDENTITY = 1
    """Which version of which dataset the pack belongs to, as JSON; the last one counts."""
    CHUNK = 2
    DEAD = 3
    """Nothing; its bytes may be a hole."""


@dataclass(frozen=True, slots=True)
class VersionKey:
    """Identity of one version of a dataset."""

    root: str
    epoch: str
    path: str
    etag: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A chunk on its way into a pack."""

    nchunk: int
    data: bytes
    digest: bytes


class Pack:
    """The chunks that are kept of one version.

    Parameters
    ----------
    file
        Where the pack is; created by the first `append`.
    key
        Version that the chunks belong to.
    nchunks
        Number of chunks of the dataset.
    """

    def __init__(self, file: Path, key: VersionKey, nchunks: int) -> None:
        self.file = file
        self.key = key
        self.nchunks = nchunks
        self.disk = 0
        """Bytes that the file takes on disk."""
        self.offsets = np.zeros(nchunks, np.int64)
        """Where the bytes of each chunk begin; 0 for chunks that are not here."""
        self.lengths = np.zeros(nchunks, np.uint32)
        self.used = np.zeros(nchunks, np.uint32)
        """When each chunk was last read, in ticks of the store."""
        self._checked = np.zeros(nchunks, np.uint32)
        """When each chunk's digest was last right, on the monotonic clock in seconds."""
        self._stamp = (0, 0)
        self._identity = (0, 0)
        self._end = 0
        self._lock = threading.Lock()

    # --- looking ---------------------------------------------------------------------
    def has(self, nchunk: int) -> bool:
        """Tell whether a chunk is here."""
        return nchunk < self.nchunks and bool(self.offsets[nchunk])

    @property
    def present(self) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Numbers of the chunks that are here."""
        return np.flatnonzero(self.offsets)

    @property
    def live_bytes(self) -> int:
        """Bytes of the chunks that are here, without their headers."""
        return int(self.lengths[self.offsets > 0].sum(dtype=np.int64))

    def read(self, nchunk: int, choose: Choose | None = None) -> Bytes | None:
        """Return a chunk, or None if it is not here (any more).

        Parameters
        ----------
        choose
            Given the first bytes of the chunk, says which others are wanted. Only those are then read, and the rest of
            what is returned has no meaning, if the digest was right not long ago and the file is as we left it.

        Raises
        ------
        Corrupt
            If the bytes are not those that were appended.
        """
        offset, length = int(self.offsets[nchunk]), int(self.lengths[nchunk])
        if not offset:
            return None
        try:
            fd = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            stamp = _stamp(fd)
            if choose is not None and self._is_trusted(nchunk, stamp):
                part = _read_part(fd, offset, length, choose)
                if part is not None:
                    return part
            head = os.pread(fd, HEADER_SIZE, offset - HEADER_SIZE)
            data = os.pread(fd, length, offset)
        finally:
            os.close(fd)
        header = _decode(head)
        good = header is not None and header[:3] == (Record.CHUNK, nchunk, length)
        if good and len(data) == length and header is not None and digest(data) == header[3]:
            if stamp == self._stamp and nchunk < len(self._checked):
                self._checked[nchunk] = time.monotonic()
            return data
        if int(self.offsets[nchunk]) != offset:
            return None  # evicted while it was read
        raise Corrupt(f"chunk {nchunk} of {self.key.root}/{self.key.path} is damaged in {self.file.name}")

    def _is_trusted(self, nchunk: int, stamp: tuple[int, int]) -> bool:
        if stamp != self._stamp:
            # Somebody else wrote to the file, or we do just now.
            self._checked[:] = 0
            self._stamp = stamp
            return False
        checked = int(self._checked[nchunk])
        return bool(checked) and time.monotonic() - checked < _TRUST_S

    def digests(self) -> dict[int, bytes]:
        """Return the digests of the chunks that are here, as their records state them."""
        found = {}
        with self._open(os.O_RDONLY) as fd:
            for nchunk in self.present.tolist():
                header = _decode(os.pread(fd, HEADER_SIZE, int(self.offsets[nchunk]) - HEADER_SIZE))
                if header is not None and header[0] == Record.CHUNK:
                    found[nchunk] = header[3]
        return found

    # --- changing ---------------------------------------------------------------------
    def append(self, key: VersionKey, chunks: Sequence[Kept]) -> None:
        """Add chunks of a version; those that are here already are left as they are.

        Nothing is added if the pack belongs to another version by now.

        Raises
        ------
        OSError
            If the file system refuses; the pack is then as before.
        """
        with self._lock:
            if key != self.key:
                return
            new = {kept.nchunk: kept for kept in chunks if not self.offsets[kept.nchunk]}
            if not new:
                return
            if not self._end:
                self.file.parent.mkdir(parents=True, exist_ok=True)
            with self._open(os.O_RDWR | os.O_CREAT) as fd:
                end = self._end
                try:
                    if not end:
                        end = self._write_identity(fd, 0)
                    places = []
                    for kept in new.values():
                        head = _encode(Record.CHUNK, kept.nchunk, len(kept.data), kept.digest)
                        _write(fd, (head, kept.data), end)
                        places.append((kept.nchunk, end + HEADER_SIZE, len(kept.data)))
                        end += HEADER_SIZE + len(kept.data)
                except OSError:
                    os.ftruncate(fd, self._end)
                    raise
                for nchunk, offset, length in places:
                    self.lengths[nchunk] = length
                    self.offsets[nchunk] = offset
                self._end = end
                self.disk = _disk(fd)
                self._stamp = _stamp(fd)

    def evict(self, numbers: Iterable[int]) -> None:
        """Forget chunks and give their bytes back to the file system; the last one takes the file with it."""
        with self._lock:
            for nchunk in numbers:
                self.offsets[nchunk] = 0
                self.lengths[nchunk] = 0
            self._give_back()

    def adopt(self, key: VersionKey, nchunks: int, keep: Iterable[int]) -> None:
        """Make this the pack of another version of the dataset, of which only the chunks `keep` are the same."""
        with self._lock:
            kept = np.zeros(self.nchunks, bool)
            kept[[nchunk for nchunk in keep if nchunk < min(nchunks, self.nchunks)]] = True
            self.offsets[~kept] = 0
            self.lengths[~kept] = 0
            # The dead are marked on disk before the new name is there: a crash between loses chunks, mixes none.
            self._give_back()
            self.key = key
            self.offsets, self.lengths, self.used = (
                _resized(array, nchunks) for array in (self.offsets, self.lengths, self.used)
            )
            self.nchunks = nchunks
            self._checked = np.zeros(nchunks, np.uint32)
            if self._end:
                with self._open(os.O_RDWR) as fd:
                    self._end = self._write_identity(fd, self._end)
                    self.disk = _disk(fd)

    def drop(self) -> None:
        """Forget everything and remove the file."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        self.offsets[:] = 0
        self.lengths[:] = 0
        self.file.unlink(missing_ok=True)
        self._end = 0
        self.disk = 0

    def _give_back(self) -> None:
        if not self._end:
            return
        present = self.present
        if not len(present):
            self._drop()
            return
        with self._open(os.O_RDWR) as fd:
            for start, stop in self._gaps(present):
                _write(fd, (_encode(Record.DEAD, 0, stop - start - HEADER_SIZE),), start)
                _punch(fd, start + HEADER_SIZE, stop - start - HEADER_SIZE)
            last = int(max(self._identity[1], (self.offsets[present] + self.lengths[present]).max()))
            os.ftruncate(fd, last)
            self._end = last
            self.disk = _disk(fd)
            self._stamp = _stamp(fd)
        if self.disk > 2 * self.live_bytes + _SLACK:
            self._compact(present)

    def _gaps(self, present: np.ndarray[Any, np.dtype[np.intp]]) -> Iterator[tuple[int, int]]:
        """Yield the half-open ranges of the file between what is alive."""
        starts = np.append(self.offsets[present] - HEADER_SIZE, self._identity[0])
        stops = np.append(self.offsets[present] + self.lengths[present], self._identity[1])
        order = np.argsort(starts)
        before = np.concatenate(([0], stops[order][:-1]))
        for start, stop in zip(before.tolist(), starts[order].tolist(), strict=True):
            if stop > start:
                yield start, stop

    def _compact(self, present: np.ndarray[Any, np.dtype[np.intp]]) -> None:
        """Write the living records to a new file: small ones leave holes that no file system gives back."""
        fresh = Pack(self.file.with_suffix(".tmp"), self.key, self.nchunks)
        fresh.file.unlink(missing_ok=True)
        try:
            for nchunk in present.tolist():
                data = self._whole_record(nchunk)
                if data is not None:
                    fresh.append(self.key, [data])
            if fresh._end:
                fresh.file.rename(self.file)
        except OSError:
            fresh.file.unlink(missing_ok=True)
            return
        self.offsets, self.lengths = fresh.offsets, fresh.lengths
        self._identity, self._end, self.disk = fresh._identity, fresh._end, fresh.disk
        self._checked[:] = 0

    def _whole_record(self, nchunk: int) -> Kept | None:
        try:
            data = self.read(nchunk)
        except Corrupt:
            return None
        return None if data is None else Kept(nchunk, bytes(data), digest(data))

    def _write_identity(self, fd: int, start: int) -> int:
        body = json.dumps({"format": FORMAT_VERSION, "nchunks": self.nchunks, **asdict(self.key)}).encode()
        _write(fd, (_encode(Record.IDENTITY, 0, len(body), digest(body)), body), start)
        self._identity = (start, start + HEADER_SIZE + len(body))
        return self._identity[1]

    @contextmanager
    def _open(self, flags: int) -> Iterator[int]:
        fd = os.open(self.file, flags | os.O_CLOEXEC, 0o600)
        try:
            yield fd
        finally:
            os.close(fd)

    # --- reading a pack back ---------------------------------------------------------------------
    @classmethod
    def scan(cls, file: Path) -> Pack | None:
        """Rebuild a pack from its records, and cut off a torn tail.

        Returns
        -------
        Pack or None
            None if the file holds no chunk that can be told; it may then be removed.
        """
        fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            identity: tuple[VersionKey, int, tuple[int, int]] | None = None
            chunks: dict[int, tuple[int, int]] = {}
            end = 0
            for record, number, offset, length, checksum in _records(fd, size):
                if record == Record.IDENTITY:
                    identity = _read_identity(fd, offset, length, checksum) or identity
                elif record == Record.CHUNK:
                    chunks[number] = (offset, length)
                end = offset + length
            if end < size:
                os.ftruncate(fd, end)
            if identity is None:
                return None
            pack = cls(file, identity[0], identity[1])
            pack._identity, pack._end = identity[2], end
            for nchunk, (offset, length) in chunks.items():
                if nchunk < pack.nchunks:
                    pack.offsets[nchunk], pack.lengths[nchunk] = offset, length
            pack.disk = _disk(fd)
            return pack if len(pack.present) else None
        finally:
            os.close(fd)


def _stamp(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_mtime_ns, found.st_size


def _read_part(fd: int, offset: int, length: int, choose: Choose) -> Bytes | None:
    head = os.pread(fd, min(length, _HEAD_BYTES), offset)
    ranges = choose(head)
    if ranges is None or not all(0 <= start < stop <= length for start, stop in ranges):
        return None
    buffer = np.empty(length, np.uint8).data
    buffer[: len(head)] = head
    for start, stop in ranges:
        if os.preadv(fd, [buffer[start:stop]], offset + start) != stop - start:
            return None
    return buffer


class Corrupt(Exception):
    """Bytes on disk are not those that were written."""


def _encode(record: Record, number: int, length: int, checksum: bytes = _NO_DIGEST) -> bytes:
    head = _HEADER.pack(_MAGIC, FORMAT_VERSION, record, number, length, checksum)
    return head + _CHECK.pack(zlib.crc32(head))


def _decode(head: bytes) -> tuple[int, int, int, bytes] | None:
    if len(head) < HEADER_SIZE:
        return None
    magic, version, record, number, length, checksum = _HEADER.unpack_from(head)
    (check,) = _CHECK.unpack_from(head, _HEADER.size)
    if magic != _MAGIC or version != FORMAT_VERSION or check != zlib.crc32(head[: _HEADER.size]):
        return None
    return record, number, length, checksum


def _records(fd: int, size: int) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Yield kind, chunk number, offset, length and digest of every whole record."""
    start = 0
    while True:
        header = _decode(os.pread(fd, HEADER_SIZE, start))
        if header is None:
            return
        record, number, length, checksum = header
        offset = start + HEADER_SIZE
        if offset + length > size:
            return
        yield record, number, offset, length, checksum
        start = offset + length


def _read_identity(
    fd: int, offset: int, length: int, checksum: bytes
) -> tuple[VersionKey, int, tuple[int, int]] | None:
    body = os.pread(fd, length, offset)
    if digest(body) != checksum:
        return None
    facts = json.loads(body)
    key = VersionKey(facts["root"], facts["epoch"], facts["path"], facts["etag"])
    return key, facts["nchunks"], (offset - HEADER_SIZE, offset + length)


def _write(fd: int, pieces: Sequence[bytes], offset: int) -> None:
    left = [memoryview(piece) for piece in pieces if piece]
    while left:
        done = os.pwritev(fd, left, offset)
        if done == 0:
            raise OSError(errno.EIO, "nothing was written")
        offset += done
        while left and done >= len(left[0]):
            done -= len(left.pop(0))
        if done:
            left[0] = left[0][done:]


def _punch(fd: int, offset: int, length: int) -> None:
    """Give a range back to the file system; where it cannot do that, compaction will."""
    if length > 0:
        _libc.fallocate(fd, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_int64(offset), ctypes.c_int64(length))


def _disk(fd: int) -> int:
    return os.fstat(fd).st_blocks * 512


def _resized(array: np.ndarray[Any, Any], length: int) -> np.ndarray[Any, Any]:
    fresh = np.zeros(length, array.dtype)
    shared = min(length, len(array))
    fresh[:shared] = array[:shared]
    return fresh
