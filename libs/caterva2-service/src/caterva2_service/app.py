"""The application that every service builds on."""

from __future__ import annotations

import platform
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import distributions
from types import MappingProxyType
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from . import errors, reference
from .health import Health, Readiness
from .metrics import CONTENT_TYPE_LATEST, Metrics, merged
from .reference import Meaning
from .requests import RequestMiddleware
from .siblings import Siblings

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

DEFAULT_HEADERS: Mapping[str, str] = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def service_app(
    title: str,
    *,
    version: str,
    lifespan: Lifespan,
    routers: Sequence[APIRouter] = (),
    health: Health | None = None,
    metrics: Metrics | None = None,
    middleware: Sequence[Middleware] = (),
    headers: Mapping[str, str] = DEFAULT_HEADERS,
    allowed_hosts: Sequence[str] = (),
    parameters: Mapping[str, Meaning] = MappingProxyType({}),
    siblings: Siblings | None = None,
) -> FastAPI:
    """Build an application that answers errors, health and metrics like every other service.

    Nothing is opened before the lifespan starts. `health` and `metrics` are found again in ``app.state``.

    Parameters
    ----------
    lifespan
        Opens what the service needs and puts it into ``app.state.context``.
    middleware
        Outermost first; all of it runs inside the request middleware.
    headers
        Headers that every answer gets unless it has them already.
    allowed_hosts
        Values of ``Host`` that are answered; empty allows any.
    parameters
        Meaning of the parameters that operations share, by name in lower case, for the API's reference.
    siblings
        The other processes of the service, whose metrics are answered with those of this one.
    """
    health = health or Health()
    metrics = metrics or Metrics()
    outer = [Middleware(RequestMiddleware, metrics=metrics, headers=headers)]
    if allowed_hosts:
        outer.append(Middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts)))
    app = FastAPI(
        title=title,
        version=version,
        lifespan=_with_health(lifespan, health),
        middleware=[*outer, *middleware],
        docs_url=None,
        redoc_url=None,
    )
    app.state.health = health
    app.state.metrics = metrics
    errors.install(app)
    reference.install(app, parameters)
    app.include_router(_operations(title, version, health, metrics, siblings or Siblings()))
    for router in routers:
        app.include_router(router)
    return app


def _with_health(lifespan: Lifespan, health: Health) -> Lifespan:
    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[None]:
        health.starting = True
        app.state.startup_error = None
        try:
            async with lifespan(app):
                _work_out_routes(app)
                health.starting = False
                yield
        except Exception as error:
            if health.starting:
                app.state.startup_error = error
            raise

    return run


def _work_out_routes(app: FastAPI) -> None:
    """Let every route be compared with a path once.

    FastAPI works out parameters and models only then, which would stop the event loop for 100 ms at the first request.
    """
    for route in app.routes:
        route.matches({"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": []})


def _operations(title: str, version: str, health: Health, metrics: Metrics, siblings: Siblings) -> APIRouter:
    router = APIRouter(tags=["operations"])
    metrics.report_parts(health)

    @router.get("/healthz", summary="Whether the process answers")
    async def healthz() -> dict[str, str]:
        """Answer, whatever else is down. For probes of liveness."""
        return {"status": "ok"}

    @router.get(
        "/readyz",
        summary="Whether the service can do its work, part by part",
        response_model=Readiness,
        responses={503: {"description": "It cannot", "model": Readiness}},
    )
    async def readyz() -> JSONResponse:
        """Say of each part on which the service depends whether it works. Degraded is not dead."""
        status, body = health.readiness()
        return JSONResponse(body, status)

    @router.get(
        "/metrics",
        summary="Metrics in the text format of Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def exposition() -> Response:
        """Answer with counts, sizes and durations since the start."""
        others = await siblings.ask("metrics")
        found = await run_in_threadpool(lambda: merged([metrics.exposition(), *others]))
        return Response(found, media_type=CONTENT_TYPE_LATEST)

    @router.get("/api/server", summary="Which versions run here")
    def server() -> dict[str, Any]:
        """Name the service, and the packages that matter to its behaviour."""
        return {"name": title, "version": version, "python": platform.python_version(), "packages": _packages()}

    return router


def _packages() -> dict[str, str]:
    shown = {"blosc2", "fastapi", "h5py", "nats-py", "numpy", "uvicorn"}
    found = {each.name: each.version for each in distributions()}
    return {name: found[name] for name in sorted(found) if name in shown or name.startswith("caterva2")}
