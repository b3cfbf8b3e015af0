"""The broker, seen from here."""

from __future__ import annotations

import httpx
from pydantic import TypeAdapter, ValidationError

from caterva2.errors import Unavailable
from caterva2.wire import Bus, Root
from caterva2_service.address import Address
from caterva2_service.trust import BROKER, Identity

_ROOTS = TypeAdapter(dict[str, Root])
_LOST = (httpx.TransportError, httpx.StreamError, httpx.HTTPStatusError, ValidationError)


class Broker:
    """Client of the broker at `address`."""

    def __init__(self, address: Address, identity: Identity) -> None:
        self.address = address
        self._client = address.http_client(timeout=httpx.Timeout(5.0), auth=identity.auth(BROKER))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def roots(self) -> list[Root]:
        """Return every root that the broker knows, in order of registration. Raises Unavailable."""
        return list(_ROOTS.validate_json(await self._get("/api/roots")).values())

    async def bus(self) -> Bus:
        """Return where the bus is. Raises Unavailable."""
        return Bus.model_validate_json(await self._get("/api/bus"))

    async def _get(self, url: str) -> bytes:
        try:
            response = await self._client.get(url)
            response.raise_for_status()
        except _LOST as error:
            raise Unavailable(f"The broker at {self.address} does not answer ({type(error).__name__})") from None
        return response.content
