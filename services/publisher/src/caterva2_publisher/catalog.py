"""The index of a root: what is published, at which version, and which changes are still to be announced.

One SQLite file in the state directory. A change, its number and its place in the outbox are one transaction with full
synchronisation (N5), so that whatever a crash leaves behind, every change that readers can see is still announced.
The index can always be made again from the files; its loss costs a new epoch.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import orjson

from caterva2.errors import Conflict, StorageFailed
from caterva2.events import DatasetEvent, Operation
from caterva2.wire import Kind, ManifestHeader
from caterva2_formats.base import Found

log = logging.getLogger(__name__)

FILE = "index.sqlite"
LOCK_FILE = "lock"
SCHEMA_VERSION = 1
MAX_OUTBOX = 10_000
"""Changes kept one by one while they cannot be sent; beyond that one "fetch the manifest" stands for all."""
MAX_EVENT_INFO_BYTES = 48 * 1024
"""Largest info that travels in an event: a message of the stream holds 64 KiB."""

_SCHEMA = """
CREATE TABLE identity (
    publisher TEXT NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL, root TEXT NOT NULL, source TEXT NOT NULL,
    top TEXT
);
CREATE TABLE entries (
    path TEXT PRIMARY KEY, etag TEXT NOT NULL, seq INTEGER NOT NULL, dev INTEGER NOT NULL, kind TEXT NOT NULL,
    nbytes INTEGER NOT NULL, mtime REAL NOT NULL, info BLOB NOT NULL
);
CREATE INDEX entries_versions ON entries (path, etag);
CREATE TABLE outbox (seq INTEGER PRIMARY KEY, operation TEXT NOT NULL, event BLOB NOT NULL);
CREATE TABLE digests (path TEXT PRIMARY KEY, etag TEXT NOT NULL, digests BLOB NOT NULL) WITHOUT ROWID;
"""

_FORGET = ("DELETE FROM identity", "DELETE FROM entries", "DELETE FROM outbox", "DELETE FROM digests")


@dataclass(frozen=True, slots=True)
class Entry:
    """One dataset or file of the index."""

    path: str
    etag: str
    seq: int
    dev: int
    """Device of the directory that holds the file; its removal is believed only while that can be seen."""
    kind: Kind
    nbytes: int
    mtime: float
    """Unix time in seconds."""
    info: bytes
    """JSON of ``/api/info``."""

    def manifest_line(self) -> bytes:
        """Return the entry as a line of the manifest (`caterva2.wire.ManifestEntry`)."""
        fields = {
            "path": self.path,
            "etag": self.etag,
            "kind": self.kind.value,
            "nbytes": self.nbytes,
            "mtime": self.mtime,
            "seq": self.seq,
            "info": orjson.Fragment(self.info),
        }
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class Changed:
    """A path that was found at a version, with what the checks of its bytes told."""

    found: Found
    dev: int
    """Device of the directory that holds the file."""
    kind: Kind
    nbytes: int
    info: bytes


@dataclass(frozen=True, slots=True)
class Removed:
    """A path that is gone."""

    path: str


Change = Changed | Removed


@dataclass(frozen=True, slots=True)
class Identity:
    """Who publishes which life of the root, and how far it has come."""

    publisher: str
    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Size of a root."""

    ndatasets: int
    nbytes: int


class Catalog:
    """The index in its state directory. Methods block (a lookup takes microseconds, a change one disk sync).

    Use `open`. All methods may be called from any thread; writers take turns, readers never wait.
    """

    def __init__(self, file: Path, root: str, writer: sqlite3.Connection, lock: int) -> None:
        self._file = file
        self._root = root
        self._writer = writer
        self._lock = lock
        self._write = threading.RLock()
        self._readers: deque[sqlite3.Connection] = deque()
        self._identity = _identity(writer)
        self._totals: tuple[Identity | None, Totals] = None, Totals(0, 0)

    @classmethod
    def open(cls, statedir: Path, *, root: str, source: str) -> Self:
        """Open the index of `root`, or begin one.

        A state directory that served another root or source, and an index that SQLite finds broken, begin a new epoch:
        what they knew says nothing about this root.

        Raises
        ------
        Conflict
            If another publisher uses the state directory.
        StorageFailed
            If the state directory cannot be written.
        """
        try:
            statedir.mkdir(parents=True, exist_ok=True)
            lock = _lock(statedir)
        except OSError as error:
            raise StorageFailed(f"the state directory {statedir} cannot be used: {error.strerror}") from error
        file = statedir / FILE
        try:
            writer = _open_or_begin(file, root, source)
        except (OSError, sqlite3.Error) as error:
            os.close(lock)
            raise StorageFailed(f"the index in {statedir} cannot be opened: {error}") from error
        except BaseException:
            os.close(lock)
            raise
        return cls(file, root, writer, lock)

    def close(self) -> None:
        """Close the index and let go of the state directory."""
        with self._write:
            while self._readers:
                self._readers.pop().close()
            self._writer.close()
            os.close(self._lock)

    # --- reading -----------------------------------------------------------------
    @property
    def identity(self) -> Identity:
        """Publisher, epoch and the number of the last change."""
        return self._identity

    def get(self, path: str) -> Entry | None:
        """Return the entry of `path`, or None."""
        with self._reader() as db:
            row = db.execute("SELECT * FROM entries WHERE path = ?", (path,)).fetchone()
        return _entry(row) if row else None

    def paths(self) -> list[str]:
        """Return all paths, sorted."""
        with self._reader() as db:
            return [path for (path,) in db.execute("SELECT path FROM entries ORDER BY path")]

    def below(self, path: str) -> list[tuple[str, int]]:
        """Return (path, device) of `path` itself and of all that is below it."""
        with self._reader() as db:
            return db.execute(
                "SELECT path, dev FROM entries WHERE path = ?1 OR (path > ?1 || '/' AND path < ?1 || '0')", (path,)
            ).fetchall()

    def totals(self) -> Totals:
        """Return the number of entries and their uncompressed bytes, counted once after each change."""
        identity, (counted, totals) = self._identity, self._totals
        if counted != identity:
            with self._reader() as db:
                totals = Totals(*db.execute("SELECT COUNT(*), COALESCE(SUM(nbytes), 0) FROM entries").fetchone())
            self._totals = identity, totals
        return totals

    @contextmanager
    def snapshot(self, *, online: bool) -> Iterator[tuple[ManifestHeader, Iterator[Entry]]]:
        """Give the header of a manifest and its entries, sorted by path, all at one and the same seq."""
        with self._reader() as db:
            db.execute("BEGIN")
            try:
                identity = _identity(db)
                (count,) = db.execute("SELECT COUNT(*) FROM entries").fetchone()
                rows = db.execute("SELECT * FROM entries ORDER BY path")
                yield (
                    ManifestHeader(root=self._root, epoch=identity.epoch, seq=identity.seq, count=count, online=online),
                    map(_entry, rows),
                )
            finally:
                db.execute("ROLLBACK")

    # --- comparing with a scan -----------------------------------------------------
    @contextmanager
    def compare(self) -> Iterator[Comparison]:
        """Give a place to compare a whole scan with one state of the index, in little memory."""
        with self._reader() as db:
            db.execute("BEGIN")
            try:
                yield Comparison(db)
            finally:
                db.execute("ROLLBACK")

    # --- changing ----------------------------------------------------------------
    def apply(self, changes: Iterable[Change], *, announce_each: bool = True) -> list[Change]:
        """Record changes, number them and put their announcements into the outbox, in one transaction.

        Parameters
        ----------
        changes
            What was found. Versions that the index already has are left out.
        announce_each
            One event for each change; otherwise one that says "fetch the manifest" for all.

        Returns
        -------
        list of Change
            Those that were news.

        Raises
        ------
        StorageFailed
            If the state directory is full or broken; nothing has changed then.
        """
        with self._transaction() as db:
            before = _identity(db).seq
            news = _news(db, list(changes))
            seq = before + len(news)
            numbered = list(enumerate(news, before + 1))
            _record(db, numbered)
            if announce_each:
                for number, change in numbered:
                    _queue(db, self._event(change, number))
            if news and (not announce_each or _depth(db) > MAX_OUTBOX):
                seq += 1
                self._queue_manifest(db, seq)
            if seq != before:
                db.execute("UPDATE identity SET seq = ?", (seq,))
            after = _identity(db)
        self._identity = after
        return news

    def _event(self, change: Change, seq: int) -> DatasetEvent:
        epoch = self._identity.epoch
        if isinstance(change, Removed):
            return DatasetEvent(root=self._root, epoch=epoch, seq=seq, operation=Operation.REMOVED, path=change.path)
        found = change.found
        return DatasetEvent(
            root=self._root,
            epoch=epoch,
            seq=seq,
            operation=Operation.CHANGED,
            path=found.path,
            etag=found.etag,
            kind=change.kind,
            nbytes=change.nbytes,
            mtime=found.stamp.mtime_ns / 1e9,
            info=orjson.loads(change.info) if len(change.info) <= MAX_EVENT_INFO_BYTES else None,
        )

    def _queue_manifest(self, db: sqlite3.Connection, seq: int) -> None:
        db.execute("DELETE FROM outbox")  # the manifest says all that earlier events say
        event = DatasetEvent(root=self._root, epoch=self._identity.epoch, seq=seq, operation=Operation.MANIFEST)
        _queue(db, event)

    # --- outbox ------------------------------------------------------------------
    def pending(self, limit: int) -> list[DatasetEvent]:
        """Return the oldest events that are not yet known to be sent."""
        with self._reader() as db:
            rows = db.execute("SELECT event FROM outbox ORDER BY seq LIMIT ?", (limit,)).fetchall()
        return [DatasetEvent.model_validate_json(event) for (event,) in rows]

    def sent(self, events: Sequence[DatasetEvent]) -> None:
        """Take events out of the outbox, once the stream has them. Raises StorageFailed."""
        with self._transaction() as db:
            db.executemany("DELETE FROM outbox WHERE seq = ?", [(event.seq,) for event in events])

    def depth(self) -> int:
        """Return the number of events that are not yet known to be sent."""
        with self._reader() as db:
            return _depth(db)

    # --- digests -----------------------------------------------------------------
    def digests(self, path: str, etag: str) -> bytes | None:
        """Return the digests (16 bytes each) of all chunks of a version, if they were kept."""
        with self._reader() as db:
            row = db.execute("SELECT digests FROM digests WHERE path = ? AND etag = ?", (path, etag)).fetchone()
        return row[0] if row else None

    def keep_digests(self, path: str, etag: str, digests: bytes) -> None:
        """Keep the digests of all chunks of a version in place of those of earlier ones. Raises StorageFailed."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (path, etag, digests))

    # --- what the tree looked like ---------------------------------------------------
    def top(self) -> str | None:
        """Return the identity of the directory at the top of the root when it was last believed."""
        with self._reader() as db:
            (top,) = db.execute("SELECT top FROM identity").fetchone()
        return top if top is None else str(top)

    def keep_top(self, top: str) -> None:
        """Remember the identity of the directory at the top of the root. Raises StorageFailed."""
        if self.top() != top:
            with self._transaction() as db:
                db.execute("UPDATE identity SET top = ?", (top,))

    # --- connections -----------------------------------------------------------------
    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        try:
            db = self._readers.pop()
        except IndexError:
            db = _connect(self._file)
        try:
            yield db
        finally:
            self._readers.append(db)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._write:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    yield self._writer
                    self._writer.execute("COMMIT")
                except BaseException:
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise StorageFailed(f"the index cannot be written: {error}", retry_after_s=5) from error


class Comparison:
    """A scan of the whole root beside the index."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._seen: set[int] = set()

    def changed(self, batch: Sequence[Found]) -> list[Found]:
        """Take in a part of the scan and return those of it at versions that the index does not have."""
        known = _known(self._db, [found.path for found in batch])
        self._seen.update(rowid for rowid, _ in known.values())
        return [found for found in batch if found.path not in known or known[found.path][1] != found.etag]

    def missing(self) -> list[tuple[str, int]]:
        """Return (path, device) of the entries that no part of the scan held."""
        (total,) = self._db.execute("SELECT COUNT(*) FROM entries").fetchone()
        if total == len(self._seen):
            return []
        rows = self._db.execute("SELECT rowid, path, dev FROM entries ORDER BY path")
        return [(path, dev) for rowid, path, dev in rows if rowid not in self._seen]


def _entry(row: tuple[str, str, int, int, str, int, float, bytes]) -> Entry:
    path, etag, seq, dev, kind, nbytes, mtime, info = row
    return Entry(path, etag, seq, dev, Kind(kind), nbytes, mtime, info)


def _identity(db: sqlite3.Connection) -> Identity:
    return Identity(*db.execute("SELECT publisher, epoch, seq FROM identity").fetchone())


def _known(db: sqlite3.Connection, paths: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Return row and etag of those of some paths that the index has."""
    rows = db.execute(
        "SELECT e.rowid, e.path, e.etag FROM json_each(?) batch"
        " CROSS JOIN entries e INDEXED BY entries_versions ON e.path = batch.value",
        (orjson.dumps(list(paths)).decode(),),
    )
    return {path: (rowid, etag) for rowid, path, etag in rows}


def _news(db: sqlite3.Connection, changes: Sequence[Change]) -> list[Change]:
    """Leave out what the index has already."""
    etags: dict[str, str | None] = {
        path: etag for path, (_, etag) in _known(db, {_path(change) for change in changes}).items()
    }
    news = []
    for change in changes:
        etag = None if isinstance(change, Removed) else change.found.etag
        if etags.get(_path(change)) != etag:
            etags[_path(change)] = etag
            news.append(change)
    return news


def _record(db: sqlite3.Connection, numbered: Iterable[tuple[int, Change]]) -> None:
    last = {_path(change): (seq, change) for seq, change in numbered}
    removed = [(path,) for path, (_, change) in last.items() if isinstance(change, Removed)]
    db.executemany("DELETE FROM digests WHERE path = ?", removed)
    db.executemany("DELETE FROM entries WHERE path = ?", removed)
    rows = [_row(seq, change) for seq, change in last.values() if isinstance(change, Changed)]
    db.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _row(seq: int, change: Changed) -> tuple[object, ...]:
    found = change.found
    mtime = found.stamp.mtime_ns / 1e9
    return found.path, found.etag, seq, change.dev, change.kind.value, change.nbytes, mtime, change.info


def _path(change: Change) -> str:
    return change.path if isinstance(change, Removed) else change.found.path


def _depth(db: sqlite3.Connection) -> int:
    (depth,) = db.execute("SELECT COUNT(*) FROM outbox").fetchone()
    return int(depth)


def _queue(db: sqlite3.Connection, event: DatasetEvent) -> None:
    db.execute(
        "INSERT INTO outbox VALUES (?, ?, ?)",
        (event.seq, event.operation.value, event.model_dump_json(exclude_none=True)),
    )


def _lock(statedir: Path) -> int:
    lock = os.open(statedir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Conflict(
            f"another publisher uses the state directory {statedir}: stop it, or choose another with --statedir"
        ) from None
    return lock


def _connect(file: Path) -> sqlite3.Connection:
    # Each connection is used by one thread at a time, not always the same one.
    return sqlite3.connect(file, timeout=10, isolation_level=None, check_same_thread=False)


def _open_or_begin(file: Path, root: str, source: str) -> sqlite3.Connection:
    try:
        return _open_writer(file, root, source)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        aside = file.with_name(f"{FILE}.broken-{int(time.time())}")
        log.error("The index %s is broken (%s): it is kept as %s, and a new epoch begins", file, error, aside)
        _set_aside(file, aside)
        return _open_writer(file, root, source)


def _open_writer(file: Path, root: str, source: str) -> sqlite3.Connection:
    db = _connect(file)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise StorageFailed(f"the index {file} was made by a newer publisher")
        db.execute("BEGIN IMMEDIATE")
        if version == 0:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            _begin_epoch(db, str(uuid.uuid4()), root, source)
        else:
            publisher, *served = db.execute("SELECT publisher, root, source FROM identity").fetchone()
            if served != [root, source]:
                log.warning("The state directory served root %s from %s: a new epoch begins", *served)
                _begin_epoch(db, publisher, root, source)
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db


def _begin_epoch(db: sqlite3.Connection, publisher: str, root: str, source: str) -> None:
    for statement in _FORGET:
        db.execute(statement)
    db.execute("INSERT INTO identity VALUES (?, ?, 0, ?, ?, NULL)", (publisher, str(uuid.uuid4()), root, source))


def _set_aside(file: Path, aside: Path) -> None:
    file.rename(aside)
    for suffix in ("-wal", "-shm"):
        file.with_name(FILE + suffix).unlink(missing_ok=True)
