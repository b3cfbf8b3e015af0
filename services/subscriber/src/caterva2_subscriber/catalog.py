"""Local catalogue of the roots that this subscriber knows: who publishes them, and what is in those it follows.

What is in the users' spaces is noted in it too, for search and events; the truth about those is on disk.

One SQLite file (WAL) in the state directory, whatever the database of people is, so that list, info and cached reads
go on while everything else is down. Methods block for tens of microseconds (`entry`) to seconds (a large manifest);
all but `entry` and what only looks at `roots` belong into a thread.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from caterva2.errors import Unavailable
from caterva2.events import DatasetEvent, Operation
from caterva2.wire import Bus, Kind, ManifestHeader, Root

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE roots (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    facts TEXT NOT NULL,
    subscribed INTEGER NOT NULL DEFAULT 0,
    epoch TEXT,
    seq INTEGER NOT NULL DEFAULT 0,
    verified REAL
) WITHOUT ROWID;
CREATE TABLE entries (
    root TEXT NOT NULL,
    path TEXT NOT NULL,
    etag TEXT NOT NULL,
    kind TEXT NOT NULL,
    nbytes INTEGER NOT NULL,
    mtime REAL,
    seq INTEGER NOT NULL,
    info TEXT,
    PRIMARY KEY (root, path)
) WITHOUT ROWID;
"""
SPACE_MARK = "@"
"""First character of the names of spaces, whose entries belong to no life of a publisher."""
_INT64 = 2**63
_REMEMBERED = 4096
"""Entries kept parsed in memory."""
MANY_CHANGES = 1000
"""More changes in one manifest than this are reported as one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One dataset or file of a root that is followed."""

    root: str
    path: str
    """Below the root."""
    epoch: str
    etag: str
    kind: Kind
    nbytes: int
    mtime: float | None
    seq: int
    info: dict[str, Any] | None
    """None when an event came without it and the publisher could not be asked since."""


class Listed(NamedTuple):
    """One dataset or file as a manifest lists it; see `caterva2.wire.ManifestEntry`."""

    path: str
    etag: str
    kind: str
    nbytes: int
    mtime: float
    seq: int
    info: str
    """JSON. Decoded, a thousand of them would keep the garbage collector busy for longer than all else takes."""


@dataclass(frozen=True, slots=True)
class RootState:
    """What is known of one published root."""

    root: Root
    """As the broker reports it; `Root.subscribed` is ours."""
    epoch: str | None = None
    """Life of the publisher's index that `seq` counts in; None before the first manifest."""
    seq: int = 0
    """The last change that was applied."""
    verified: float | None = None
    """Unix time at which the entries were last known to be the publisher's."""

    @property
    def name(self) -> str:
        """Name of the root."""
        return self.root.name

    @property
    def subscribed(self) -> bool:
        """Whether this subscriber follows the root."""
        return bool(self.root.subscribed)


@dataclass(frozen=True, slots=True)
class Change:
    """A change that was applied to the catalogue."""

    root: str
    operation: Operation
    """`Operation.MANIFEST` stands for more changes than are reported singly; `path` is then empty."""
    path: str = ""
    etag: str | None = None
    seq: int = 0
    is_new: bool = False
    """Whether there was nothing at the path before."""
    owner: UUID | None = None
    """Whose ``@personal`` it is."""


class Catalog:
    """The catalogue in its file.

    Parameters
    ----------
    path
        The SQLite file; created when absent.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # It names users' own files.
        path.touch(mode=0o600)
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._staged = 0
        self._remembering = threading.Lock()
        self._generation = 0
        self._remembered: OrderedDict[tuple[str, str], Entry] = OrderedDict()
        self._writer = self._connect()
        self._prepare()
        self.roots: dict[str, RootState] = self._load_roots()
        """Every root known, in order of registration. Replaced states, never changed ones."""
        self.subscriber_id = self._identity()
        """UUID of this state directory; names our durable consumers."""

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    # --- roots ---------------------------------------------------------------------
    def know_roots(self, roots: Iterable[Root], *, complete: bool) -> list[str]:
        """Take over what the broker says.

        Parameters
        ----------
        roots
            Roots as the broker reports them.
        complete
            Whether the broker reported every root that it knows: others that nobody follows are then forgotten.

        Returns
        -------
        list of str
            Names of the roots whose facts are new or different.
        """
        known = {root.name: root for root in roots}
        changed = []
        with self._transaction() as db:
            for name, root in known.items():
                before = self.roots.get(name)
                root = root.model_copy(update={"subscribed": before.root.subscribed if before else None})
                if before is not None and before.root == root:
                    continue
                changed.append(name)
                self._write_root(db, replace(before, root=root) if before else RootState(root))
            if complete:
                for name in [name for name, state in self.roots.items() if name not in known and not state.subscribed]:
                    db.execute("DELETE FROM roots WHERE name = ?", (name,))
                    self.roots = {key: value for key, value in self.roots.items() if key != name}
        return changed

    def mark_subscribed(self, name: str, subscribed: bool) -> None:
        """Remember whether the root is followed; entries of an abandoned one are forgotten."""
        with self._transaction() as db:
            state = self.roots[name]
            root = state.root.model_copy(update={"subscribed": subscribed or None})
            if subscribed:
                self._write_root(db, replace(state, root=root))
                return
            db.execute("DELETE FROM entries WHERE root = ?", (name,))
            self._write_root(db, RootState(root))
        self._forget(name)

    def mark_verified(self, name: str, when: float) -> None:
        """Remember that the entries were known to be the publisher's at `when`, Unix time in seconds."""
        with self._transaction() as db:
            self._write_root(db, replace(self.roots[name], verified=when))

    # --- entries ---------------------------------------------------------------------
    def entry(self, root: str, path: str) -> Entry | None:
        """Return the entry of a dataset or file, or None."""
        key = (root, path)
        found = self._remembered.get(key)
        if found is not None:
            return found
        epoch = self._epoch(root)
        if epoch is None:
            return None
        generation = self._generation
        row = self._reader.execute(
            "SELECT etag, kind, nbytes, mtime, seq, info FROM entries WHERE root = ? AND path = ?", key
        ).fetchone()
        if row is None:
            return None
        found = _entry(root, path, epoch, row)
        with self._remembering:
            # A change that was committed since the row was read must not be undone here.
            if generation == self._generation:
                self._remembered[key] = found
                while len(self._remembered) > _REMEMBERED:
                    self._remembered.popitem(last=False)
        return found

    def paths(self, root: str, path: str = "") -> list[str]:
        """Return the sorted paths at or below `path`, relative to the root."""
        if not path:
            rows = self._reader.execute("SELECT path FROM entries WHERE root = ? ORDER BY path", (root,))
        else:
            rows = self._reader.execute(
                "SELECT path FROM entries WHERE root = ? AND (path = ? OR (path >= ? AND path < ?)) ORDER BY path",
                (root, path, path + "/", path + "0"),
            )
        return [row[0] for row in rows]

    def entries(self, root: str, path: str = "", *, after: str = "", limit: int = 1000) -> list[Entry]:
        """Return a page of the entries at or below `path`, sorted by path, that come behind `after`."""
        epoch = self._epoch(root)
        if epoch is None:
            return []
        rows = self._reader.execute(
            "SELECT path, etag, kind, nbytes, mtime, seq, info FROM entries WHERE root = :root AND path > :after"
            " AND (:path = '' OR path = :path OR (path >= :path || '/' AND path < :path || '0'))"
            " ORDER BY path LIMIT :limit",
            {"root": root, "path": path, "after": after, "limit": limit},
        )
        return [_entry(root, row[0], epoch, row[1:]) for row in rows]

    def _epoch(self, root: str) -> str | None:
        """Return the life that the entries of a root belong to, or None if there are none; spaces have only one."""
        if root.startswith(SPACE_MARK):
            return ""
        state = self.roots.get(root)
        return None if state is None else state.epoch

    # --- changes ---------------------------------------------------------------------
    def apply(self, event: DatasetEvent) -> list[Change] | None:
        """Apply one event in one transaction, if it is the next one of its root.

        Returns
        -------
        list of Change or None
            What is different now: one change, or none for an event that is known already. None if the event says that
            something was missed (another epoch, a gap, or many changes at once), or says nothing that can be stored.
            The manifest is then needed.
        """
        state = self.roots.get(event.root)
        if state is None or not state.subscribed:
            return []
        if state.epoch != event.epoch:
            return None
        if event.seq <= state.seq:
            return []
        if event.seq != state.seq + 1 or event.operation is Operation.MANIFEST or not _is_storable(event):
            return None
        with self._transaction() as db:
            key = (event.root, event.path)
            known = db.execute("SELECT 1 FROM entries WHERE root = ? AND path = ?", key).fetchone() is not None
            if event.operation is Operation.REMOVED:
                db.execute("DELETE FROM entries WHERE root = ? AND path = ?", key)
            else:
                info = _encode_if_possible(event.info)
                kind = (event.kind or Kind.FILE).value
                db.execute(
                    "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (event.root, event.path, event.etag, kind, event.nbytes or 0, event.mtime, event.seq, info),
                )
            self._write_root(db, replace(self.roots[event.root], seq=event.seq))
        self._forget(event.root, event.path)
        if event.operation is Operation.REMOVED and not known:
            return []
        return [Change(event.root, event.operation, event.path, event.etag, event.seq, is_new=not known)]

    def change_space(self, space: str, entries: Iterable[Entry], removed: Iterable[str]) -> None:
        """Take over what is new, different, or gone in a space; see `spaces.inventory`."""
        rows = [
            (space, each.path, each.etag, each.kind.value, each.nbytes, each.mtime, each.seq, _encode(each.info))
            for each in entries
        ]
        with self._transaction() as db:
            db.executemany("DELETE FROM entries WHERE root = ? AND path = ?", [(space, path) for path in removed])
            db.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self._forget(space)

    def spaces(self) -> list[str]:
        """Return the spaces that something is noted of."""
        rows = self._reader.execute("SELECT DISTINCT root FROM entries WHERE root >= '@' AND root < 'A'")
        return [row[0] for row in rows]

    def forget_space(self, space: str) -> None:
        """Forget all that is noted of a space."""
        with self._transaction() as db:
            db.execute("DELETE FROM entries WHERE root = ?", (space,))
        self._forget(space)

    def complete(self, entry: Entry, info: dict[str, Any]) -> None:
        """Add the info that an event came without, if the entry is still at the same version."""
        with self._transaction() as db:
            db.execute(
                "UPDATE entries SET info = ? WHERE root = ? AND path = ? AND etag = ?",
                (_encode(info), entry.root, entry.path, entry.etag),
            )
        self._forget(entry.root, entry.path)

    def stage(self, header: ManifestHeader) -> Staged:
        """Begin to take in the manifest that `header` stands at the head of; see `Staged`."""
        with self._lock:
            self._staged += 1
            table = f"temp.incoming_{self._staged}"
            self._writer.execute(
                f"CREATE TABLE {table} (path TEXT PRIMARY KEY, etag TEXT, kind TEXT, nbytes INTEGER, mtime REAL,"
                " seq INTEGER, info TEXT) WITHOUT ROWID"
            )
        return Staged(self, table, header)

    def _stage(self, table: str, header: ManifestHeader, entries: Sequence[Listed]) -> None:
        known = self._versions(header, entries)
        rows = [
            # What is known already is noted by its path and seq alone.
            (each.path, None, None, None, None, each.seq, None)
            if known.get(each.path) == (each.etag, each.kind, each.seq)
            else each
            for each in entries
        ]
        with self._transaction() as db:
            db.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608

    def _versions(self, header: ManifestHeader, entries: Sequence[Listed]) -> dict[str, tuple[str, str, int]]:
        """Return etag, kind and seq of those entries that are known, in this life of the publisher's index."""
        state = self.roots.get(header.root)
        if state is None or state.epoch != header.epoch:
            return {}
        rows = self._reader.execute(
            "SELECT e.path, e.etag, e.kind, e.seq FROM json_each(?) listed"
            " CROSS JOIN entries e ON e.root = ? AND e.path = listed.value WHERE e.info IS NOT NULL",
            (orjson.dumps([each.path for each in entries]).decode(), header.root),
        )
        return {path: (etag, kind, seq) for path, etag, kind, seq in rows}

    def _unstage(self, table: str) -> None:
        with self._lock:
            if self._connections:
                self._writer.execute(f"DROP TABLE IF EXISTS {table}")

    def _replace(self, table: str, header: ManifestHeader) -> list[Change] | None:
        root = header.root
        with self._transaction() as db:
            state = self.roots.get(root)
            if state is None or not state.subscribed:
                return []
            if state.epoch == header.epoch and header.seq < state.seq:
                return None
            beside = f"FROM {table} i LEFT JOIN entries e ON e.root = :root AND e.path = i.path"
            lost = f"SELECT EXISTS (SELECT 1 {beside} WHERE i.etag IS NULL AND e.seq IS NOT i.seq)"
            if db.execute(lost, {"root": root}).fetchone()[0]:
                raise Unavailable("The catalogue was changed while a manifest was read", retry_after_s=1)
            changes = _changes_to(db, table, root, header.seq) if state.epoch is not None else None
            db.execute(
                f"DELETE FROM entries WHERE root = ? AND path NOT IN (SELECT path FROM {table})",  # noqa: S608
                (root,),
            )
            db.execute(
                f"INSERT OR REPLACE INTO entries SELECT ?, * FROM {table} WHERE etag IS NOT NULL",  # noqa: S608
                (root,),
            )
            self._write_root(db, replace(state, epoch=header.epoch, seq=header.seq, verified=time.time()))
        self._forget(root)
        # What a root held when it was first followed is no news.
        return [Change(root, Operation.MANIFEST, seq=header.seq)] if changes is None else changes

    # --- facts ---------------------------------------------------------------------
    @property
    def bus(self) -> Bus | None:
        """Where the bus was when the broker was last asked."""
        value = self._fact("bus")
        return None if value is None else Bus.model_validate_json(value)

    def remember_bus(self, bus: Bus) -> None:
        """Keep the broker's answer for when it is down."""
        self._set_fact("bus", json.dumps(bus.model_dump()))

    def agreed_subscriptions(self) -> set[str]:
        """Return the roots that the site's database knew subscriptions to when it was last compared."""
        return set(json.loads(self._fact("agreed subscriptions") or "[]"))

    def agree_on_subscriptions(self, roots: Iterable[str]) -> None:
        """Remember what `agreed_subscriptions` returns."""
        self._set_fact("agreed subscriptions", json.dumps(sorted(roots)))

    def postponed_subscriptions(self) -> list[tuple[str, str]]:
        """Return the subscriptions (root and holder) that could not be written into the database yet."""
        return [(root, holder) for root, holder in json.loads(self._fact("postponed subscriptions") or "[]")]

    def postpone_subscription(self, root: str, holder: str) -> None:
        """Keep a subscription until the database is back."""
        kept = {*self.postponed_subscriptions(), (root, holder)}
        self._set_fact("postponed subscriptions", json.dumps(sorted(kept)))

    def forget_postponed_subscription(self, root: str, holder: str) -> None:
        """Forget a subscription that the database knows by now."""
        kept = {*self.postponed_subscriptions()} - {(root, holder)}
        self._set_fact("postponed subscriptions", json.dumps(sorted(kept)))

    def _fact(self, name: str) -> str | None:
        row = self._reader.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _set_fact(self, name: str, value: str) -> None:
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def _identity(self) -> str:
        known = self._fact("subscriber")
        if known is None:
            known = uuid.uuid4().hex
            self._set_fact("subscriber", known)
        return known

    # --- the file ---------------------------------------------------------------------
    def _connect(self) -> sqlite3.Connection:
        # Each connection is used by one thread at a time; the closing thread is another one.
        connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=30)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        self._connections.append(connection)
        return connection

    @property
    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            with self._connecting:
                connection = self._local.connection = self._connect()
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._writer.execute("BEGIN IMMEDIATE")
            before = self.roots if hasattr(self, "roots") else {}
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                self.roots = before
                raise
            self._writer.execute("COMMIT")

    def _prepare(self) -> None:
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if version > _SCHEMA_VERSION:
            raise ValueError(f"{self._path} was written by a newer version of this program")
        if version < _SCHEMA_VERSION:
            self._writer.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")

    def _load_roots(self) -> dict[str, RootState]:
        rows = self._writer.execute(
            "SELECT name, facts, subscribed, epoch, seq, verified FROM roots ORDER BY position"
        ).fetchall()
        return {
            name: RootState(
                Root.model_validate_json(facts).model_copy(update={"subscribed": bool(subscribed) or None}),
                epoch,
                seq,
                verified,
            )
            for name, facts, subscribed, epoch, seq, verified in rows
        }

    def _write_root(self, db: sqlite3.Connection, state: RootState) -> None:
        self.roots = {**self.roots, state.name: state}
        db.execute(
            "INSERT INTO roots VALUES (:name, (SELECT coalesce(max(position), 0) + 1 FROM roots), :facts, :subscribed,"
            " :epoch, :seq, :verified) ON CONFLICT (name) DO UPDATE SET facts = :facts, subscribed = :subscribed,"
            " epoch = :epoch, seq = :seq, verified = :verified",
            {
                "name": state.name,
                "facts": state.root.model_dump_json(exclude_none=True),
                "subscribed": state.subscribed,
                "epoch": state.epoch,
                "seq": state.seq,
                "verified": state.verified,
            },
        )

    def _forget(self, root: str, path: str | None = None) -> None:
        with self._remembering:
            self._generation += 1
            if path is not None:
                self._remembered.pop((root, path), None)
            else:
                for key in [key for key in self._remembered if key[0] == root]:
                    del self._remembered[key]


class Staged:
    """A manifest on its way in: `add` entries, `commit` makes them the root's in one transaction, `discard` always."""

    def __init__(self, catalog: Catalog, table: str, header: ManifestHeader) -> None:
        self._catalog = catalog
        self._table = table
        self._header = header

    def add(self, entries: Sequence[Listed]) -> None:
        """Take in some of the entries."""
        self._catalog._stage(self._table, self._header, entries)

    def commit(self) -> list[Change] | None:
        """Make the staged entries the root's.

        Returns
        -------
        list of Change or None
            What is different now; None, and nothing done, if the catalogue is newer than the manifest.

        Raises
        ------
        Unavailable
            If entries that were known when they were staged are not there any more.
        """
        return self._catalog._replace(self._table, self._header)

    def discard(self) -> None:
        """Remove what was staged."""
        self._catalog._unstage(self._table)


def _changes_to(db: sqlite3.Connection, table: str, root: str, seq: int) -> list[Change] | None:
    """Return how a staged manifest differs from the entries of a root; None if in more places than are reported."""
    changed: list[tuple[str, str, int, bool]] = db.execute(
        f"SELECT i.path, i.etag, i.seq, e.path IS NULL FROM {table} i"  # noqa: S608
        " LEFT JOIN entries e ON e.root = ? AND e.path = i.path WHERE i.etag IS NOT NULL"
        " AND (e.path IS NULL OR e.etag <> i.etag OR e.info IS NOT i.info OR e.kind <> i.kind) LIMIT ?",
        (root, MANY_CHANGES + 1),
    ).fetchall()
    removed: list[tuple[str]] = db.execute(
        f"SELECT path FROM entries WHERE root = ? AND path NOT IN (SELECT path FROM {table}) LIMIT ?",  # noqa: S608
        (root, MANY_CHANGES + 1),
    ).fetchall()
    if len(changed) + len(removed) > MANY_CHANGES:
        return None
    return [
        *(Change(root, Operation.REMOVED, path, seq=seq) for (path,) in removed),
        *(Change(root, Operation.CHANGED, path, etag, at, bool(is_new)) for path, etag, at, is_new in changed),
    ]


def _is_storable(event: DatasetEvent) -> bool:
    if event.operation is Operation.REMOVED:
        return event.seq < _INT64
    return event.etag is not None and event.seq < _INT64 and 0 <= (event.nbytes or 0) < _INT64


def _encode_if_possible(info: Mapping[str, Any] | None) -> str | None:
    """Return the JSON of an info that came from outside; None, which means "ask the publisher", for endless numbers."""
    try:
        return _encode(info)
    except TypeError:
        return None


def _encode(info: Mapping[str, Any] | None) -> str | None:
    return None if info is None else orjson.dumps(info, option=orjson.OPT_NON_STR_KEYS).decode()


def _entry(root: str, path: str, epoch: str, row: tuple[Any, ...]) -> Entry:
    etag, kind, nbytes, mtime, seq, info = row
    return Entry(root, path, epoch, etag, Kind(kind), nbytes, mtime, seq, None if info is None else orjson.loads(info))
