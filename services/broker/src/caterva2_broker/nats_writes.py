"""Checking that NATS stores events, and starting the broker's own one again when it stopped to (requirement F9).

A nats-server that once met a full disk refuses every later write of that stream although there is room again, and goes
on to answer everything else; only a restart makes it look again.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator

from caterva2.errors import Unavailable
from caterva2_service.background import running
from caterva2_service.health import Health
from caterva2_service.log import get_logger
from caterva2_service.messaging import Bus

from .nats_process import NatsProcess

PART = "nats writes"
"""Name of this check among the parts of `Health`."""
CHECK_S = 30.0
RETRY_S = 1.0
RESTART_AFTER = 3
"""Checks that failed one after the other, over a connection that stands, before the server is started again."""
ROOM_BYTES = 2 * 2**20
"""Free bytes without which a restart would not help."""

log = get_logger("caterva2.nats")


@contextlib.asynccontextmanager
async def watching(bus: Bus, nats: NatsProcess | None, health: Health) -> AsyncIterator[None]:
    """Store a message now and then until the block ends.

    Parameters
    ----------
    nats
        The broker's own server; an external one is only complained about.
    """
    async with running(_watch(bus, nats, health), name="nats-writes"):
        yield


async def _watch(bus: Bus, nats: NatsProcess | None, health: Health) -> None:
    failed = 0
    while True:
        if not await bus.wait_connected(CHECK_S):
            continue
        try:
            await bus.probe()
        except Unavailable as error:
            failed += 1 if bus.connected else 0
            if failed:
                failed = await _complain(failed, error, nats, health)
            await asyncio.sleep(RETRY_S)
            continue
        failed = 0
        health.set(PART, ok=True)
        await asyncio.sleep(CHECK_S)


async def _complain(failed: int, error: Unavailable, nats: NatsProcess | None, health: Health) -> int:
    """Say that nothing is stored, and do what can be done; return how many failures are left to act upon."""
    detail = f"NATS does not store events ({error.detail}): is its disk full?"
    if health.ok(PART) or failed == 1:
        log.warning("NATS does not store events; publishers keep them", why=error.detail)
    if nats is None:
        health.set(PART, ok=False, detail=f"{detail} Once there is room, it may have to be started again")
        return failed
    health.set(PART, ok=False, detail=detail)
    if failed < RESTART_AFTER or shutil.disk_usage(nats.directory).free < ROOM_BYTES:
        return failed
    await nats.restart("it did not store events although there is room")
    return 0
