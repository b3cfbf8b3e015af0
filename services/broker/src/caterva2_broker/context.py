"""What a running broker holds."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from fastapi import Depends, Request

from caterva2 import wire
from caterva2_service.control import locate_bus
from caterva2_service.health import Health
from caterva2_service.messaging import Bus
from caterva2_service.metrics import Metrics

from .announcer import Announcer
from .files import write_private
from .nats_process import NatsProcess
from .registry import Registry
from .settings import BrokerSettings


@dataclass(frozen=True)
class Context:
    """Everything that the handlers of a broker use."""

    settings: BrokerSettings
    registry: Registry
    bus: Bus
    announcer: Announcer
    nats: NatsProcess | None
    """The embedded server; None when an external NATS is configured."""
    admin_token: str

    @classmethod
    async def open(cls, settings: BrokerSettings, stack: AsyncExitStack, health: Health, metrics: Metrics) -> Self:
        """Open everything; `stack` closes it in reverse order."""
        settings.statedir.mkdir(parents=True, exist_ok=True)
        registry = Registry(settings.statedir / "roots.sqlite", lease_s=settings.lease)
        stack.callback(registry.close)
        nats: NatsProcess | None = None
        if settings.nats.url is None:
            nats = await stack.enter_async_context(
                NatsProcess.running(settings.statedir / "nats", settings.nats_listen, health)
            )
        bus = await stack.enter_async_context(
            Bus.open(
                _locate(settings, nats), name="broker", health=health, metrics=metrics, nats_settings=settings.nats
            )
        )
        announcer = Announcer(bus, registry, replicas=settings.nats_replicas)
        await stack.enter_async_context(announcer.running())
        return cls(settings, registry, bus, announcer, nats, _admin_token(settings.statedir / "admin.token"))

    def bus_address(self, hostname: str | None) -> wire.Bus:
        """Return where services find the bus, for one that reached the broker under `hostname`."""
        if self.nats is None:
            given = self.settings.nats
            return wire.Bus(url=given.url, user=given.user, password=given.secret())
        return self.nats.address(hostname)


def _locate(settings: BrokerSettings, nats: NatsProcess | None) -> Callable[[], Awaitable[wire.Bus | None]]:
    if nats is None:
        return locate_bus(settings.nats, None)

    async def locate() -> wire.Bus:
        return nats.address(None)

    return locate


def _admin_token(path: Path) -> str:
    """Return the token of administrators, made at the first start."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        token = secrets.token_urlsafe(32)
        write_private(path, token + "\n")
        return token


def get_context(request: Request) -> Context:
    """Return the context of the application that answers `request`."""
    context: Context = request.app.state.context
    return context


ContextDep = Annotated[Context, Depends(get_context)]
