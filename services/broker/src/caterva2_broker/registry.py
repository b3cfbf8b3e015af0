"""Who publishes which root: registrations with leases, kept in SQLite."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from caterva2 import paths
from caterva2.errors import InvalidName, PermissionDenied, RootNotFound, RootTaken
from caterva2.events import RootFact
from caterva2.wire import Root, RootRegistration, RootState

_SCHEMA = """
CREATE TABLE IF NOT EXISTS roots (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    http TEXT NOT NULL,
    subscribed INTEGER,
    publisher TEXT,
    epoch TEXT,
    description TEXT,
    access TEXT,
    ndatasets INTEGER,
    nbytes INTEGER,
    owner TEXT,
    seen REAL NOT NULL,
    retired INTEGER NOT NULL DEFAULT 0
)
"""
_GIVEN = ("name", "http", "subscribed", "publisher", "epoch", "description", "access", "ndatasets", "nbytes")
_UPSERT = f"""
INSERT INTO roots ({", ".join(_GIVEN)}, owner, seen)
    VALUES ({", ".join(f":{name}" for name in _GIVEN)}, :owner, :seen)
ON CONFLICT (name) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _GIVEN[1:])},
    owner = excluded.owner, seen = excluded.seen, retired = 0
"""  # noqa: S608 - made of the constants above


class Registry:
    """The roots that the broker knows. Methods take milliseconds and run on the event loop.

    A lease lasts `lease_s` from its last renewal. After a start of the broker every lease counts as renewed just
    then: its holder could not renew it while the broker was down.

    Parameters
    ----------
    clock
        Returns the present Unix time in seconds.
    """

    def __init__(self, path: Path, *, lease_s: float, clock: Callable[[], float] = time.time) -> None:
        self._lease_s = lease_s
        self._clock = clock
        self._started = clock()
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(_SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def register(self, registration: RootRegistration, *, owner: str | None) -> bool:
        """Give a root to a publisher, or renew its lease; True if there is something new in it.

        Parameters
        ----------
        owner
            Identity of the publisher's key; None for the original's form, which shows none and renews nothing.

        Raises
        ------
        InvalidName
            If the name cannot be that of a published root.
        RootTaken
            If another publisher holds a lease that has not run out (409).
        """
        paths.check_root(registration.name)
        if registration.name in paths.SPECIAL_ROOTS:
            raise InvalidName(f"{registration.name} lives at subscribers and cannot be published")
        old = self._row(registration.name)
        if old is not None and not old["retired"]:
            self._check_holder(old, owner)
        values = registration.model_dump(include=set(_GIVEN))
        self._db.execute(_UPSERT, {**values, "owner": owner, "seen": self._clock()})
        return old is None or bool(old["retired"]) or any(old[name] != values[name] for name in _FACT)

    def _check_holder(self, old: sqlite3.Row, owner: str | None) -> None:
        same = old["owner"] is None or old["owner"] == owner
        left_s = self._renewed(old) + self._lease_s - self._clock()
        if same or left_s <= 0:
            return
        raise RootTaken(
            f"root '{old['name']}' is published by another publisher at {old['http']}; "
            f"it is free when that one has been gone for {self._lease_s:.0f} s",
            retry_after_s=left_s,
        )

    def retire(self, name: str, *, owner: str | None) -> None:
        """Take a root off the list; its name is free again.

        Parameters
        ----------
        owner
            Identity of the key of who asks: only the holder may. None for an administrator, who may always.

        Raises
        ------
        RootNotFound
        PermissionDenied
        """
        row = self._row(name)
        if row is None or row["retired"]:
            raise RootNotFound(f"{name} not known by the broker")
        if owner is not None and row["owner"] != owner:
            raise PermissionDenied(f"root '{name}' belongs to another publisher")
        self._db.execute("UPDATE roots SET retired = 1 WHERE name = ?", (name,))

    def roots(self) -> dict[str, Root]:
        """Return the roots in the order of their first registration, with their state."""
        rows = self._db.execute("SELECT * FROM roots WHERE NOT retired ORDER BY position")
        return {row["name"]: self._root(row) for row in rows}

    def root(self, name: str) -> Root:
        """Return one root. Raises RootNotFound."""
        row = self._row(name)
        if row is None or row["retired"]:
            raise RootNotFound(f"{name} not known by the broker")
        return self._root(row)

    def facts(self) -> list[RootFact]:
        """Return what the bus must hold, of retired roots too: their followers have to learn it."""
        rows = self._db.execute("SELECT * FROM roots ORDER BY position")
        return [RootFact(**{name: row[name] for name in _FACT}, retired=bool(row["retired"])) for row in rows]

    def _row(self, name: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._db.execute("SELECT * FROM roots WHERE name = ?", (name,)).fetchone()
        return row

    def _renewed(self, row: sqlite3.Row) -> float:
        return max(float(row["seen"]), self._started)

    def _root(self, row: sqlite3.Row) -> Root:
        values: dict[str, Any] = {name: row[name] for name in _GIVEN}
        if row["subscribed"] is not None:
            values["subscribed"] = bool(row["subscribed"])
        # Without a key (the original's form) nothing is renewed, so nothing is known about its life.
        if row["owner"] is not None:
            online = self._clock() < row["seen"] + self._lease_s
            values["state"] = RootState.ONLINE if online else RootState.OFFLINE
            values["offline_since"] = None if online else row["seen"] + self._lease_s
        return Root(**values)


_FACT = ("name", "http", "publisher", "epoch", "description", "access")
