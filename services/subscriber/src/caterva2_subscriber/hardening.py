"""What every answer says to browsers, and how large a request may be (A14, A17)."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from caterva2.errors import TooLarge
from caterva2_service.errors import answer

MAX_BODY_BYTES = 2**20
"""Largest body of a request that brings no file."""
MAX_SELECTION_BYTES = 16 * 2**20
"""The same for one that lists the elements that are wanted."""
SELECTIONS = "/api/fetch/"
FILES = ("/api/upload/", "/api/append/")
"""Requests that bring files, which are limited by quotas as they arrive."""
PROGRAMS = ("/assets/",)
"""What is meant to act: the GUI's own files."""
PRIVATE = ("/api/", "/auth/")
POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox"
"""For what is data: nothing in it may act, wherever it is shown. Pages of the GUI have a policy of their own."""


class Hardening:
    """Adds headers that browsers heed, and refuses bodies that are too large.

    Parameters
    ----------
    secure
        Whether the site is reached by TLS only.
    """

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self._app = app
        self._secure = secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]

        async def send_hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add(MutableHeaders(scope=message), path)
            await send(message)

        if path.startswith(FILES):
            await self._app(scope, receive, send_hardened)
            return
        limit = MAX_SELECTION_BYTES if path.startswith(SELECTIONS) else MAX_BODY_BYTES
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > limit:
            await answer(_too_large(limit))(scope, receive, send_hardened)
            return
        await self._app(scope, _limited(receive, limit), send_hardened)

    def _add(self, headers: MutableHeaders, path: str) -> None:
        if "Content-Security-Policy" not in headers and not path.startswith(PROGRAMS):
            headers["Content-Security-Policy"] = POLICY
            headers.setdefault("X-Frame-Options", "DENY")
        headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
        if self._secure:
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        if path.startswith(PRIVATE):
            headers.setdefault("Cache-Control", "no-store")


def _limited(receive: Receive, limit: int) -> Receive:
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise _too_large(limit)
        return message

    return limited


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body of this request holds at most {limit} bytes")
