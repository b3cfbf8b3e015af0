"""Changes that were applied to the catalogue, or found in a space, offered to whoever wants to know in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

from caterva2.events import Operation

from ..catalog import Change

_BACKLOG = 1000


class Changes:
    """Fan-out of changes. A slow receiver loses single changes, but is told that it did."""

    def __init__(self) -> None:
        self._receivers: set[_Receiver] = set()

    def publish(self, changes: Iterable[Change]) -> None:
        """Offer changes to every receiver. Never waits."""
        for change in changes:
            for receiver in self._receivers:
                receiver.offer(change)

    @contextmanager
    def subscribe(self) -> Iterator[AsyncIterator[Change]]:
        """Receive the changes from now on, in the order in which they were applied.

        Where a receiver fell behind, it gets an `Operation.MANIFEST` change for each root concerned instead.
        """
        receiver = _Receiver()
        self._receivers.add(receiver)
        try:
            yield receiver.changes()
        finally:
            self._receivers.discard(receiver)


class _Receiver:
    def __init__(self) -> None:
        self._queue: asyncio.Queue[Change] = asyncio.Queue(_BACKLOG)
        self._lost: dict[tuple[str, UUID | None], Change] = {}

    def offer(self, change: Change) -> None:
        try:
            self._queue.put_nowait(change)
        except asyncio.QueueFull:
            lost = Change(change.root, Operation.MANIFEST, seq=change.seq, owner=change.owner)
            self._lost[change.root, change.owner] = lost

    async def changes(self) -> AsyncIterator[Change]:
        while True:
            yield await self._queue.get()
            if self._queue.empty():
                lost, self._lost = self._lost, {}
                for change in lost.values():
                    yield change
