"""The chunk cache: packs on disk, bounded in bytes, with an index in memory that is rebuilt from them.

Any number of processes may share the directory: each has an index of its own, finds the packs of the others by their
names, and looks at a pack again before it says that a chunk is missing.

Methods block and may be called from any thread, but for `missing` and what only looks at memory, which are for the
event loop. Trouble with the disk is never an error of a read: `put` says that it could not keep the chunks, and
readers go on without.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caterva2_service.log import get_logger

from .claims import Claims
from .packs import Bytes, Choose, Corrupt, Kept, Pack
from .records import VersionKey

log = get_logger(__name__)

FULL = "full"
BROKEN = "broken"
_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOOK_AROUND = 50
"""After 1/50 of its size was added here, the cache looks at what other processes added."""


@dataclass(frozen=True, slots=True)
class RootUsage:
    """What the cache holds of one root."""

    disk_bytes: int = 0
    chunks: int = 0
    datasets: int = 0
    pinned_bytes: int = 0


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Outcome of reading everything in the cache."""

    chunks: int = 0
    nbytes: int = 0
    damaged: int = 0
    """Chunks whose bytes were not what was written; they are forgotten."""


class ChunkStore:
    """Chunks of many datasets, kept until room is needed for others.

    Parameters
    ----------
    directory
        Where packs are; nothing but other stores may write there.
    size
        Bytes on disk at which eviction begins; 0 keeps nothing.
    low
        Bytes down to which it evicts.
    shares
        Bytes that are guaranteed to a root: while it holds no more, its chunks are evicted last.
    """

    def __init__(self, directory: Path, *, size: int, low: int, shares: Mapping[str, int] | None = None) -> None:
        self.directory = directory
        self.size = size
        self.low = low
        self.state: str | None = None
        """None while all is well; ``full`` or ``broken`` after the disk refused a write."""
        self.evicted_bytes = 0
        self.damaged = 0
        """Chunks found damaged since the start."""
        self._shares = dict(shares or {})
        self._packs: dict[VersionKey, Pack] = {}
        self._versions: dict[tuple[str, str], list[VersionKey]] = {}
        self._pins: set[str] = set()
        self._tick = 0
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._lock_fd: int | None = None
        self._grown = 0
        """Bytes added here since the last look around."""

    # --- opening ---------------------------------------------------------------------
    def open(self) -> None:
        """Join those who use the directory, and build the index. The first one cleans up. Raises OSError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock_fd = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for file in self.directory.glob("??/*"):
                if file.suffix != ".pack":
                    file.unlink(missing_ok=True)
        except BlockingIOError:
            pass
        fcntl.flock(self._lock_fd, fcntl.LOCK_SH)
        # What was used since the last write is not known any more: the age of a pack stands for that of its chunks.
        for file in sorted(self.directory.glob("??/*.pack"), key=_modified):
            self._take_in(file, cut=True)
        self._read_pins()
        self.make_room()

    def close(self) -> None:
        """Give the directory back."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _take_in(self, file: Path, *, cut: bool = False) -> None:
        """Add a pack to the index. With `cut`, files that are none are removed."""
        try:
            pack = Pack.scan(file, cut=cut)
            if pack is not None and file != self._file(pack.key):
                pack = None  # a process ended while it adopted the pack
            if pack is None and cut:
                file.unlink(missing_ok=True)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("pack cannot be read", file=file.name, error=str(error))
            return
        if pack is None:
            return
        with self._lock:
            if pack.key not in self._packs:
                self._tick += 1
                pack.used[pack.present] = self._tick
                self._enlist(pack)

    def _file(self, key: VersionKey) -> Path:
        """Return where the pack of a version is, for every process. Versions of a dataset share a directory."""
        dataset, version = _digest(key.root, key.path), _digest(key.epoch, key.etag)
        return self.directory / dataset[:2] / f"{dataset}-{version}.pack"

    # --- what other processes do ---------------------------------------------------------------------
    def look(self, key: VersionKey) -> None:
        """Take in what other processes did to the pack of a version, or to those of others of the same dataset."""
        pack = self._packs.get(key)
        if pack is not None:
            self._look_at(pack)
            return
        here = self._file(key)
        known = {self._file(other) for other in list(self._versions.get((key.root, key.path), ()))}
        for file in here.parent.glob(f"{here.name.partition('-')[0]}-*.pack"):
            if file not in known:
                self._take_in(file)

    def _look_at(self, pack: Pack) -> None:
        try:
            pack.look()
        except OSError as error:
            self._trouble(error)

    def look_around(self) -> None:
        """Take in what other processes did to all packs."""
        self._grown = 0
        known = {pack.file: pack for pack in list(self._packs.values())}
        for file in sorted(self.directory.glob("??/*.pack"), key=_modified):
            pack = known.pop(file, None)
            if pack is None:
                self._take_in(file)
            else:
                self._look_at(pack)
        for pack in known.values():
            self._look_at(pack)
            if not len(pack.present):
                with self._lock:
                    if not len(pack.present):
                        self._delist(pack.key)
        self._read_pins()

    def claims(self, key: VersionKey) -> Claims | None:
        """Return claims on chunks of a version; None where there is nothing to share, or no disk to say so with."""
        if not self.size:
            return None
        try:
            return Claims(self.directory / "claims", key)
        except OSError as error:
            self._trouble(error)
            return None

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        """Keep other threads and processes from evicting and from changing pins."""
        with self._turn, ExitStack() as stack:
            try:
                fd = os.open(self.directory / "turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                stack.callback(os.close, fd)
                fcntl.flock(fd, fcntl.LOCK_EX)
            except OSError as error:
                # Two that evict at a time take too much away, and do no harm: packs have locks of their own.
                self._trouble(error)
            yield

    def _enlist(self, pack: Pack) -> None:
        self._packs[pack.key] = pack
        self._versions.setdefault((pack.key.root, pack.key.path), []).append(pack.key)

    def _delist(self, key: VersionKey) -> Pack | None:
        pack = self._packs.pop(key, None)
        keys = self._versions.get((key.root, key.path), [])
        if key in keys:
            keys.remove(key)
            if not keys:
                del self._versions[key.root, key.path]
        return pack

    # --- reading ---------------------------------------------------------------------
    def has(self, key: VersionKey, nchunk: int) -> bool:
        """Tell whether a chunk is kept."""
        pack = self._packs.get(key)
        return pack is not None and pack.has(nchunk)

    def has_version(self, key: VersionKey) -> bool:
        """Tell whether any chunk of a version is kept."""
        return key in self._packs

    def missing(self, key: VersionKey, numbers: Sequence[int]) -> list[int]:
        """Return those of the chunks that are not kept, in the order given."""
        found = self._missing(key, numbers)
        if found:
            self.look(key)
            found = self._missing(key, found)
        return found

    def _missing(self, key: VersionKey, numbers: Sequence[int]) -> list[int]:
        pack = self._packs.get(key)
        if pack is None:
            return list(numbers)
        offsets, count = pack.offsets, pack.nchunks
        return [nchunk for nchunk in numbers if nchunk >= count or not offsets[nchunk]]

    def kept_bytes(self, key: VersionKey, numbers: Sequence[int]) -> int:
        """Return the compressed bytes that are kept of the chunks."""
        pack = self._packs.get(key)
        if pack is None:
            return 0
        return int(pack.lengths[[n for n in numbers if n < pack.nchunks]].sum(dtype=np.int64))

    def get(self, key: VersionKey, nchunk: int) -> bytes | None:
        """Return a chunk, checked against its digest, or None if it is not kept or damaged."""
        data = self.get_part(key, nchunk, None)
        return data if data is None or isinstance(data, bytes) else bytes(data)

    def get_part(self, key: VersionKey, nchunk: int, choose: Choose | None) -> Bytes | None:
        """Return a chunk of which only what `choose` names need be right; see `Pack.read`."""
        pack = self._packs.get(key)
        if pack is None or not pack.has(nchunk):
            self.look(key)
            pack = self._packs.get(key)
            if pack is None or not pack.has(nchunk):
                return None
        try:
            data = pack.read(nchunk, choose)
        except Corrupt as error:
            self.damaged += 1
            log.warning("damaged chunk in the cache, it will be fetched again", reason=str(error))
            self._lose(pack, nchunk)
            return None
        except OSError as error:
            self._trouble(error)
            pack.offsets[nchunk] = 0  # so that it is fetched again, whatever is wrong with the disk
            return None
        if pack.key != key:
            return None  # it was adopted by another version while it was read
        if data is not None and nchunk < len(pack.used):
            self._tick += 1
            pack.used[nchunk] = self._tick
        return data

    def was_checked(self, key: VersionKey, nchunk: int) -> bool:
        """Tell whether `get_part` is going to read no more of a chunk than is wanted. Only looks at memory."""
        pack = self._packs.get(key)
        return pack is not None and pack.was_checked(nchunk)

    def _lose(self, pack: Pack, nchunk: int) -> None:
        try:
            pack.evict([nchunk])
        except OSError as error:
            self._trouble(error)
            pack.offsets[nchunk] = 0

    def older(self, key: VersionKey) -> VersionKey | None:
        """Return another version of the same dataset of which chunks are kept, the newest one."""
        if key not in self._packs:
            self.look(key)
        others = [other for other in self._versions.get((key.root, key.path), ()) if other != key]
        return others[-1] if others else None

    def digests(self, key: VersionKey) -> dict[int, bytes]:
        """Return the digests of the kept chunks of a version."""
        pack = self._packs.get(key)
        try:
            return {} if pack is None else pack.digests()
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._trouble(error)
            return {}

    # --- writing ---------------------------------------------------------------------
    def put(self, key: VersionKey, nchunks: int, chunks: Sequence[Kept]) -> str | None:
        """Keep chunks of a version.

        Returns
        -------
        str or None
            ``full`` or ``broken`` if they could not be kept.
        """
        if not self.size or not chunks:
            return None
        if sum(len(kept.data) for kept in chunks) > self.size:
            return FULL
        pack = self._pack(key, nchunks)
        for again in (False, True):
            before = pack.disk
            try:
                pack.append(key, chunks)
                break
            except OSError as error:
                if again or error.errno not in _FULL_ERRORS or not self._shrink(sum(len(k.data) for k in chunks)):
                    return self._trouble(error)
        self.state = None
        self._settle(pack, key)
        self._tick += 1
        used = pack.used
        used[[kept.nchunk for kept in chunks if kept.nchunk < len(used)]] = self._tick
        self._grown += max(0, pack.disk - before)
        if self._grown > self.size // _LOOK_AROUND:
            self.look_around()
        if pack.disk != before:
            self.make_room()
        return None

    def adopt(self, old: VersionKey, new: VersionKey, nchunks: int, keep: Iterable[int]) -> int:
        """Let the chunks of an old version that are unchanged be those of the new one.

        Returns
        -------
        int
            Number of chunks that the new version has now.
        """
        with self._lock:
            pack = self._delist(old) if new not in self._packs else None
        if pack is not None:
            try:
                pack.adopt(self._file(new), new, nchunks, keep)
            except OSError as error:
                self._trouble(error)
                return 0
        with self._lock:
            if pack is not None and len(pack.present) and new not in self._packs:
                self._enlist(pack)
            found = self._packs.get(new)
            return 0 if found is None else len(found.present)

    def drop(self, key: VersionKey) -> None:
        """Forget every chunk of a version."""
        self.look(key)
        with self._lock:
            pack = self._delist(key)
        if pack is not None:
            self._remove(pack)

    def free(self, path: str) -> int:
        """Forget what is kept at or below an API path, pinned or not, and return the bytes given back."""
        freed = 0
        self.look_around()
        for pack in list(self._packs.values()):
            if _covers(path, pack.key):
                freed += pack.disk
                self.drop(pack.key)
        return freed

    def _pack(self, key: VersionKey, nchunks: int) -> Pack:
        with self._lock:
            pack = self._packs.get(key)
            if pack is None:
                pack = Pack(self._file(key), key, nchunks)
                self._enlist(pack)
            return pack

    def _settle(self, pack: Pack, key: VersionKey) -> None:
        """Put a pack back into the index that was emptied and left out while chunks were added to it."""
        with self._lock:
            current = self._packs.get(key)
            if current is pack or pack.key != key:
                return
            if current is None and len(pack.present):
                self._enlist(pack)
                return
        self._remove(pack)

    def _remove(self, pack: Pack) -> None:
        try:
            pack.drop()
        except OSError as error:
            self._trouble(error)

    def _trouble(self, error: OSError) -> str:
        state = FULL if error.errno in _FULL_ERRORS else BROKEN
        if self.state != state:
            log.warning("the cache cannot keep chunks, reads go on without it", reason=error.strerror or str(error))
        self.state = state
        return state

    # --- room ---------------------------------------------------------------------
    @property
    def used_bytes(self) -> int:
        """Bytes that the packs take on disk."""
        return sum(pack.disk for pack in list(self._packs.values()))

    def make_room(self) -> None:
        """Evict the least recently used chunks if there are more bytes than `size`."""
        if self.used_bytes > self.size:
            with self._my_turn():
                self.look_around()
                if self.used_bytes > self.size:
                    self._evict_to(self.low)

    def _shrink(self, nbytes: int) -> bool:
        """Make room for `nbytes` on a disk that is full with less in the cache than it may take."""
        with self._my_turn():
            self.look_around()
            before = self.used_bytes
            self._evict_to(max(0, before - max(nbytes * 2, before // 10)))
            return self.used_bytes < before

    def _evict_to(self, target: int) -> None:
        while (excess := self.used_bytes - target) > 0:
            victims = self._victims(excess)
            if not victims:
                return
            before = self.used_bytes
            for pack, numbers in victims.items():
                try:
                    pack.evict(numbers)
                except OSError as error:
                    self._trouble(error)
                if not len(pack.present):
                    with self._lock:
                        if not len(pack.present):
                            self._delist(pack.key)
            freed = before - self.used_bytes
            self.evicted_bytes += max(0, freed)
            if freed <= 0:
                return

    def _victims(self, nbytes: int) -> dict[Pack, list[int]]:
        """Choose chunks of `nbytes` together: unprotected roots first, then the least recently used."""
        packs = [pack for pack in list(self._packs.values()) if not self.is_pinned(pack.key)]
        usage = self._usage()
        chosen: dict[Pack, list[int]] = defaultdict(list)
        for protected in (False, True):
            group = [
                pack
                for pack in packs
                if protected
                == (usage.get(pack.key.root, RootUsage()).disk_bytes <= self._shares.get(pack.key.root, -1))
            ]
            nbytes -= _oldest(group, nbytes, chosen)
            if nbytes <= 0:
                break
        return chosen

    # --- pins ---------------------------------------------------------------------
    @property
    def pins(self) -> list[str]:
        """API paths whose chunks are never evicted."""
        self._read_pins()
        return sorted(self._pins)

    def is_pinned(self, key: VersionKey) -> bool:
        """Tell whether a version belongs to a pinned path."""
        return any(_covers(pin, key) for pin in self._pins)

    def pin(self, path: str) -> None:
        """Never evict what is at or below an API path."""
        with self._my_turn():
            self._read_pins()
            self._pins.add(path)
            self._write_pins()

    def unpin(self, path: str) -> bool:
        """Undo `pin`; tells whether the path was pinned."""
        with self._my_turn():
            self._read_pins()
            if path not in self._pins:
                return False
            self._pins.discard(path)
            self._write_pins()
            return True

    def _read_pins(self) -> None:
        try:
            self._pins = set(json.loads((self.directory / "pins.json").read_text()))
        except FileNotFoundError:
            self._pins = set()
        except (ValueError, TypeError):
            log.warning("the list of pins cannot be read; nothing is pinned")
            self._pins = set()

    def _write_pins(self) -> None:
        fresh = self.directory / "pins.tmp"
        fresh.write_text(json.dumps(sorted(self._pins)))
        fresh.replace(self.directory / "pins.json")

    # --- reports ---------------------------------------------------------------------
    def usage(self) -> dict[str, RootUsage]:
        """Return what is kept, by root."""
        self.look_around()
        return self._usage()

    def _usage(self) -> dict[str, RootUsage]:
        sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for pack in list(self._packs.values()):
            entry = sums[pack.key.root]
            entry[0] += pack.disk
            entry[1] += int(np.count_nonzero(pack.offsets))
            entry[2] += 1
            entry[3] += pack.disk if self.is_pinned(pack.key) else 0
        return {root: RootUsage(*numbers) for root, numbers in sorted(sums.items())}

    def verify(self, path: str = "") -> VerifyReport:
        """Read every chunk at or below an API path (all for ``""``) and forget those that are damaged."""
        chunks = nbytes = damaged = 0
        self.look_around()
        for pack in list(self._packs.values()):
            if path and not _covers(path, pack.key):
                continue
            for nchunk in pack.present.tolist():
                before = self.damaged
                data = self.get(pack.key, nchunk)
                chunks += 1
                nbytes += len(data or b"")
                damaged += self.damaged - before
        return VerifyReport(chunks, nbytes, damaged)


def _digest(*facts: str) -> str:
    return hashlib.blake2b("\0".join(facts).encode(), digest_size=16).hexdigest()


def _modified(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _covers(path: str, key: VersionKey) -> bool:
    full = f"{key.root}/{key.path}"
    return full == path or full.startswith(path + "/")


def _oldest(packs: Sequence[Pack], nbytes: int, chosen: dict[Pack, list[int]]) -> int:
    """Add the least recently used chunks of `packs` to `chosen` until they hold `nbytes`; return how many they hold."""
    numbers = [pack.present for pack in packs]
    if not any(len(present) for present in numbers):
        return 0
    used = np.concatenate([pack.used[present] for pack, present in zip(packs, numbers, strict=True)])
    lengths = np.concatenate([pack.lengths[present] for pack, present in zip(packs, numbers, strict=True)])
    owner = np.repeat(np.arange(len(packs)), [len(present) for present in numbers])
    every = np.concatenate(numbers)
    order = np.argsort(used, kind="stable")
    total = np.cumsum(lengths[order], dtype=np.int64)
    count = int(np.searchsorted(total, nbytes)) + 1
    for index in order[:count].tolist():
        chosen[packs[int(owner[index])]].append(int(every[index]))
    return int(total[min(count, len(total)) - 1])
