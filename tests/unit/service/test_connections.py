"""Connections that are idle, slow or endless (A17)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from caterva2_service import connections
from caterva2_service.connections import MAX_HEAD_BYTES, MIN_BODY_BYTES, MIN_READ_BYTES, BoundedHttp

REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], "asyncio.Future[Streams]"]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    answer = str(len(body)).encode()
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@asynccontextmanager
async def serving(protocols: list[BoundedHttp] | None = None, application: ASGIApp = application) -> AsyncIterator[int]:
    """Serve an application; yield the port. The protocol of each connection is added to `protocols`."""
    made = protocols if protocols is not None else []
    config = uvicorn.Config(application, http=BoundedHttp, lifespan="off", log_config=None, access_log=False)
    config.load()
    server = uvicorn.Server(config)
    loop = asyncio.get_running_loop()

    def protocol() -> BoundedHttp:
        made.append(BoundedHttp(config=config, server_state=server.server_state, app_state={}, _loop=loop))
        return made[-1]

    listening = await loop.create_server(protocol, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


async def said(streams: Streams, data: bytes) -> bytes:
    """Send data; return the first answer, empty if the connection is closed."""
    reader, writer = streams
    writer.write(data)
    await writer.drain()
    return await reader.read(4096)


async def test_a17_two_hundred_idle_and_half_open_requests_keep_nobody_waiting() -> None:
    async with serving() as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
        for _, writer in idle[::2]:
            writer.write(b"GET / HTTP/1.1\r\nx-slow: ")
        for _ in range(3):
            streams = await asyncio.open_connection("127.0.0.1", port)
            assert (await said(streams, REQUEST)).startswith(b"HTTP/1.1 200")
            streams[1].close()
        for _, writer in idle:
            writer.close()


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nx-slow: "])
async def test_a17_a_request_that_does_not_begin_in_time_is_given_up(
    begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.05)
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()


async def test_a17_the_next_request_on_a_kept_connection_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as port:
        streams = await asyncio.open_connection("127.0.0.1", port)
        assert (await said(streams, REQUEST)).startswith(b"HTTP/1.1 200")
        monkeypatch.setattr(connections, "HEAD_S", 0.05)
        async with asyncio.timeout(60):
            assert await said(streams, b"GET / HT") == b""
        streams[1].close()


async def test_a17_an_endless_head_is_refused() -> None:
    async with serving() as port:
        streams = await asyncio.open_connection("127.0.0.1", port)
        answer = await said(streams, b"GET / HTTP/1.1\r\n" + b"x-header: value\r\n" * (MAX_HEAD_BYTES // 16))
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"too large" in answer
        streams[1].close()


POST = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"


async def begun(protocols: list[BoundedHttp]) -> BoundedHttp:
    """Return the protocol of the first connection once its application runs."""
    while not protocols or protocols[0].cycle is None:
        await asyncio.sleep(0)
    return protocols[0]


async def test_a17_kept_connections_and_large_bodies_are_not_cut_off() -> None:
    protocols: list[BoundedHttp] = []
    length = 2 * MAX_HEAD_BYTES
    async with serving(protocols) as port, asyncio.timeout(60):
        streams = await asyncio.open_connection("127.0.0.1", port)
        streams[1].write(POST % length + b"x" * (length - 1))
        protocol = await begun(protocols)
        assert not protocol.is_waiting, "the head is there: the body may take its time"
        assert str(length).encode() in await said(streams, b"x")
        assert not protocol.is_waiting, "how long a kept connection may be idle is uvicorn's affair"
        assert (await said(streams, REQUEST)).startswith(b"HTTP/1.1 200")
        streams[1].close()


async def test_a17_a_body_that_hardly_moves_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODY_S", 0.05)
    ended = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        ended.set()

    async with serving(application=slow) as port, asyncio.timeout(60):
        streams = await asyncio.open_connection("127.0.0.1", port)
        answer = await said(streams, POST % 100 + b"x")
        assert answer.startswith(b"HTTP/1.1 408")
        assert answer.endswith(b"too slowly.")
        assert await streams[0].read() == b"", "the connection is closed"
        await ended.wait()
        streams[1].close()


async def test_a17_a_body_that_moves_or_waits_for_the_service_is_not_given_up() -> None:
    protocols: list[BoundedHttp] = []
    goes_on = asyncio.Event()

    async def busy(scope: Scope, receive: Receive, send: Send) -> None:
        await goes_on.wait()
        await application(scope, receive, send)

    async with serving(protocols, application=busy) as port, asyncio.timeout(60):
        streams = await asyncio.open_connection("127.0.0.1", port)
        length = MIN_BODY_BYTES + 2**20
        streams[1].write(POST % length + b"x" * MIN_BODY_BYTES)
        protocol = await begun(protocols)
        while len(protocol.cycle.body) < MIN_BODY_BYTES:
            await asyncio.sleep(0)
        protocol.check_body()
        assert not protocol.transport.is_closing(), "enough has come"
        streams[1].write(b"x" * (2**20 - 1))
        while not protocol.flow.read_paused:
            await asyncio.sleep(0)
        for _ in range(3):
            protocol.check_body()
            assert not protocol.transport.is_closing(), "the application does not read"
        goes_on.set()
        while protocol.flow.read_paused or len(protocol.cycle.body):
            await asyncio.sleep(0)
        assert str(length).encode() in await said(streams, b"x")
        streams[1].close()


async def test_a17_a_reader_that_takes_nothing_is_given_up_and_a_slow_one_is_not() -> None:
    protocols: list[BoundedHttp] = []
    length = 2**25
    unsent = asyncio.Event()

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % length)]})
        await send({"type": "http.response.body", "body": bytes(length), "more_body": True})
        await send({"type": "http.response.body"})
        unsent.set()

    async with serving(protocols, application=large) as port, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        protocol = await begun(protocols)
        while not protocol.flow.write_paused:
            await asyncio.sleep(0)
        before = protocol.unread
        while before - protocol.unread < MIN_READ_BYTES:
            await reader.read(2**16)
        protocol.check_reader()
        assert not protocol.transport.is_closing(), "it has taken enough since it was waited for"
        while not protocol.transport.is_closing():
            protocol.check_reader()
            await asyncio.sleep(0)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(length)
        await unsent.wait()
        writer.close()
