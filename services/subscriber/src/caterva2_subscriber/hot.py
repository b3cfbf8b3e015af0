"""A short way for the request that is made most: ``GET /api/fetch``.

Half the cost of a small slice would be the framework's: matching routes, reading parameters, solving dependencies. This
answers through the same function as the route of `handlers.fetch`, which stands for it in the documentation of the API
and takes over whatever is unusual.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from caterva2.errors import Caterva2Error
from caterva2_service.errors import answer

from .auth.principal import optional_principal
from .handlers.fetch import HEADER_CODEC, FetchQuery, answer_fetch

_PREFIX = "/api/fetch/"
_MAX_QUERY = 1000
_KNOWN = frozenset({"slice_", "field", "v"})


@dataclass(frozen=True, slots=True)
class _Route:
    path: str


_ROUTE = _Route("/api/fetch/{path:path}")
"""Under which the request is counted, as the framework's own route."""


class HotFetch:
    """ASGI middleware that answers ordinary fetches and leaves everything else to `app`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not scope["path"].startswith(_PREFIX) or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        query = _read(request)
        if query is None or scope.get("root_path"):
            await self._app(scope, receive, send)
            return
        scope["route"] = _ROUTE
        try:
            principal = await optional_principal(request)
            path = scope["path"].removeprefix(_PREFIX)
            response = await answer_fetch(request.app.state.context, principal, request, path, query)
        except Caterva2Error as error:
            response = answer(error)
        await response(scope, receive, send)


def _read(request: Request) -> FetchQuery | None:
    """Return what is asked for, or None for the framework to look at."""
    text = request.scope["query_string"]
    if len(text) > _MAX_QUERY:
        return None
    given: dict[str, str] = {}
    for name, value in parse_qsl(text.decode("latin-1"), keep_blank_values=True):
        if name not in _KNOWN or name in given or (name == "v" and len(value) > 100):
            return None
        given[name] = value
    headers = request.headers
    return FetchQuery(
        **given,
        if_none_match=headers.get("if-none-match"),
        if_match=headers.get("if-match"),
        range_=headers.get("range"),
        if_range=headers.get("if-range"),
        codec=headers.get(HEADER_CODEC),
    )
