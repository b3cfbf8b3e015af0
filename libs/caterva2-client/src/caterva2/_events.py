"""Changes at a subscriber, as they happen: the stream of ``/api/events`` (server-sent events)."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from ._errors import raise_for_status
from ._transport import AsyncTransport, Call, Session, Transport, explain

SILENCE_S = 60.0
"""Seconds of silence after which a stream counts as broken; the subscriber sends a comment more often than that."""
PAUSE_S = 2.0
"""Seconds between attempts to connect again, unless the subscriber asks for another pause."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change that the subscriber has seen."""

    kind: str
    """What happened: ``added``, ``changed``, ``removed``, ``root-online``, ``root-offline``, or ``resync``: something
    was missed, look at everything again."""
    root: str | None = None
    path: str | None = None
    """The dataset or file, with its root; None where a whole root is meant: many things of it changed."""
    version: str | None = None
    """The new version of the dataset."""
    id: str | None = None
    """Where in the stream this is: what `events` takes to go on behind it."""
    data: dict[str, Any] = field(default_factory=dict)
    """All that the subscriber said."""


class EventDecoder:
    """Incremental decoder of server-sent events."""

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self.pause_s = PAUSE_S
        self._buffer = b""
        self._kind = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that `piece` completes."""
        *lines, self._buffer = (self._buffer + piece).replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            event = self._take(line.decode(errors="replace"))
            if event is not None:
                yield event

    def restart(self) -> None:
        """Forget what was cut off."""
        self._buffer, self._kind, self._data = b"", "", []

    def _take(self, line: str) -> Event | None:
        if not line:
            return self._complete()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            self.last_id = value
        elif name == "retry" and value.isdigit():
            self.pause_s = int(value) / 1000
        return None

    def _complete(self) -> Event | None:
        kind, text = self._kind or "message", "\n".join(self._data)
        self._kind, self._data = "", []
        if not text:
            return None
        try:
            data = json.loads(text)
        except ValueError:
            return None
        if not isinstance(data, dict):
            return None
        return _event(kind, data, self.last_id)


def _event(kind: str, data: dict[str, Any], last_id: str | None) -> Event:
    root, path = data.get("root"), data.get("path")
    # The subscriber names the path inside its root; here, as everywhere in this package, it has the root before it.
    whole = f"{root}/{path}" if root and path else None
    return Event(kind, root or None, whole, data.get("etag"), last_id, data)


def _request(session: Session, client: httpx.Client | httpx.AsyncClient, decoder: EventDecoder) -> httpx.Request:
    headers = {"accept": "text/event-stream", "cache-control": "no-cache"}
    if decoder.last_id is not None:
        headers["last-event-id"] = decoder.last_id
    request = session.request(client, Call("GET", "/api/events", headers=headers))
    request.extensions["timeout"] = {**request.extensions["timeout"], "read": SILENCE_S}
    return request


def _wants(event: Event, roots: frozenset[str] | None) -> bool:
    return roots is None or event.root is None or event.root in roots


def follow(transport: Transport, roots: frozenset[str] | None, last_id: str | None) -> Iterator[Event]:
    """Yield changes for ever; a connection that breaks is made anew, behind the last event.

    Raises
    ------
    httpx.ConnectError
        If the subscriber cannot be reached when the first connection is made.
    httpx.HTTPStatusError
        If it refuses.
    """
    decoder = EventDecoder(last_id)
    connected = False
    while True:
        try:
            request = _request(transport.session, transport.httpx_client, decoder)
            response = transport.httpx_client.send(request, stream=True)
            try:
                if not response.is_success:
                    response.read()
                    raise_for_status(response)
                connected = True
                for piece in response.iter_bytes():
                    yield from (event for event in decoder.feed(piece) if _wants(event, roots))
            finally:
                response.close()
        except httpx.TransportError as error:
            if not connected:
                raise explain(error, transport.session, Call("GET", "/api/events")) from error
        decoder.restart()
        time.sleep(decoder.pause_s)


async def follow_async(
    transport: AsyncTransport, roots: frozenset[str] | None, last_id: str | None
) -> AsyncIterator[Event]:
    """Do what `follow` does, on an event loop."""
    import asyncio

    decoder = EventDecoder(last_id)
    connected = False
    while True:
        try:
            request = _request(transport.session, transport.httpx_client, decoder)
            response = await transport.httpx_client.send(request, stream=True)
            try:
                if not response.is_success:
                    await response.aread()
                    raise_for_status(response)
                connected = True
                async for piece in response.aiter_bytes():
                    for event in decoder.feed(piece):
                        if _wants(event, roots):
                            yield event
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            if not connected:
                raise explain(error, transport.session, Call("GET", "/api/events")) from error
        decoder.restart()
        await asyncio.sleep(decoder.pause_s)
