"""HTTP over one connection, with bounds on what comes before an application sees a request (A17)."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 60.0
"""Seconds for request line and headers to arrive: an idle or endless sender does not keep a connection for ever."""
MAX_HEAD_BYTES = 64 * 2**10
"""Largest request line with headers; the parser itself would take any."""


class BoundedHttp(HttpToolsProtocol):
    """The protocol of uvicorn, which ends connections whose request does not begin in time, or is nothing but head."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waiting: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    @property
    def is_waiting(self) -> bool:
        """Whether a head has to arrive in time."""
        return self._waiting is not None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take in data, and refuse a head that is too large."""
        super().data_received(data)
        if self._waiting is None:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """Wait for the head of the next request on a connection that is kept."""
        if self._waiting is None:
            self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._waiting = self.loop.call_later(HEAD_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
