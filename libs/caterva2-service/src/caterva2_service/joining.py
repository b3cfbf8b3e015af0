"""Work that several callers wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class _Running(Generic[T]):
    task: asyncio.Future[T]
    waiting: int = 0


class Joined(Generic[T]):
    """Does work once for all who wait for it at a time, and ends it when the last of them has gone.

    Parameters
    ----------
    linger_s
        Seconds for which work goes on though nobody waits: readers who look around come back to it.
    """

    def __init__(self, linger_s: float = 0.0) -> None:
        self._linger_s = linger_s
        self._running: dict[Hashable, _Running[T]] = {}

    async def run(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` returns, or what the same work, begun for somebody else, does."""
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = _Running(asyncio.ensure_future(work()))
            running.task.add_done_callback(lambda task: self._ended(key, task))
        running.waiting += 1
        try:
            return await asyncio.shield(running.task)
        finally:
            running.waiting -= 1
            if not running.waiting and not running.task.done():
                asyncio.get_running_loop().call_later(self._linger_s, self._abandon, key, running)

    async def close(self) -> None:
        """End all work."""
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _abandon(self, key: Hashable, running: _Running[T]) -> None:
        if not running.waiting and not running.task.done():
            # Whoever comes while it ends begins anew.
            if self._running.get(key) is running:
                del self._running[key]
            running.task.cancel()

    def _ended(self, key: Hashable, task: asyncio.Future[T]) -> None:
        running = self._running.get(key)
        if running is not None and running.task is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # those who wait have it; without any it is not worth a message
