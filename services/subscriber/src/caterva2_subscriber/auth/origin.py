"""Requests that a foreign page makes a browser send (A6).

Clients and scripts send neither ``Origin`` nor ``Sec-Fetch-Site`` and pass. Browsers send at least one of them with
every request that changes something; those of foreign pages are refused.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from caterva2.errors import PermissionDenied
from caterva2_service.errors import answer

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_REFUSAL = "The request came from a page of another site"


class SameOriginMiddleware:
    """Refuses what pages of other sites make browsers send with other methods than GET.

    Parameters
    ----------
    urlbase
        The site's public address; the ``Host`` that was asked for counts too.
    origins
        Further origins (``https://notebooks.example.org``) that may send such requests.
    """

    def __init__(self, app: ASGIApp, *, urlbase: str, origins: tuple[str, ...] = ()) -> None:
        self._app = app
        parts = urlsplit(urlbase)
        self._origins = {f"{parts.scheme}://{parts.netloc}".lower(), *(origin.lower() for origin in origins)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a foreign request, pass on any other."""
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS and self._is_foreign(scope):
            await answer(PermissionDenied(_REFUSAL))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_foreign(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        if headers.get("authorization"):
            return False  # browsers do not add it by themselves
        origin = headers.get("origin")
        if origin is not None and origin.lower() in self._origins:
            return False
        fetch_site = headers.get("sec-fetch-site")
        if fetch_site is not None:
            return fetch_site not in ("same-origin", "none")
        return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


def refuse_navigation(request: Request) -> None:
    """Refuse a browser that shows an address, or follows a foreign page. Raises PermissionDenied."""
    site = request.headers.get("sec-fetch-site")
    wants_page = "text/html" in request.headers.get("accept", "")
    if wants_page or site not in (None, "same-origin"):
        raise PermissionDenied(_REFUSAL)
