"""Clients that cost little themselves: plain sockets with connections that are kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .sites import Site


@dataclass(frozen=True)
class Measured:
    """What a run of requests cost."""

    requests: int
    seconds: float
    """From the first request to the last answer."""
    cpu_ms: float
    """CPU of the subscriber for each request."""
    median_ms: float
    p99_ms: float
    nbytes: int
    """Bytes of all answers."""

    @property
    def per_s(self) -> float:
        """Requests answered in a second."""
        return self.requests / self.seconds


def run(site: Site, paths: Sequence[str], *, clients: int = 1) -> Measured:
    """Ask for every path once, from several connections, and measure."""
    cpu = site.cpu_s()
    began = time.perf_counter()
    latencies, nbytes = asyncio.run(_run(site.subscriber, paths, clients))
    seconds = time.perf_counter() - began
    ordered = sorted(latencies)
    return Measured(
        requests=len(paths),
        seconds=seconds,
        cpu_ms=(site.cpu_s() - cpu) * 1000 / len(paths),
        median_ms=median(ordered) * 1000,
        p99_ms=ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000,
        nbytes=nbytes,
    )


async def _run(port: int, paths: Sequence[str], clients: int) -> tuple[list[float], int]:
    left = iter(paths)
    latencies: list[float] = []
    total = 0

    async def client() -> None:
        nonlocal total
        reader, writer = await asyncio.open_connection("localhost", port, limit=2**22)
        for path in left:
            began = time.perf_counter()
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            total += await _answer(reader, path)
            latencies.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return latencies, total


async def _answer(reader: asyncio.StreamReader, path: str) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    assert " 200 " in head.splitlines()[0], f"{path}: {head.splitlines()[0]}"
    if "transfer-encoding: chunked" in head:
        total = 0
        while length := int(await reader.readline(), 16):
            await _skip(reader, length)
            await reader.readline()
            total += length
        await reader.readline()
        return total
    length = int(head.partition("content-length:")[2].split()[0])
    await _skip(reader, length)
    return length


async def _skip(reader: asyncio.StreamReader, nbytes: int) -> None:
    while nbytes:
        piece = await reader.read(min(nbytes, 2**20))
        assert piece, "the answer was cut off"
        nbytes -= len(piece)
