"""Packs: the files in which chunks are kept, one for each version of a dataset. docs/cache-format.md has the layout.

A pack is only ever appended to, but for records that die: their bytes are given back to the file system by punching
holes. What a crash leaves behind is either a whole record or a torn tail, which is cut off. Nothing is synced to the
disk: after a power cut a record may hold anything, which is why every read checks the digest.

Any number of processes may work with a pack, each with an index of its own. Who changes the file holds a lock on it
(``flock``) and first takes in what others did; who only reads takes that in when its index turns out to be old.

Methods block. All but `read`, `has` and what only looks are serialised by a lock of the pack.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from caterva2_formats.chunks import digest

from .records import (
    HEADER_SIZE,
    Header,
    Identity,
    Record,
    VersionKey,
    disk_bytes,
    encode_header,
    read_generation,
    read_identity,
    read_records,
    write_dead,
    write_identity,
    write_pieces,
)

_TRUST_S = 600.0
"""Seconds for which a digest that was right is not computed again for a part of a chunk."""
_HEAD_BYTES = 4096
_SLACK = 256 * 1024
"""Dead bytes that punching could not give back and that are not worth a compaction."""

Bytes = bytes | memoryview
Choose = Callable[[bytes], list[tuple[int, int]] | None]


@dataclass(frozen=True, slots=True)
class Kept:
    """A chunk on its way into a pack."""

    nchunk: int
    data: bytes
    digest: bytes


class _Stamp(NamedTuple):
    """A file as it was at some time."""

    inode: int
    mtime_ns: int
    size: int

    @classmethod
    def of(cls, fd: int) -> _Stamp:
        found = os.fstat(fd)
        return cls(found.st_ino, found.st_mtime_ns, found.st_size)


_NO_FILE = _Stamp(0, 0, 0)


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
        self._stamp = _NO_FILE
        self._generation = 0
        self._start = 0
        """Where the identity ends; 0 without a file."""
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

    def look(self) -> None:
        """Take in what other processes did to the file. Does not wait for a thread that is changing it just now."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            fd = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _Stamp.of(fd) != self._stamp:
                    self._take_in(fd)
            finally:
                os.close(fd)
        except FileNotFoundError:
            self._forget()
        finally:
            self._lock.release()

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
            self.look()
            return None
        try:
            stamp = _Stamp.of(fd)
            if choose is not None and self._is_trusted(nchunk, stamp):
                part = self._read_part(fd, offset, length, choose)
                if part is not None:
                    return part
            header = Header.read(fd, offset - HEADER_SIZE)
            data = os.pread(fd, length, offset)
            if header is not None and _is_right(header, nchunk, length, data):
                if stamp == self._stamp and nchunk < len(self._checked):
                    self._checked[nchunk] = time.monotonic()
                return data
            changed = stamp.inode != self._stamp.inode or read_generation(fd) not in (None, self._generation)
        finally:
            os.close(fd)
        if changed:
            self.look()  # another process evicted something
        if changed or int(self.offsets[nchunk]) != offset:
            return None
        raise Corrupt(f"chunk {nchunk} of {self.key.root}/{self.key.path} is damaged in {self.file.name}")

    def _is_trusted(self, nchunk: int, stamp: _Stamp) -> bool:
        if stamp != self._stamp:
            # Somebody else wrote to the file, or we do just now.
            self.look()
            return False
        return self.was_checked(nchunk)

    def was_checked(self, nchunk: int) -> bool:
        """Tell whether the digest of a chunk was right not long ago. Only looks at memory."""
        checked = int(self._checked[nchunk]) if nchunk < len(self._checked) else 0
        return bool(checked) and time.monotonic() - checked < _TRUST_S

    def _read_part(self, fd: int, offset: int, length: int, choose: Choose) -> Bytes | None:
        generation = self._generation
        head = os.pread(fd, min(length, _HEAD_BYTES), offset)
        ranges = choose(head)
        if ranges is None or not all(0 <= start < stop <= length for start, stop in ranges):
            return None
        buffer = np.empty(length, np.uint8).data
        buffer[: len(head)] = head
        for start, stop in ranges:
            if os.preadv(fd, [buffer[start:stop]], offset + start) != stop - start:
                return None
        # The generation changes before anything is taken away: what was read until now was there.
        return buffer if read_generation(fd) == generation == self._generation else None

    def digests(self) -> dict[int, bytes]:
        """Return the digests of the chunks that are here, as their records state them."""
        found = {}
        with self._open(os.O_RDONLY) as fd:
            for nchunk in self.present.tolist():
                header = Header.read(fd, int(self.offsets[nchunk]) - HEADER_SIZE)
                if header is not None and (header.record, header.number) == (Record.CHUNK, nchunk):
                    found[nchunk] = header.digest
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
        if key != self.key or all(self.has(kept.nchunk) for kept in chunks):
            return
        with self._changing(create=True) as fd:
            new = {kept.nchunk: kept for kept in chunks if not self.offsets[kept.nchunk]}
            if fd is None or key != self.key or not new:
                return
            end = self._end
            places = []
            try:
                if not end:
                    end = self._write_identity(fd)
                for kept in new.values():
                    head = encode_header(Record.CHUNK, kept.nchunk, len(kept.data), kept.digest)
                    write_pieces(fd, (head, kept.data), end)
                    places.append((kept.nchunk, end + HEADER_SIZE, len(kept.data)))
                    end += HEADER_SIZE + len(kept.data)
            except OSError:
                self._undo(fd)
                raise
            for nchunk, offset, length in places:
                self.lengths[nchunk] = length
                self.offsets[nchunk] = offset
            self._end = end
            self._left(fd)

    def _undo(self, fd: int) -> None:
        if self._end:
            os.ftruncate(fd, self._end)
        else:
            self._drop()

    def evict(self, numbers: Iterable[int]) -> None:
        """Forget chunks and give their bytes back to the file system; the last one takes the file with it."""
        with self._changing() as fd:
            for nchunk in numbers:
                self.offsets[nchunk] = 0
                self.lengths[nchunk] = 0
            self._give_back(fd)

    def adopt(self, file: Path, key: VersionKey, nchunks: int, keep: Iterable[int]) -> None:
        """Make this the pack of another version of the dataset, of which only the chunks `keep` are the same.

        Parameters
        ----------
        file
            Where the pack of that version belongs.
        """
        with self._changing() as fd:
            kept = np.zeros(self.nchunks, bool)
            kept[[nchunk for nchunk in keep if nchunk < min(nchunks, self.nchunks)]] = True
            self.offsets[~kept] = 0
            self.lengths[~kept] = 0
            # The dead are marked on disk before the new name is there: a crash between loses chunks, mixes none.
            self._give_back(fd)
            self.key = key
            self.offsets, self.lengths, self.used = (
                _resized(array, nchunks) for array in (self.offsets, self.lengths, self.used)
            )
            self.nchunks = nchunks
            self._checked = np.zeros(nchunks, np.uint32)
            if fd is not None and self._end:
                if file.exists() or len(Identity(key, nchunks, 0).body()) != self._start - HEADER_SIZE:
                    self._drop()  # nothing but time is lost
                else:
                    self._write_identity(fd)
                    self.file.rename(file)
                    self._left(fd)
            self.file = file

    def drop(self) -> None:
        """Forget everything and remove the file."""
        with self._changing():
            self._drop()

    def _drop(self) -> None:
        self.file.unlink(missing_ok=True)
        self._forget()

    def _forget(self) -> None:
        self.offsets[:] = 0
        self.lengths[:] = 0
        self._start = self._end = self._generation = self.disk = 0
        self._stamp = _NO_FILE

    def _give_back(self, fd: int | None) -> None:
        if fd is None or not self._end:
            return
        present = self.present
        if not len(present):
            self._drop()
            return
        self._write_identity(fd)
        for start, stop in self._gaps(present):
            write_dead(fd, start, stop)
        self._end = int((self.offsets[present] + self.lengths[present]).max())
        os.ftruncate(fd, self._end)
        self._left(fd)
        if self.disk > 2 * self.live_bytes + _SLACK:
            self._compact(present)

    def _gaps(self, present: np.ndarray[Any, np.dtype[np.intp]]) -> Iterator[tuple[int, int]]:
        """Yield the half-open ranges of the file between what is alive."""
        starts = self.offsets[present] - HEADER_SIZE
        stops = self.offsets[present] + self.lengths[present]
        order = np.argsort(starts)
        before = np.concatenate(([self._start], stops[order][:-1]))
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
        self._start, self._end, self._generation, self.disk = fresh._start, fresh._end, fresh._generation, fresh.disk
        self._stamp = fresh._stamp
        self._checked[:] = 0

    def _whole_record(self, nchunk: int) -> Kept | None:
        try:
            data = self.read(nchunk)
        except Corrupt:
            return None
        return None if data is None else Kept(nchunk, bytes(data), digest(data))

    def _write_identity(self, fd: int) -> int:
        """Write the identity with a new generation, which makes every other index old, and return where it ends."""
        # Of two files of one name, one after the other, each has its own.
        self._generation = max(self._generation + 1, time.time_ns())
        self._start = write_identity(fd, Identity(self.key, self.nchunks, self._generation))
        return self._start

    def _left(self, fd: int) -> None:
        """Remember how this process leaves the file."""
        self.disk = disk_bytes(fd)
        self._stamp = _Stamp.of(fd)

    @contextmanager
    def _open(self, flags: int) -> Iterator[int]:
        fd = os.open(self.file, flags | os.O_CLOEXEC, 0o600)
        try:
            yield fd
        finally:
            os.close(fd)

    # --- beside other processes ---------------------------------------------------------------------
    @contextmanager
    def _changing(self, *, create: bool = False) -> Iterator[int | None]:
        """Keep threads and processes out, with an index that is right; None if there is no file."""
        with self._lock:
            fd = self._acquire(create)
            if fd is None:
                self._forget()
                yield None
                return
            try:
                self._catch_up(fd)
                yield fd
            finally:
                os.close(fd)

    def _acquire(self, create: bool) -> int | None:
        while True:
            try:
                fd = os.open(self.file, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
            except FileNotFoundError:
                if not create or self.file.parent.is_dir():
                    return None
                self.file.parent.mkdir(parents=True, exist_ok=True)
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if os.fstat(fd).st_ino == self.file.stat().st_ino:
                    return fd
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # it was replaced or removed while we waited

    def _catch_up(self, fd: int) -> None:
        stamp = _Stamp.of(fd)
        if not stamp.size:
            self._forget()
            return
        generation = read_generation(fd)
        if stamp == self._stamp and generation == self._generation:
            return
        if generation is None and stamp.inode == self._stamp.inode:
            self._write_identity(fd)  # it was damaged; this index knows what it was
        self._take_in(fd)
        if not self._end:
            os.ftruncate(fd, 0)
        elif self._end < stamp.size:
            os.ftruncate(fd, self._end)  # a torn tail: whoever wrote it is gone
            self._left(fd)

    def _take_in(self, fd: int) -> None:
        """Make the index that of the file: from where it ended, if nothing but appending was done."""
        stamp = _Stamp.of(fd)
        found = read_identity(fd)
        if found is None and stamp.inode == self._stamp.inode:
            self._checked[:] = 0
            self._stamp = stamp
            return  # damaged, and each chunk that is read says whether it is
        if found is None or found[0].key != self.key:
            self._forget()
            return
        identity, start = found
        same = stamp.inode == self._stamp.inode and identity.generation == self._generation
        if not same or stamp.size < self._end:
            self.offsets, self.lengths = np.zeros(self.nchunks, np.int64), np.zeros(self.nchunks, np.uint32)
            self._start = self._end = start
        newest = self.used.max(initial=0)
        for header, offset in read_records(fd, self._end, stamp.size):
            number = header.number
            if header.record == Record.CHUNK and number < self.nchunks:
                self.lengths[number], self.offsets[number] = header.length, offset
                self.used[number] = self.used[number] or newest
            self._end = offset + header.length
        self._checked[:] = 0
        self._generation = identity.generation
        self.disk = disk_bytes(fd)
        self._stamp = stamp

    @classmethod
    def scan(cls, file: Path, *, cut: bool) -> Pack | None:
        """Rebuild a pack from its records.

        Parameters
        ----------
        cut
            Whether to cut off a torn tail, for which processes that are writing are waited for.

        Returns
        -------
        Pack or None
            None if the file holds no chunk that can be told; it may then be removed.
        """
        fd = os.open(file, (os.O_RDWR if cut else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            if cut:
                fcntl.flock(fd, fcntl.LOCK_EX)
            found = read_identity(fd)
            if found is None:
                return None
            pack = cls(file, found[0].key, found[0].nchunks)
            pack._take_in(fd)
            if cut and pack._end < pack._stamp.size:
                os.ftruncate(fd, pack._end)
                pack._left(fd)
            return pack if len(pack.present) else None
        finally:
            os.close(fd)


class Corrupt(Exception):
    """Bytes on disk are not those that were written."""


def _is_right(header: Header, nchunk: int, length: int, data: bytes) -> bool:
    facts = (header.record, header.number, header.length)
    return facts == (Record.CHUNK, nchunk, length) and len(data) == length and digest(data) == header.digest


def _resized(array: np.ndarray[Any, Any], length: int) -> np.ndarray[Any, Any]:
    fresh = np.zeros(length, array.dtype)
    shared = min(length, len(array))
    fresh[:shared] = array[:shared]
    return fresh
