"""Sending what `answers` made: once more for a version that changed meanwhile, in part, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from caterva2.errors import Conflict, VersionChanged

from ..answers import Answer
from ..auth.principal import Principal
from ..context import Context
from ..library import Resource

T = TypeVar("T")

_PATIENCE_S = 0.1
"""Seconds of work after which a client is watched."""


async def with_current(
    context: Context,
    principal: Principal,
    path: str,
    work: Callable[[Resource], Awaitable[T]],
    *,
    check: Callable[[Resource], None] | None = None,
    request: Request | None = None,
) -> T:
    """Do something with the present version of a dataset; start again, once, if it is replaced meanwhile.

    Parameters
    ----------
    check
        Raises if the version is not one that the reader would accept.
    request
        Work is given up when this request's client goes away.

    Raises
    ------
    Conflict
        If the dataset changed again.
    """
    resource = await _open(context, principal, path, check)
    try:
        return await unless_gone(request, work(resource))
    except VersionChanged:
        await context.library.renew(path)
    resource = await _open(context, principal, path, check)
    try:
        return await unless_gone(request, work(resource))
    except VersionChanged:
        raise Conflict(f"{resource.path} changes faster than it can be read; try again", retry_after_s=1) from None


async def _open(
    context: Context, principal: Principal, path: str, check: Callable[[Resource], None] | None
) -> Resource:
    resource = await context.library.open(principal, path)
    if check is not None:
        check(resource)
    return resource


async def unless_gone(request: Request | None, work: Awaitable[T]) -> T:
    """Give `work` up when the client goes away. Most work ends before it is worth looking."""
    if request is None:
        return await work
    watch = _Watch(request)
    try:
        return await work
    except asyncio.CancelledError:
        watch.raise_if_gone()
        raise
    finally:
        watch.close()


class _Watch:
    """Cancels the task that made it when the client of a request is gone."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._worker = asyncio.current_task()
        self._gone = False
        self._watching: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE_S, self._begin)

    def _begin(self) -> None:
        self._watching = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._worker is not None:
            self._worker.cancel()

    def raise_if_gone(self) -> None:
        """Raise ClientDisconnect if it was us who cancelled."""
        if self._gone and self._worker is not None:
            self._worker.uncancel()
            raise ClientDisconnect

    def close(self) -> None:
        """Look no longer."""
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()


def respond(answer: Answer, headers: dict[str, str], part: tuple[int, int] | None = None) -> Response:
    """Return the response that sends an answer, or the half-open range `part` of its bytes."""
    length = answer.length
    status = 200
    body = answer.body
    if part is not None:
        start, stop = part
        headers = {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{length}"}
        length, status = stop - start, 206
        if isinstance(body, (bytes, list)):
            body = (body if isinstance(body, bytes) else b"".join(body))[start:stop]
        else:
            body = _cut(body, start, stop)
    headers = {**answer.headers, **headers, **({"Content-Length": str(length)} if length >= 0 else {})}
    if isinstance(body, list):
        body = b"".join(body) if length <= 2**20 else _pieces(body)
    if isinstance(body, bytes):
        return Response(body, status, headers, answer.media_type)
    return StreamingResponse(body, status, headers, answer.media_type)


async def started(answer: Answer) -> Answer:
    """Wait for the first bytes of a streamed answer, so that what goes wrong until then is an honest error."""
    if isinstance(answer.body, (bytes, list)):
        return answer
    body = answer.body
    first = await anext(body, None)
    second = await anext(body, None) if first is not None else None

    async def again() -> AsyncGenerator[bytes, None]:
        async with aclosing(body):
            for piece in (first, second):
                if piece is not None:
                    yield piece
            async for piece in body:
                yield piece

    answer.body = again()
    return answer


async def _pieces(pieces: list[bytes]) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


async def _cut(body: AsyncGenerator[bytes, None], start: int, stop: int) -> AsyncGenerator[bytes, None]:
    position = 0
    async with aclosing(body):
        async for piece in body:
            first, last = max(start - position, 0), stop - position
            position += len(piece)
            if first < len(piece):
                yield piece[first:last]
            if position >= stop:
                return
