"""Keeping the bus as the registry is: stream and buckets declared, every root written."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from caterva2.errors import Conflict, Unavailable
from caterva2.events import RootFact
from caterva2_service.background import running
from caterva2_service.log import get_logger
from caterva2_service.messaging import Bus

from .registry import Registry

CHECK_S = 10.0
"""Seconds between checks; a NATS that somebody wiped under us is set up again within this time."""

log = get_logger("caterva2.announcer")


class Announcer:
    """Writes roots to the bus after every change and connection, and checks from time to time that they are there."""

    def __init__(self, bus: Bus, registry: Registry, *, replicas: int) -> None:
        self._bus = bus
        self._registry = registry
        self._replicas = replicas
        self._wake = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do so in the background until the block ends."""
        self._bus.on_reconnect(self._connected)
        async with running(self._run(), name="announcer"):
            yield

    def changed(self) -> None:
        """Say that the registry has changed."""
        self._wake.set()

    async def _connected(self) -> None:
        self._wake.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    await self._wake.wait()
            self._wake.clear()
            if not self._bus.connected:
                continue
            try:
                await self._bus.declare(replicas=self._replicas)
                for fact in self._registry.facts():
                    await self._write(fact)
            except (Unavailable, Conflict) as error:
                log.warning("roots could not be announced", why=error.detail)

    async def _write(self, fact: RootFact) -> None:
        present = await self._bus.get_root(fact.name)
        if present is None:
            await self._bus.put_root(fact)
        elif present[0] != fact:
            await self._bus.put_root(fact, last=present[1])
