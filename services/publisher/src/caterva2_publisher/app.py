"""The publisher as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware

from caterva2_service.app import service_app
from caterva2_service.disconnecting import CancelOnDisconnect
from caterva2_service.health import Health
from caterva2_service.metrics import Metrics

from . import __version__
from .context import open_context
from .handlers import ROUTERS
from .handlers.meanings import MEANINGS
from .settings import PublisherSettings


def create_app(settings: PublisherSettings) -> FastAPI:
    """Build the application. Opens nothing until its lifespan starts."""
    health = Health()
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_context(settings, health, metrics) as context:
            app.state.context = context
            yield

    return service_app(
        "Caterva2 publisher",
        version=__version__,
        lifespan=lifespan,
        routers=ROUTERS,
        health=health,
        metrics=metrics,
        middleware=[Middleware(CancelOnDisconnect)],
        allowed_hosts=settings.allowed_hosts,
        parameters=MEANINGS,
    )
