"""Where a request comes from: for limits and for the audit trail."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from caterva2_service.requests import current_request_id


@dataclass(frozen=True, slots=True)
class Caller:
    """The other end of a connection."""

    address: str = ""
    agent: str = ""
    """What the program calls itself."""
    request_id: str = ""

    @property
    def host(self) -> str:
        """What counts as one machine: the address, or its /64 for IPv6, as many of which anybody has."""
        return self.network if ":" in self.address else self.address

    @property
    def network(self) -> str:
        """The neighbourhood of the address that shares its limits: /24, or /64 for IPv6."""
        try:
            address = ipaddress.ip_address(self.address)
        except ValueError:
            return "local"
        return str(ipaddress.ip_network((address, 24 if address.version == 4 else 64), strict=False))


async def get_caller(request: Request) -> Caller:
    """Return where the request comes from. Proxies that are not trusted cannot change it."""
    return Caller(
        address=request.client.host if request.client else "",
        agent=request.headers.get("user-agent", ""),
        request_id=current_request_id() or "",
    )


CallerDep = Annotated[Caller, Depends(get_caller)]
