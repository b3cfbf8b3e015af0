"""The subscriber as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware

from caterva2_formats.sandbox import Sandbox
from caterva2_service.app import service_app
from caterva2_service.disconnecting import CancelOnDisconnect
from caterva2_service.health import Health
from caterva2_service.metrics import Metrics
from caterva2_service.siblings import Siblings

from . import __version__
from .auth.origin import SameOriginMiddleware
from .context import Context
from .handlers import ROUTERS
from .handlers.meanings import MEANINGS
from .hardening import FairShare, Hardening
from .hot import HotFetch
from .settings import SubscriberSettings


def create_app(
    settings: SubscriberSettings, *, sandbox: Sandbox | None = None, siblings: Siblings | None = None
) -> FastAPI:
    """Build the application. Opens nothing until its lifespan starts.

    Parameters
    ----------
    sandbox
        Starts confined processes for foreign bytes; None for one that the application opens and closes itself.
    siblings
        The other processes that serve with these settings.
    """
    siblings = siblings or Siblings()
    health = Health()
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            context = await Context.open(
                settings, stack, health=health, metrics=metrics, sandbox=sandbox, siblings=siblings
            )
            await stack.enter_async_context(siblings.answering(context.answers()))
            app.state.context = context
            yield

    return service_app(
        "Caterva2 subscriber",
        version=__version__,
        lifespan=lifespan,
        routers=ROUTERS,
        health=health,
        metrics=metrics,
        middleware=[
            Middleware(Hardening, secure=settings.urlbase.startswith("https://")),
            Middleware(SameOriginMiddleware, urlbase=settings.urlbase),
            Middleware(FairShare, settings=settings.share, metrics=metrics),
            Middleware(HotFetch),
            Middleware(CancelOnDisconnect),
        ],
        allowed_hosts=settings.allowed_hosts,
        parameters=MEANINGS,
        siblings=siblings,
    )
