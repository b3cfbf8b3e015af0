"""What happened here lately, for those who watch: changes of datasets and files, publishers that come and go.

Events are numbered within one life of the process, so that a reader who was away for a while gets what was missed; who
was away too long is told to look at everything again.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from uuid import UUID

from caterva2.events import Operation
from caterva2.wire import Root, RootState
from caterva2_service.background import running

from .auth.principal import Principal
from .catalog import Change
from .rights import Rights
from .tracking import Changes

KEPT = 2000
"""Events that a reader who was away can still get."""
LOOK_S = 1.0
"""Seconds between looks at which publishers answer."""


class Happened(StrEnum):
    """Kinds of events."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    ROOT_ONLINE = "root-online"
    ROOT_OFFLINE = "root-offline"
    RESYNC = "resync"
    """Something was missed: look at everything again."""


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """One event. An empty path stands for the whole root."""

    number: int
    happened: Happened
    root: str = ""
    path: str = ""
    etag: str | None = None
    owner: UUID | None = None
    """Whose ``@personal`` it is."""


class LiveEvents:
    """The events of this process, offered to any number of readers.

    Parameters
    ----------
    changes
        Changes of the catalogue.
    roots
        Returns the roots with their present state.
    """

    def __init__(self, changes: Changes, roots: Callable[[], list[Root]]) -> None:
        self._changes = changes
        self._roots = roots
        self._life = uuid.uuid4().hex[:12]
        self._events: deque[LiveEvent] = deque(maxlen=KEPT)
        self._last = 0
        self._news = asyncio.Condition()

    @classmethod
    @asynccontextmanager
    async def open(cls, changes: Changes, roots: Callable[[], list[Root]]) -> AsyncIterator[Self]:
        """Take events down until left."""
        events = cls(changes, roots)
        async with running(events._take_changes(), name="changes"), running(events._watch_roots(), name="roots"):
            # Changes that are made from now on are seen.
            await asyncio.sleep(0)
            yield events

    async def _take_changes(self) -> None:
        with self._changes.subscribe() as changes:
            async for change in changes:
                await self._add(_happened(change), change.root, change.path, change.etag, change.owner)

    async def _watch_roots(self) -> None:
        before = self._states()
        while True:
            await asyncio.sleep(LOOK_S)
            now = self._states()
            for name, state in now.items():
                if before.get(name) != state and state is not None and name in before:
                    online = state is RootState.ONLINE
                    await self._add(Happened.ROOT_ONLINE if online else Happened.ROOT_OFFLINE, name)
            if set(before) != set(now):
                await self._add(Happened.RESYNC)
            before = now

    def _states(self) -> dict[str, RootState | None]:
        return {root.name: root.state for root in self._roots()}

    async def _add(
        self,
        happened: Happened,
        root: str = "",
        path: str = "",
        etag: str | None = None,
        owner: UUID | None = None,
    ) -> None:
        self._last += 1
        self._events.append(LiveEvent(self._last, happened, root, path, etag, owner))
        async with self._news:
            self._news.notify_all()

    def identity(self, event: LiveEvent) -> str:
        """Return what a reader sends back, as ``Last-Event-ID``, to go on behind `event`."""
        return f"{self._life}-{event.number}"

    def position(self, last_id: str | None) -> int | None:
        """Return the number behind which to go on; None if what was missed is not known any more."""
        if not last_id:
            return self._last
        life, _, number = last_id.partition("-")
        if life != self._life or not number.isdecimal() or int(number) > self._last:
            return None
        oldest = self._events[0].number if self._events else self._last + 1
        return int(number) if int(number) >= oldest - 1 else None

    async def behind(self, number: int, timeout_s: float) -> list[LiveEvent]:
        """Return the events behind `number`, waiting for the first one at most `timeout_s` seconds."""
        if self._last <= number:
            try:
                async with asyncio.timeout(timeout_s), self._news:
                    await self._news.wait_for(lambda: self._last > number)
            except TimeoutError:
                return []
        if self._events and self._events[0].number > number + 1:
            return [LiveEvent(self._last, Happened.RESYNC)]
        return [event for event in self._events if event.number > number]

    def format(self, event: LiveEvent) -> bytes:
        """Return an event as it is sent to a browser."""
        body = {"root": event.root, "path": event.path, "etag": event.etag}
        return f"id: {self.identity(event)}\nevent: {event.happened}\ndata: {json.dumps(body)}\n\n".encode()


async def may_see(event: LiveEvent, principal: Principal, rights: Rights) -> bool:
    """Tell whether a reader may know of an event. Raises Unavailable."""
    if event.owner is not None and event.owner != principal.user_id:
        return False
    return not event.root or await rights.readable(principal, event.root)


def _happened(change: Change) -> Happened:
    if change.operation is Operation.REMOVED:
        return Happened.REMOVED
    return Happened.ADDED if change.is_new else Happened.CHANGED
