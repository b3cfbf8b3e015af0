"""The link of compose.two-sites.yaml: it changes nothing but the time that bytes take."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import pytest

LINK = Path(__file__).parents[2] / "docker" / "two-sites" / "link.py"


@pytest.fixture(scope="module", name="link_module")
def _link_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("two_sites_link", LINK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """Port of a server that sends back what it got, once the client has ended its side."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def through(link_module: ModuleType, echo: int, payload: bytes, *, rate: float, delay_s: float) -> tuple:
    link = link_module.Link(rate, delay_s)
    loop = asyncio.get_running_loop()
    async with link.listening(link_module.Forward(0, "127.0.0.1", echo), "127.0.0.1") as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        began = loop.time()
        writer.write(payload)
        writer.write_eof()
        answer = await reader.read()
        took = loop.time() - began
        writer.close()
    return link, answer, took


async def test_bytes_pass_unchanged_and_are_counted(link_module: ModuleType, echo: int) -> None:
    payload = bytes(range(256)) * 2000
    link, answer, _ = await through(link_module, echo, payload, rate=1e9, delay_s=0)
    assert answer == payload
    assert link.up.carried == link.down.carried == len(payload)


async def test_rate_and_delay_are_lower_bounds_of_the_time(link_module: ModuleType, echo: int) -> None:
    _, answer, took = await through(link_module, echo, b"x" * 50_000, rate=500_000, delay_s=0.05)
    assert len(answer) == 50_000
    handshake, there_and_back, on_the_wire = 0.1, 0.1, 2 * 50_000 / 500_000
    assert took >= handshake + there_and_back + on_the_wire - 0.01


async def test_a_target_that_is_down_closes_the_connection(link_module: ModuleType) -> None:
    link = link_module.Link(1e9, 0)
    async with link.listening(link_module.Forward(0, "127.0.0.1", 9), "127.0.0.1") as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()


def test_what_to_forward_is_read_from_the_command_line(link_module: ModuleType) -> None:
    assert link_module.Forward.parse("8000=lab-broker:8001") == link_module.Forward(8000, "lab-broker", 8001)
    with pytest.raises(ValueError, match="invalid literal"):
        link_module.Forward.parse("broker")
