"""What happens around every request: identity, log line, metrics, headers, and an answer whatever fails."""

from __future__ import annotations

import re
import sqlite3
import time
import uuid
from collections.abc import Mapping

import structlog
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from caterva2.wire import HEADER_REQUEST_ID

from . import errors
from .log import get_logger
from .metrics import Metrics

_SAFE_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_SECRET_PART = re.compile(r"(/reset-password/)[^/]+")
"""Links of mails end with a token that is as good as a password."""
_QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})

log = get_logger("caterva2.requests")


def current_request_id() -> str | None:
    """Return the identity of the request that is being answered, to be sent on to other services."""
    found = structlog.contextvars.get_contextvars().get("request_id")
    return str(found) if found is not None else None


class RequestMiddleware:
    """Outermost middleware, in plain ASGI so that it costs little and streams stay streams.

    Parameters
    ----------
    headers
        Headers that every answer gets unless it has them already.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, headers: Mapping[str, str]) -> None:
        self._app = app
        self._headers = dict(headers)
        self._count: Counter = metrics.requests
        self._seconds: Histogram = metrics.request_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER_REQUEST_ID, "")
        request_id = given if _SAFE_ID.match(given) else uuid.uuid4().hex
        status = 0
        start = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER_REQUEST_ID] = request_id
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_headers)
            except ClientDisconnect:
                status = status or 499
            except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
                await self._fail(error, scope, receive, send_with_headers, started=bool(status))
            finally:
                self._record(scope, status, time.perf_counter() - start)

    async def _fail(self, error: Exception, scope: Scope, receive: Receive, send: Send, *, started: bool) -> None:
        log.error("request failed", method=scope["method"], path=_shown(scope["path"]), exc_info=error)
        if started:
            # The status is out; ending without the last part of the body tells the client that it is incomplete.
            return
        if isinstance(error, OSError) and error.errno is not None:
            response = errors.answer(errors.of_os_error(error))
        elif isinstance(error, sqlite3.OperationalError):
            response = errors.answer(errors.of_sqlite_error(error))
        else:
            response = PlainTextResponse("Internal Server Error", 500)
        await response(scope, receive, send)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "none"
        self._count.labels(scope["method"], route, str(status)).inc()
        self._seconds.labels(scope["method"], route).observe(seconds)
        if route not in _QUIET_ROUTES:
            path = _shown(scope["path"])
            log.info("request", method=scope["method"], path=path, status=status, ms=round(seconds * 1000, 2))


def _shown(path: str) -> str:
    """Return a path without what nobody may read in a log."""
    return _SECRET_PART.sub(r"\1...", path)
