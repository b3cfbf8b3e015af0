"""What every answer says to browsers, how large a request may be, and how many one user may make (A14, A17)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from caterva2.errors import NotAuthenticated, TooLarge, TooManyRequests
from caterva2_service.errors import answer
from caterva2_service.metrics import Metrics

from .auth.caller import get_caller
from .auth.principal import KNOWN, optional_principal
from .settings import ShareSettings

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
STREAMS = ("/api/events",)
"""Answers that last as long as the reader likes, and cost little."""
RETRY_S = 2.0
MANY = 10_000
"""Users and addresses of whom is known what they do; from then on those that do nothing are forgotten."""
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


@dataclass(eq=False, slots=True)
class _Share:
    """What one user does at the moment, and the bytes that are left of this minute's."""

    running: int = 0
    streams: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    left: float = 0.0
    at: float = 0.0
    """When `left` was counted."""


class FairShare:
    """Lets each user, or each address that nobody is logged in at, have so many requests answered at a time (A17).

    Further ones wait in turn, so that nobody's burst keeps others waiting; those that find the queue full, or wait for
    too long, are told to come again later (429). Who has moved the bytes of a minute waits for the next ones.
    Each process counts for itself.
    """

    def __init__(self, app: ASGIApp, *, settings: ShareSettings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._shares: dict[str, _Share] = {}
        metrics.gauge("requests_waiting", "Requests that wait, as their users have many others answered").set_function(
            lambda: float(sum(len(share.waiting) for share in self._shares.values()))
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request in its turn."""
        if scope["type"] != "http" or not scope["path"].startswith(PRIVATE):
            await self._app(scope, receive, send)
            return
        share = self._share(await _who(scope, receive))
        try:
            leave = await self._enter(share, scope)
        except TooManyRequests as error:
            await answer(error)(scope, receive, send)
            return
        try:
            if self._rate:
                receive, send = _counted(share, receive, send)
            await self._app(scope, receive, send)
        finally:
            leave(share)

    def _share(self, who: str) -> _Share:
        share = self._shares.get(who)
        if share is None:
            self._forget_idle()
            share = self._shares[who] = _Share(left=float(self._rate), at=time.monotonic())
        return share

    async def _enter(self, share: _Share, scope: Scope) -> Callable[[_Share], None]:
        """Wait until a request may be answered; return what is to be called at its end. Raises TooManyRequests."""
        if self._rate:
            self._check_bytes(share)
        if scope["path"].startswith(STREAMS):
            if share.streams >= self._settings.streams:
                raise TooManyRequests("You follow changes in too many places; close some", retry_after_s=RETRY_S)
            share.streams += 1
            return _end_stream
        if share.running < self._settings.requests or not self._settings.requests:
            share.running += 1
        else:
            await self._turn(share)  # whoever ends hands its place over
            scope.pop(KNOWN, None)  # the session may have ended meanwhile
        return _hand_over

    async def _turn(self, share: _Share) -> None:
        if len(share.waiting) >= self._settings.waiting:
            raise TooManyRequests("You have too many requests at once; wait for some of them", retry_after_s=RETRY_S)
        place = asyncio.get_running_loop().create_future()
        share.waiting.append(place)
        try:
            async with asyncio.timeout(self._settings.patience_s):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                _hand_over(share)
            with suppress(ValueError):
                share.waiting.remove(place)
            if isinstance(error, TimeoutError):
                raise TooManyRequests("Your other requests take too long; wait for them", retry_after_s=5.0) from None
            raise

    def _check_bytes(self, share: _Share) -> None:
        self._refill(share)
        if share.left <= 0:
            wait_s = 1.0 - share.left * 60.0 / self._rate
            raise TooManyRequests(
                "You have moved more bytes than a minute's; wait before you go on", retry_after_s=wait_s
            )

    def _refill(self, share: _Share) -> None:
        now = time.monotonic()
        share.left = min(float(self._rate), share.left + (now - share.at) * self._rate / 60.0)
        share.at = now

    @property
    def _rate(self) -> int:
        return self._settings.bytes_per_minute or 0

    def _forget_idle(self) -> None:
        if len(self._shares) < MANY:
            return
        for who, share in list(self._shares.items()):
            self._refill(share)
            if not (share.running or share.streams or share.waiting) and share.left >= self._rate:
                del self._shares[who]


def _hand_over(share: _Share) -> None:
    while share.waiting:
        place = share.waiting.popleft()
        if not place.done():
            place.set_result(None)
            return
    share.running -= 1


def _end_stream(share: _Share) -> None:
    share.streams -= 1


async def _who(scope: Scope, receive: Receive) -> str:
    request = Request(scope, receive)
    with suppress(NotAuthenticated):  # it is refused in due course
        scope[KNOWN] = principal = await optional_principal(request)
        if principal.user_id is not None:
            return str(principal.user_id)
    return (await get_caller(request)).host


def _counted(share: _Share, receive: Receive, send: Send) -> tuple[Receive, Send]:
    async def receive_counted() -> Message:
        message = await receive()
        share.left -= len(message.get("body", b""))
        return message

    async def send_counted(message: Message) -> None:
        share.left -= len(message.get("body", b""))
        await send(message)

    return receive_counted, send_counted


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
