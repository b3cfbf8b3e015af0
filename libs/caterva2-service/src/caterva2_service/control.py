"""The broker, as the other services see it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

import httpx

from caterva2 import errors, wire

from .address import Address
from .requests import current_request_id
from .settings import NatsSettings

TIMEOUT_S = 5.0


class Broker:
    """Client of the broker's API. Every method raises `Unavailable` while the broker cannot be reached."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, address: Address) -> AsyncIterator[Self]:
        """Make a client for the broker at `address`. Nothing is sent yet."""
        async with address.http_client(timeout=TIMEOUT_S) as http:
            yield cls(http)

    async def roots(self) -> dict[str, wire.Root]:
        """Return the roots that the broker knows."""
        answer = await self._ask("GET", "/api/roots")
        return {name: wire.Root.model_validate(root) for name, root in answer.items()}

    async def register(self, registration: wire.RootRegistration) -> wire.Root:
        """Register a root, or renew its lease.

        Raises
        ------
        RootTaken
            If another publisher holds the root.
        """
        body = registration.model_dump(mode="json", exclude_none=True)
        return wire.Root.model_validate(await self._ask("POST", "/api/roots", json=body))

    async def retire(self, root: str) -> None:
        """Remove a root from the list."""
        await self._ask("DELETE", f"/api/roots/{root}")

    async def bus(self) -> wire.Bus:
        """Return where the bus is."""
        return wire.Bus.model_validate(await self._ask("GET", "/api/bus"))

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        request_id = current_request_id()
        headers = {wire.HEADER_REQUEST_ID: request_id} if request_id else {}
        try:
            response = await self._http.request(method, path, headers=headers, **options)
            body = response.json() if response.content else None
        except (httpx.HTTPError, OSError, ValueError) as error:
            raise errors.Unavailable("The broker cannot be reached", retry_after_s=TIMEOUT_S) from error
        if response.is_error:
            raise errors.from_body(response.status_code, body)
        return body


def locate_bus(settings: NatsSettings, broker: Broker | None) -> Callable[[], Awaitable[wire.Bus | None]]:
    """Return what tells `messaging.Bus` where NATS is: the settings if they say it, else the broker."""

    async def locate() -> wire.Bus | None:
        if settings.url is not None:
            return wire.Bus(url=settings.url, user=settings.user, password=settings.secret())
        return await broker.bus() if broker is not None else None

    return locate
