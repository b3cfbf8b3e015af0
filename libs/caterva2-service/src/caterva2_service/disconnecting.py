"""Work for readers who went away is not finished (U2)."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_READS = frozenset({"GET", "HEAD"})


class CancelOnDisconnect:
    """Cancels what reads, when whoever asked is gone before the answer has begun.

    Answers that are under way end by themselves: whoever streams them hears of the end. Requests that change something
    are always finished.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises ClientDisconnect."""
        if scope["type"] != "http" or scope["method"] not in _READS:
            await self._app(scope, receive, send)
            return
        answering = asyncio.current_task()
        assert answering is not None, "requests are answered in tasks"
        messages: asyncio.Queue[Message] = asyncio.Queue()
        begun = gone = False

        async def listen() -> None:
            nonlocal gone
            while True:
                message = await receive()
                messages.put_nowait(message)
                if message["type"] == "http.disconnect":
                    if not begun:
                        gone = True
                        answering.cancel()
                    return

        async def send_begun(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        listening = asyncio.create_task(listen(), name="disconnect")
        try:
            await self._app(scope, messages.get, send_begun)
        except asyncio.CancelledError:
            if gone and answering.uncancel() == 0:
                raise ClientDisconnect from None
            raise
        finally:
            listening.cancel()
