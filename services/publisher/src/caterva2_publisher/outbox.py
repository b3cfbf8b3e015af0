"""Sends what the outbox holds, in order, until the stream says that it has it (N5)."""

from __future__ import annotations

import asyncio
import logging
import random

from caterva2.errors import StorageFailed, Unavailable
from caterva2.events import DatasetEvent, Operation
from caterva2_service.messaging import Bus
from caterva2_service.threads import Threads

from .catalog import Catalog

log = logging.getLogger(__name__)

BATCH = 256
RETRY_MIN_S, RETRY_MAX_S = 0.2, 5.0
MANIFEST_MIN_S, MANIFEST_MAX_S = 0.25, 5.0
"""Shortest and longest pause behind a "fetch the manifest", for which whatever comes next waits: while a large root is
walked, followers would otherwise ask for one manifest after the other."""
SWEEP_S = 10.0
"""The outbox is looked at this often even if nobody said that there is something in it."""


class Outbox:
    """Takes events from the catalog to the bus. An event leaves the catalog only after the bus confirmed it."""

    def __init__(self, catalog: Catalog, bus: Bus, threads: Threads) -> None:
        self._catalog = catalog
        self._bus = bus
        self._threads = threads
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Say that there may be something to send. Call it from the event loop."""
        self._wake.set()

    async def run(self) -> None:
        """Send for ever, trying again after whatever fails."""
        wait_s, pause_s = RETRY_MIN_S, MANIFEST_MIN_S
        while True:
            try:
                if await self.flush() is Operation.MANIFEST:
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, MANIFEST_MAX_S)
                else:
                    pause_s = MANIFEST_MIN_S
                wait_s = RETRY_MIN_S
                async with asyncio.timeout(SWEEP_S):
                    await self._wake.wait()
            except TimeoutError:
                continue
            except (Unavailable, StorageFailed) as error:
                log.debug("Changes stay in the outbox: %s", error)
                await self._pause(wait_s * random.uniform(0.7, 1.3))
                wait_s = min(wait_s * 2, RETRY_MAX_S)

    async def flush(self) -> Operation | None:
        """Send everything that waits now; return what the last event said, None if nothing waited.

        Raises
        ------
        Unavailable
            If the bus did not confirm an event; it and all later ones stay in the outbox.
        StorageFailed
            If the outbox cannot be written. Events are sent again then, which has no effect.
        """
        self._wake.clear()
        last = None
        while batch := await self._threads.run(self._catalog.pending, BATCH):
            await self._send(batch)
            last = batch[-1].operation
        return last

    async def _send(self, batch: list[DatasetEvent]) -> None:
        sent: list[DatasetEvent] = []
        try:
            for event in batch:
                await self._bus.publish(event)
                sent.append(event)
        finally:
            if sent:
                await self._threads.run(self._catalog.sent, sent)

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until the bus is there again."""
        if self._bus.connected:
            await asyncio.sleep(seconds)
        else:
            await self._bus.wait_connected(RETRY_MAX_S)
