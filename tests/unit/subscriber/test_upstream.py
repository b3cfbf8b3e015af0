"""Where publishers may be (U11)."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from caterva2.errors import UpstreamInvalid, UpstreamUnavailable
from caterva2_formats.envelope import Line
from caterva2_formats.pyramid import Plane
from caterva2_service.outbound import OutboundRules
from caterva2_service.trust import Role
from caterva2_subscriber.settings import SubscriberSettings
from caterva2_subscriber.upstream import NotOffered, Publisher, Upstream
from tests.support.trust import make_identity


def rules_of(**settings: Any) -> OutboundRules:
    return SubscriberSettings(**settings).publisher_rules()


async def asked(address: str, rules: OutboundRules, tmp_path: Path) -> str:
    """Ask the publisher at an address for its manifest; return why that did not work."""
    identity = make_identity(tmp_path, Role.SUBSCRIBER)
    upstream = Upstream(SubscriberSettings().upstream, identity, rules)
    try:
        async with upstream.publisher(address).manifest():
            return "it answered"
    except UpstreamUnavailable as error:
        return error.detail
    finally:
        await upstream.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0"])
async def test_u11_a_publisher_that_claims_to_be_on_this_machine_is_not_asked(host: str, tmp_path: Path) -> None:
    connections: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(await reader.read(10))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        elsewhere = rules_of(broker="broker.example.org:8000")
        why = await asked(f"{host}:{port}", elsewhere, tmp_path)
        assert why.startswith("The publisher ")
        assert connections == []
        assert await asked(f"127.0.0.1:{port}", rules_of(broker="localhost:8000"), tmp_path)
        assert len(connections) == 1, "beside the broker it is"


async def test_u11_sockets_of_this_machine_are_not_asked_for_a_broker_elsewhere(tmp_path: Path) -> None:
    why = await asked("run/pub.socket", rules_of(broker="broker.example.org:8000"), tmp_path)
    assert why == "The publisher is on another machine, which has no socket here"


async def test_u11_without_tls_no_publisher_is_asked_where_it_is_required(tmp_path: Path) -> None:
    rules = rules_of(broker="localhost:8000", upstream={"require_tls": True})
    assert "https://" in await asked("127.0.0.1:9", rules, tmp_path)
    assert await asked("https://127.0.0.1:9", rules, tmp_path) == "The publisher cannot be reached"


def test_u11_networks_are_settings_and_wrong_ones_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = rules_of(broker="b:8000", upstream={"allow": ["fd00::/8"], "deny": ["10.0.0.0/8"]})
    assert [str(network) for network in (*rules.allow, *rules.deny)] == ["fd00::/8", "10.0.0.0/8"]
    assert (rules.private, rules.local, rules.plain) == (True, False, True)
    with pytest.raises(ValidationError, match="allow"):
        rules_of(upstream={"allow": ["everything"]})


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def publisher_that(answers: Answer, tmp_path: Path) -> AsyncIterator[Publisher]:
    """Give a publisher that does with each connection what `answers` does."""
    server = await asyncio.start_server(answers, "127.0.0.1", 0)
    identity = make_identity(tmp_path, Role.SUBSCRIBER)
    upstream = Upstream(SubscriberSettings().upstream, identity, rules_of(broker="localhost:8000"))
    async with server:
        yield upstream.publisher(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await upstream.close()


async def tiles(publisher: Publisher) -> None:
    """Ask for two tiles."""
    async for _ in publisher.tiles("a.b2nd", etag="v", plane=Plane(0, 1, ()), level=3, ranges=[(0, 2)]):
        pass


async def line(publisher: Publisher) -> None:
    """Ask for an envelope."""
    await publisher.envelope("a.b2nd", etag="v", line=Line(0, (), 0, 1, 1000, 10))


async def test_a_publisher_of_an_older_version_is_asked_for_views_once(tmp_path: Path) -> None:
    asked_for: list[bytes] = []

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked_for.append(await reader.readuntil(b"\r\n\r\n"))
        body = b'{"detail":"Not Found"}'
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        writer.close()

    async with publisher_that(answers, tmp_path) as publisher:
        for ask in (tiles, tiles, line):
            with pytest.raises(NotOffered):
                await ask(publisher)
    assert len(asked_for) == 1


@pytest.mark.parametrize("ask", [tiles, line])
async def test_u2_a_request_for_a_view_ends_with_its_reader(ask: Callable[[Publisher], Any], tmp_path: Path) -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        await reader.read()
        gone.set()
        writer.close()

    async with publisher_that(answers, tmp_path) as publisher:
        asking = asyncio.create_task(ask(publisher))
        await begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await gone.wait()


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
@pytest.mark.parametrize("ask", [lambda p: p.info("a", etag="v"), lambda p: p.digests("a", etag="v", ranges=[])])
async def test_u4_a_small_answer_that_unpacks_to_a_large_one_is_not_unpacked(
    ask: Callable[[Publisher], Awaitable[Any]], status: str, tmp_path: Path
) -> None:
    bomb = gzip.compress(b'"' + bytes(256 * 2**20) + b'"', 1)
    asked_for: list[bytes] = []

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked_for.append((await reader.readuntil(b"\r\n\r\n")).lower())
        head = f'HTTP/1.1 {status}\r\nETag: "v"\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n'
        writer.write(head.encode() + bomb)
        writer.close()

    async with publisher_that(answers, tmp_path) as publisher:
        with pytest.raises(UpstreamInvalid, match="an encoding that was not asked for"):
            await ask(publisher)
    assert b"accept-encoding: identity" in asked_for[0]


async def test_u4_an_info_without_end_is_given_up(tmp_path: Path) -> None:
    sent = 0

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nETag: "v"\r\nConnection: close\r\n\r\n[')
        with suppress(ConnectionError):
            while sent < 256:
                writer.write(b"0," * 2**19)
                await writer.drain()
                sent += 1
        writer.close()

    async with publisher_that(answers, tmp_path) as publisher:
        with pytest.raises(UpstreamInvalid, match="more than makes sense"):
            await publisher.info("a", etag="v")
    assert sent < 256, "it was read to its end"
