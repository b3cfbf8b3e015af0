"""What a running broker holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import Depends, Request

from caterva2 import wire
from caterva2.errors import NotAuthenticated
from caterva2_service.health import Health
from caterva2_service.messaging import Bus
from caterva2_service.metrics import Metrics
from caterva2_service.trust import Caller

from . import nats_monitor, nats_writes
from .admission import Admission
from .announcer import Announcer
from .nats_process import NatsProcess
from .registry import Registry
from .settings import BrokerSettings


@dataclass(frozen=True)
class Context:
    """Everything that the handlers of a broker use."""

    settings: BrokerSettings
    registry: Registry
    admission: Admission
    bus: Bus
    announcer: Announcer
    nats: NatsProcess | None
    """The embedded server; None when an external NATS is configured."""

    @classmethod
    async def open(cls, settings: BrokerSettings, stack: AsyncExitStack, health: Health, metrics: Metrics) -> Self:
        """Open everything; `stack` closes it in reverse order."""
        settings.statedir.mkdir(parents=True, exist_ok=True)
        registry = Registry(settings.statedir / "roots.sqlite", lease_s=settings.lease)
        stack.callback(registry.close)
        admission = Admission(settings)
        stack.callback(admission.close)
        nats: NatsProcess | None = None
        if settings.nats.url is not None:
            await stack.enter_async_context(nats_monitor.watching(settings.nats_monitor, health))
        else:
            nats = await stack.enter_async_context(
                NatsProcess.running(settings.statedir / "nats", settings.nats_listen, admission.accounts, health)
            )
        bus = await stack.enter_async_context(
            Bus.open(
                _locate(settings, nats), name="broker", health=health, metrics=metrics, nats_settings=settings.nats
            )
        )
        announcer = Announcer(bus, registry, replicas=settings.nats_replicas)
        await stack.enter_async_context(announcer.running())
        await stack.enter_async_context(nats_writes.watching(bus, nats, health))
        return cls(settings, registry, admission, bus, announcer, nats)

    def bus_address(self, caller: Caller, hostname: str | None) -> wire.Bus:
        """Return where a service finds the bus, if it reached the broker under `hostname`.

        Passwords for an external NATS are not the broker's to give: each service is configured with its own.
        """
        if self.nats is None:
            return wire.Bus(url=self.settings.nats.url)
        account = self.admission.account(caller)
        return self.nats.address(hostname).model_copy(update={"user": account.user, "password": account.password})

    @contextmanager
    def accounts_followed(self) -> Iterator[None]:
        """Tell the broker's own NATS about the accounts that a block changes."""
        before = self.admission.changes
        yield
        if self.admission.changes != before and self.nats is not None:
            self.nats.reload()


def _locate(settings: BrokerSettings, nats: NatsProcess | None) -> Callable[[], Awaitable[wire.Bus | None]]:
    async def locate() -> wire.Bus:
        if nats is not None:
            return nats.address(None)
        given = settings.nats
        return wire.Bus(url=given.url, user=given.user, password=given.secret())

    return locate


async def get_context(request: Request) -> Context:
    """Return the context of the application that answers `request`."""
    context: Context = request.app.state.context
    return context


ContextDep = Annotated[Context, Depends(get_context)]


async def get_service(request: Request, context: ContextDep) -> Caller | None:
    """Return the service that sent a request; None for people and for the original's programs."""
    with context.accounts_followed():
        return context.admission.caller(request)


OptionalService = Annotated[Caller | None, Depends(get_service)]


async def _required(caller: OptionalService) -> Caller:
    if caller is None:
        raise NotAuthenticated("this is for services: a service token is needed")
    return caller


Service = Annotated[Caller, Depends(_required)]


async def require_admin(request: Request, context: ContextDep) -> None:
    """Refuse whoever has not the token of administrators."""
    if not context.admission.is_admin(request):
        raise NotAuthenticated("this is for administrators: the token in the broker's admin.token is needed")
