"""Connections to addresses that somebody else names, kept away from where they must not lead (U11).

A name is resolved once, every address that it stands for is checked, and the connection goes to one that was checked:
a second answer of the name server (DNS rebinding) is never asked for. TLS still checks the name. Redirects are not
followed, and proxies of the environment are not used.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import httpcore
import httpx

from caterva2.errors import PermissionDenied

from .log import get_logger

Ip = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[list[str]]]

_UNIQUE_LOCAL = ip_network("fc00::/7")
_NAT64 = ip_network("64:ff9b::/96")

_log = get_logger(__name__)


class AddressRefused(PermissionDenied):
    """An address leads where this service must not go."""


@dataclass(frozen=True, slots=True)
class OutboundRules:
    """Where connections may lead. What is in `deny` is refused, whatever else says otherwise.

    Without any rule, machines on the internet can be reached, by https.
    """

    allow: tuple[Network, ...] = ()
    """Networks that may be reached although they would be refused otherwise."""
    deny: tuple[Network, ...] = ()
    private: bool = False
    """Whether private networks (10/8, 172.16/12, 192.168/16, 100.64/10) may be reached. Loopback, link-local
    (169.254/16: metadata of clouds), unique local IPv6 and multicast addresses may not, unless they are in `allow`."""
    local: bool = False
    """Whether this machine itself may be reached, by loopback and Unix sockets."""
    plain: bool = False
    """Whether connections without TLS are allowed."""

    def allows(self, address: Ip) -> bool:
        """Tell whether an address may be reached."""
        address = _plain_form(address)
        if _within(address, self.deny):
            return False
        if _within(address, self.allow):
            return True
        if address.is_loopback:
            return self.local
        if leads_inward(address):
            return False
        return self.private or address.is_global

    def check(self, host: str, addresses: Iterable[str]) -> None:
        """Refuse a host if one of its addresses is refused. Raises AddressRefused."""
        for address in addresses:
            if not self.allows(ip_address(address.partition("%")[0])):
                _log.warning("connection refused by the rules", host=host, address=address)
                raise AddressRefused(f"{host} leads to an address that this site does not connect to")


def leads_inward(address: Ip) -> bool:
    """Tell whether an address means this machine, its link, or nobody: never a service elsewhere."""
    address = _plain_form(address)
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address.is_reserved
        or _within(address, (_UNIQUE_LOCAL,))
    )


def open_client(rules: OutboundRules, *, resolve: Resolve | None = None, **options: Any) -> httpx.AsyncClient:
    """Return an HTTP client that connects by the rules only; `options` are those of ``httpx.AsyncClient``.

    Requests that the rules do not allow raise AddressRefused before anything is sent.
    """
    limits = options.pop("limits", httpx.Limits())
    transport = CheckedTransport(rules, limits=limits, resolve=resolve)
    return httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False, **options)


class CheckedTransport(httpx.AsyncHTTPTransport):
    """Transport of `open_client`."""

    def __init__(self, rules: OutboundRules, *, limits: httpx.Limits, resolve: Resolve | None = None) -> None:
        super().__init__(trust_env=False, limits=limits)
        self._rules = rules
        # httpx has no argument for the backend of its pool, so the pool is made here, as httpx makes it.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_CheckedBackend(rules, resolve or _resolve),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Raises AddressRefused."""
        if request.url.scheme != "https" and not (self._rules.plain and request.url.scheme == "http"):
            raise AddressRefused(f"'{request.url.scheme}' is not allowed: the address must begin with https://")
        return await super().handle_async_request(request)


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, rules: OutboundRules, resolve: Resolve) -> None:
        self._rules = rules
        self._resolve = resolve
        self._inner: httpcore.AsyncNetworkBackend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to an address that was checked. Raises AddressRefused, httpcore.ConnectError."""
        try:
            addresses = await asyncio.wait_for(self._resolve(host, port), timeout)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"{host} cannot be resolved in time") from None
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from None
        if not addresses:
            raise httpcore.ConnectError(f"{host} has no address")
        self._rules.check(host, addresses)
        for address in addresses[:-1]:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
        return await self._inner.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: sockets of this machine are never named by somebody else."""
        raise AddressRefused(f"{path} is not an address on the network")

    async def sleep(self, seconds: float) -> None:
        """Wait between attempts."""
        await self._inner.sleep(seconds)


async def _resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _plain_form(address: Ip) -> Ip:
    """Return the IPv4 address inside an IPv6 address that only wraps one."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _within(address: Ip, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
