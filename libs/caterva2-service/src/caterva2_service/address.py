"""Addresses of services, as people write them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

ANY_HOST = "*"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service listens or is reached: a TCP host and port, or a Unix socket.

    Either `uds` is set, or `host` and `port` are. `host` is ``*`` for all interfaces, of IPv4 and IPv6.
    """

    host: str = ""
    port: int = 0
    uds: str | None = None
    tls: bool = False
    """Whether it is reached by https: something in front of the service speaks TLS."""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port``, ``[::1]:8002``, ``*:8000``, ``https://host``, or the path of a Unix socket (no ``:``).

        Raises
        ------
        ValueError
            With one sentence that says what is wrong.
        """
        text = text.strip().removeprefix("http://").rstrip("/")
        if text.startswith("https://"):
            text = text.removeprefix("https://")
            named = cls.parse(text if ":" in text.rpartition("]")[2] else f"{text}:443")
            return cls(named.host, named.port, tls=True)
        if not text:
            raise ValueError("an address is HOST:PORT or the path of a socket")
        host, separator, port = text.rpartition(":")
        if not separator:
            return cls(uds=text)
        if not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"'{text}' is not an address: the port must be a number from 0 to 65535")
        return cls(host=host.removeprefix("[").removesuffix("]") or ANY_HOST, port=int(port))

    def __str__(self) -> str:
        if self.uds is not None:
            return self.uds
        if self.tls:
            return self.url
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Base URL for a client on the same machine, without a trailing slash."""
        if self.uds is not None:
            return "http://localhost"
        if self.host == ANY_HOST:
            return f"http://localhost:{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls else ''}://{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether it means this machine, as it is written; names of other machines are not looked up."""
        if self.uds is not None or self.host in (ANY_HOST, "localhost") or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def http_client(self, **options: Any) -> httpx.AsyncClient:
        """Return a client for the service at this address. Proxies of the environment are not used."""
        transport = httpx.AsyncHTTPTransport(uds=self.uds, http1=True, trust_env=False) if self.uds else None
        return httpx.AsyncClient(base_url=self.url, transport=transport, trust_env=False, **options)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let settings hold addresses written as text."""
        return core_schema.no_info_plain_validator_function(
            lambda given: given if isinstance(given, Address) else cls.parse(str(given)),
            serialization=core_schema.to_string_ser_schema(),
        )
