"""Checking that an external NATS syncs what it confirms (requirement N1)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx

from caterva2_service.background import running
from caterva2_service.health import Health
from caterva2_service.log import get_logger

PART = "nats sync"
"""Name of this check among the parts of `Health`."""
CHECK_S = 60.0
TIMEOUT_S = 5.0

log = get_logger("caterva2.nats")


@contextlib.asynccontextmanager
async def watching(url: str | None, health: Health) -> AsyncIterator[None]:
    """Look at the monitoring endpoint at `url` every minute until the block ends, and warn when writes may be lost.

    Without a URL that cannot be known, which is said once.
    """
    if url is None:
        log.warning("whether the external NATS syncs every write is not known: set nats_monitor to its monitoring URL")
        yield
        return
    async with running(_watch(url, health), name="nats-monitor"):
        yield


async def _watch(url: str, health: Health) -> None:
    said = ""
    async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as http:
        while True:
            problem = await _problem(http, url)
            health.set(PART, ok=not problem, detail=problem)
            if problem and problem != said:
                log.warning("events may be lost in a power cut", why=problem)
            said = problem
            await asyncio.sleep(CHECK_S)


async def _problem(http: httpx.AsyncClient, url: str) -> str:
    """Return what is wrong, an empty text if nothing is."""
    try:
        answer = await http.get(url.rstrip("/") + "/varz")
        answer.raise_for_status()
        return sync_problem(answer.json())
    except (httpx.HTTPError, ValueError) as error:
        return f"the monitoring endpoint of NATS does not answer ({type(error).__name__})"


def sync_problem(varz: Any) -> str:
    """Return what the answer of ``/varz`` says against the server, an empty text if nothing."""
    jetstream = varz.get("jetstream") if isinstance(varz, dict) else None
    config = jetstream.get("config") if isinstance(jetstream, dict) else None
    if not isinstance(config, dict):
        return "NATS runs without JetStream"
    if config.get("sync_always"):
        return ""
    seconds = config.get("sync_interval", 0) / 1e9
    return f"NATS syncs every {seconds:.0f} s only: set jetstream.sync_interval to always"
