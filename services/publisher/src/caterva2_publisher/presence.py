"""Tells others that this root is published here: registration at the broker and heartbeats on the bus."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress

import httpx
from pydantic import TypeAdapter

from caterva2.errors import Unavailable
from caterva2.events import HEARTBEAT_S, Heartbeat
from caterva2.wire import Bus as BusAddress
from caterva2.wire import RootRegistration, ServiceKey
from caterva2_service.health import Health
from caterva2_service.messaging import Bus
from caterva2_service.threads import Threads
from caterva2_service.trust import BROKER, Identity

from .catalog import Catalog
from .settings import PublisherSettings

log = logging.getLogger(__name__)

REGISTER_S = 10.0
RETRY_S = 1.0
TIMEOUT_S = 5.0
PART = "broker"

_KEYS = TypeAdapter(list[ServiceKey])


class Presence:
    """Registers the root again and again, and sends heartbeats. Nothing here is needed to serve.

    Parameters
    ----------
    online
        Tells whether the publisher sees its data now.
    """

    def __init__(
        self,
        settings: PublisherSettings,
        catalog: Catalog,
        health: Health,
        threads: Threads,
        online: Callable[[], bool],
        identity: Identity,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._health = health
        self._threads = threads
        self._online = online
        self._client = settings.broker.http_client(timeout=TIMEOUT_S, auth=identity.auth(BROKER))
        self._problem = ""
        self._soon = asyncio.Event()
        self._counted = asyncio.Event()

    async def close(self) -> None:
        """Give back the connections to the broker."""
        await self._client.aclose()

    async def locate_bus(self) -> BusAddress | None:
        """Say where the bus is: as configured, or as the broker says."""
        nats = self._settings.nats
        if nats.url is not None:
            return BusAddress(url=nats.url, user=nats.user, password=nats.secret())
        try:
            response = await self._client.get("/api/bus")
            response.raise_for_status()
            return BusAddress.model_validate_json(response.content)
        except (httpx.HTTPError, ValueError):
            return None

    async def services(self) -> list[ServiceKey]:
        """Ask the broker which services it has admitted. Raises Unavailable."""
        try:
            response = await self._client.get("/api/services")
            response.raise_for_status()
            return _KEYS.validate_json(response.content)
        except (httpx.HTTPError, ValueError):
            raise Unavailable("The broker cannot be asked who you are", retry_after_s=RETRY_S) from None

    async def register_for_ever(self) -> None:
        """Register the root at the broker, and renew the registration, until cancelled."""
        while True:
            self._counted.clear()
            problem = await self._register()
            self._tell(problem)
            with suppress(TimeoutError):
                async with asyncio.timeout((RETRY_S if problem else REGISTER_S) * random.uniform(0.8, 1.2)):
                    await self._counted.wait()

    def register_soon(self) -> None:
        """Renew the registration now: the size of the root became known. Call it from the event loop."""
        self._counted.set()

    async def _register(self) -> str:
        totals = await self._threads.run(self._catalog.totals)
        identity = self._catalog.identity
        registration = RootRegistration(
            name=self._settings.name,
            http=self._settings.address,
            publisher=identity.publisher,
            epoch=identity.epoch,
            description=self._settings.description,
            access=self._settings.access,
            ndatasets=totals.ndatasets,
            nbytes=totals.nbytes,
        )
        try:
            response = await self._client.post(
                "/api/roots",
                content=registration.model_dump_json(exclude_none=True),
                headers={"Content-Type": "application/json"},
            )
        except httpx.HTTPError as error:
            return f"the broker at {self._settings.broker} cannot be reached ({type(error).__name__})"
        if response.status_code == httpx.codes.CONFLICT:
            return f"root {self._settings.name} is published by another publisher: {_detail(response)}"
        if response.is_error:
            return f"the broker refused the registration: {_detail(response)}"
        return ""

    def _tell(self, problem: str) -> None:
        self._health.set(PART, ok=not problem, detail=problem)
        if problem == self._problem:
            return
        self._problem = problem
        if problem:
            log.warning("%s; trying again, the root is served meanwhile", problem[0].upper() + problem[1:])
        else:
            log.warning("Root %s is registered at the broker", self._settings.name)

    def beat_soon(self) -> None:
        """Send a heartbeat now: the state changed. Call it from the event loop."""
        self._soon.set()

    async def beat_for_ever(self, bus: Bus) -> None:
        """Send heartbeats until cancelled."""
        while True:
            self._soon.clear()
            identity = self._catalog.identity
            beat = Heartbeat(epoch=identity.epoch, seq=identity.seq, online=self._online())
            wait_s = HEARTBEAT_S
            try:
                await bus.heartbeat(self._settings.name, beat)
            except Unavailable:
                await bus.wait_connected(HEARTBEAT_S)
                wait_s = RETRY_S
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s * random.uniform(0.9, 1.0)):
                    await self._soon.wait()


def _detail(response: httpx.Response) -> str:
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = f"HTTP status {response.status_code}"
    return str(detail)[:300]
