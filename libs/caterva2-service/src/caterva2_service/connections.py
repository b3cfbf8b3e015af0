"""HTTP over one connection, with bounds on how long the other end may take over a request and its answer (A17)."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 60.0
"""Seconds for request line and headers to arrive: an idle or endless sender does not keep a connection for ever."""
MAX_HEAD_BYTES = 64 * 2**10
"""Largest request line with headers; the parser itself would take any."""
BODY_S = 60.0
"""Seconds in which `MIN_BODY_BYTES` of a body arrive, unless it ends: a sender of a byte a second is given up."""
MIN_BODY_BYTES = 60 * 2**10
READER_S = 300.0
"""Seconds in which a reader takes `MIN_READ_BYTES` of an answer that waits for it. Behind a slow link the kernels hold
megabytes, so that little can be seen of a reader within a shorter time."""
MIN_READ_BYTES = 64 * 2**10
_TOO_SLOW = b"The body of the request arrives too slowly."


class BoundedHttp(HttpToolsProtocol):
    """The protocol of uvicorn, which ends connections whose other end hardly moves, or sends nothing but head."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waiting: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_body = False
        self._pacing: asyncio.TimerHandle | None = None
        self._body_bytes = 0
        self._held = False
        self._reading: asyncio.TimerHandle | None = None
        self._unread = 0

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
        if self._in_body:
            self._body_bytes += len(data)
            self._held = self._held or self.flow.read_paused
            if self._pacing is None:
                self._pacing = self.loop.call_later(BODY_S, self.check_body)
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
        """Wait for the head no more, but for the body."""
        self._stop_waiting()
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait for the body no more."""
        self._end_body()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Wait for the reader."""
        super().pause_writing()
        self._unread = self.unread
        self._reading = self.loop.call_later(READER_S, self.check_reader)

    def resume_writing(self) -> None:
        """Wait for the reader no more."""
        self._stop_reading()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        self._end_body()
        self._stop_reading()
        super().connection_lost(exc)

    # --- heads ---------------------------------------------------------------------
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

    # --- bodies ---------------------------------------------------------------------
    def check_body(self) -> None:
        """Give up a body of which too little came since the last check, unless it was the application that paused."""
        ours = self._held or self.cycle.waiting_for_100_continue
        if not ours and self._body_bytes < MIN_BODY_BYTES:
            self._refuse_body()
            return
        self._body_bytes = 0
        self._held = self.flow.read_paused
        self._pacing = self.loop.call_later(BODY_S, self.check_body)

    def _refuse_body(self) -> None:
        self._end_body()
        if self.transport.is_closing():
            return
        if not self.cycle.response_started:
            head = f"content-type: text/plain\r\ncontent-length: {len(_TOO_SLOW)}\r\nconnection: close\r\n\r\n"
            self.transport.write(b"HTTP/1.1 408 Request Timeout\r\n" + head.encode() + _TOO_SLOW)
        self.transport.close()

    def _end_body(self) -> None:
        self._in_body = False
        self._body_bytes = 0
        self._held = False
        if self._pacing is not None:
            self._pacing.cancel()
            self._pacing = None

    # --- readers ---------------------------------------------------------------------
    def check_reader(self) -> None:
        """Give up a reader that took too little since the last check."""
        unread = self.unread
        if self._unread - unread < MIN_READ_BYTES:
            self._stop_reading()
            self.transport.abort()  # closing would wait until the rest is read
            return
        self._unread = unread
        self._reading = self.loop.call_later(READER_S, self.check_reader)

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    @property
    def unread(self) -> int:
        """Bytes that were sent and did not arrive: here, and in the kernel."""
        kept: int = self.transport.get_write_buffer_size()
        sock = self.transport.get_extra_info("socket")
        queued = bytearray(4)
        with suppress(OSError):  # it is closed, or a system that cannot tell
            fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, queued)
        return kept + int(struct.unpack("i", queued)[0])
