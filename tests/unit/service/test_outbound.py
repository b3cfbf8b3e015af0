"""Connections to addresses that somebody else names (U11)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network

import httpx
import pytest

from caterva2_service.outbound import AddressRefused, OutboundRules, leads_inward, open_client


@asynccontextmanager
async def listening(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Serve one answer on loopback; yield the port, and what was received."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(4096))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], received


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
HERE = OutboundRules(local=True, plain=True)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "0.0.0.0",
        "::",
        "169.254.169.254",
        "fe80::1",
        "fd00:ec2::254",
        "fc00::1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "100.64.0.1",
    ],
)
def test_u11_addresses_that_lead_inward_are_refused(address: str) -> None:
    assert not OutboundRules().allows(ip_address(address))
    listed = OutboundRules(allow=(ip_network("::/0"), ip_network("0.0.0.0/0")))
    assert listed.allows(ip_address(address)), "an administrator may list them"


def test_u11_what_the_rules_of_an_administrator_say_counts() -> None:
    rules = OutboundRules(private=True, deny=(ip_network("10.1.0.0/16"),), allow=(ip_network("10.1.2.0/24"),))
    assert rules.allows(ip_address("10.2.0.1"))
    assert not rules.allows(ip_address("10.1.2.3")), "what is denied stays denied"
    assert not rules.allows(ip_address("127.0.0.1"))
    assert not rules.allows(ip_address("169.254.169.254"))
    assert OutboundRules().allows(ip_address("93.184.216.34"))
    assert OutboundRules(local=True).allows(ip_address("::1"))
    assert not leads_inward(ip_address("10.0.0.1"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433", "0x7f000001", "127.1"])
async def test_u11_however_loopback_is_written_no_request_leaves(host: str) -> None:
    async with listening(OK) as (port, received), open_client(OutboundRules(plain=True)) as client:
        with pytest.raises((AddressRefused, httpx.ConnectError)):
            await client.get(f"http://{host}:{port}/")
        assert received == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "ftp://127.0.0.1/", "file:///etc/passwd", "gopher://x/"])
async def test_u11_only_https_unless_plain_http_is_allowed(url: str) -> None:
    async with open_client(OutboundRules(local=True)) as client:
        with pytest.raises((AddressRefused, httpx.UnsupportedProtocol)):
            await client.get(url)


async def test_u11_the_address_that_was_checked_is_the_one_that_is_connected_to() -> None:
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    async with listening(OK) as (port, received), open_client(HERE, resolve=rebinding) as client:
        assert (await client.get(f"http://data.example.org:{port}/")).text == "ok"
    assert asked == ["data.example.org"], "the name is resolved once"
    assert b"host: data.example.org" in received[0].lower()


async def test_u11_one_bad_address_of_a_name_is_enough_to_refuse_it() -> None:
    async def mixed(host: str, port: int) -> list[str]:
        return ["93.184.216.34", "169.254.169.254"]

    async with open_client(OutboundRules(plain=True), resolve=mixed) as client:
        with pytest.raises(AddressRefused, match=r"data\.example\.org leads to an address"):
            await client.get("http://data.example.org/")


async def test_u11_another_address_is_tried_where_one_does_not_answer() -> None:
    async def two(host: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    async with listening(OK) as (port, _), open_client(HERE, resolve=two) as client:
        assert (await client.get(f"http://data.example.org:{port}/")).text == "ok"


async def test_u11_redirects_are_not_followed_and_proxies_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    redirect = b"HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    async with listening(redirect) as (port, received), open_client(HERE) as client:
        assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 302
    assert len(received) == 1
