"""Changes as they happen: ``/api/events``, server-sent events."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from caterva2.errors import NotAuthenticated, Unavailable
from caterva2.paths import SPECIAL_ROOTS

from ..auth.principal import OptionalPrincipal, Principal, present_principal
from ..context import Context, ContextDep
from ..live import Happened, LiveEvent, may_see

router = APIRouter(tags=["events"])

PING_S = 15.0
STREAM_S = 300.0
"""Seconds after which a stream ends: its reader comes back by itself, to whichever process has room."""


@router.get(
    "/api/events",
    summary="Changes of datasets as they happen",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def events(
    request: Request,
    context: ContextDep,
    principal: OptionalPrincipal,
    last_event_id: Annotated[str | None, Header(description="`id` behind which to go on; from now without it")] = None,
    last: Annotated[str | None, Query(max_length=64, description="As the header Last-Event-ID")] = None,
    mine: Annotated[bool, Query(description="Only of roots that the user is subscribed to")] = False,
) -> StreamingResponse:
    """Stream events: ``added``, ``changed``, ``removed``, ``root-online``, ``root-offline``, ``resync``.

    The data are JSON: ``root``, ``path`` below it, ``etag``; without a path, many things of the root changed.
    ``resync`` says that something was missed, as after a restart of the subscriber. Only roots that the reader may
    read are told of, the users' own included.
    """
    stream = _stream(request, context, principal, last_event_id or last, mine=mine)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def _stream(
    request: Request, context: Context, principal: Principal, last_id: str | None, *, mine: bool
) -> AsyncGenerator[bytes, None]:
    live = context.live
    yield b"retry: 2000\n\n"
    position = live.position(last_id)
    if position is None:
        position = live.position(None) or 0
        yield live.format(LiveEvent(position, Happened.RESYNC))
    elif not last_id:
        # A reader whose connection breaks before the first event says this when it comes back.
        yield f"id: {live.identity(LiveEvent(position, Happened.RESYNC))}\n\n".encode()
    ends = time.monotonic() + STREAM_S
    while time.monotonic() < ends and not await request.is_disconnected():
        found = await live.behind(position, PING_S)
        # Sessions, tokens and groups end while a stream goes on, here or at another replica.
        present = await _still(principal, request)
        if present is None:
            return
        principal = present
        if not found:
            yield b": ping\n\n"
        for event in found:
            try:
                seen = await may_see(event, principal, context.rights)
                if mine and event.root and event.root not in SPECIAL_ROOTS:
                    seen = seen and event.root in context.subscriptions.of(principal)
            except Unavailable:
                return  # the reader comes back for it, when its rights can be looked up
            position = event.number
            if seen:
                yield live.format(event)


async def _still(before: Principal, request: Request) -> Principal | None:
    """Return the reader with its present groups and scopes; None if it is somebody else by now, or nobody."""
    try:
        present = await present_principal(request)
    except NotAuthenticated:
        return None
    # While the database is away, what needs no login goes on.
    return present if present.unverified or present.user_id == before.user_id else None
