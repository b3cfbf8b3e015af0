"""The application of the broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from caterva2_service.app import service_app
from caterva2_service.reference import Meaning

from . import __version__, handlers
from .context import Context
from .settings import BrokerSettings


def create_app(settings: BrokerSettings) -> FastAPI:
    """Build the application of a broker. Opens nothing until its lifespan starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.context = await Context.open(settings, stack, app.state.health, app.state.metrics)
            yield

    return service_app(
        "Caterva2 broker",
        version=__version__,
        lifespan=lifespan,
        routers=[handlers.router],
        allowed_hosts=settings.allowed_hosts,
        parameters={
            "name": Meaning("Name of a root", "foo"),
            "kid": Meaning("`kid` of the service, as it is listed"),
        },
    )
