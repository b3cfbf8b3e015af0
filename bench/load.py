"""Clients that cost little themselves: plain sockets with connections that are kept, and wrk where it is installed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.support.processes import die_with_parent

from .sites import Site

WRK = shutil.which("wrk")
_SCRIPT = """
local paths, next = {}, 0
for line in io.lines(os.getenv("BENCH_PATHS")) do paths[#paths + 1] = line end
request = function() next = next % #paths + 1; return wrk.format("GET", paths[next]) end
done = function(summary, latency)
  local bad = summary.errors.status + summary.errors.read + summary.errors.connect
  io.write(string.format("\\nBENCH [%d, %d, %d, %d, %f, %f]\\n", summary.requests, summary.duration,
    summary.bytes, bad, latency:percentile(50), latency:percentile(99)))
end
"""


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
    failed: int = 0
    """Requests that were not answered with 200."""

    @property
    def per_s(self) -> float:
        """Requests answered in a second."""
        return self.requests / self.seconds

    @property
    def mb_per_s(self) -> float:
        """Megabytes of answers in a second."""
        return self.nbytes / self.seconds / 1e6


def run(site: Site, paths: Sequence[str], *, clients: int = 1, may_fail: bool = False) -> Measured:
    """Ask for every path once, from several connections, and measure."""
    cpu = site.cpu_s()
    began = time.perf_counter()
    latencies, nbytes, failed = asyncio.run(_run(site.subscriber, paths, clients, may_fail))
    seconds = time.perf_counter() - began
    ordered = sorted(latencies)
    return Measured(
        requests=len(paths),
        seconds=seconds,
        cpu_ms=(site.cpu_s() - cpu) * 1000 / len(paths),
        median_ms=median(ordered) * 1000,
        p99_ms=ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000,
        nbytes=nbytes,
        failed=failed,
    )


def hammer(site: Site, paths: Sequence[str], *, clients: int, seconds: float) -> Measured:
    """Ask for paths, one after another on each connection, for some seconds, and measure."""
    if WRK is None:
        return _hammer_without_wrk(site, paths, clients, seconds)
    cpu = site.cpu_s()
    with _wrk(site, paths, clients, seconds) as process:
        output = process.communicate(timeout=seconds + 120)[0].decode()
    requests, microseconds, nbytes, bad, p50, p99 = json.loads(output.rpartition("BENCH ")[2])
    assert not bad, f"{site.name}: {bad} of {requests} requests failed"
    assert requests, f"{site.name}: nothing was answered within {seconds} s"
    return Measured(
        requests=requests,
        seconds=microseconds / 1e6,
        cpu_ms=(site.cpu_s() - cpu) * 1000 / requests,
        median_ms=p50 / 1000,
        p99_ms=p99 / 1000,
        nbytes=nbytes,
    )


@contextlib.contextmanager
def background(site: Site, paths: Sequence[str], *, clients: int, at_most_s: float) -> Iterator[None]:
    """Ask for paths as fast as they are answered, until the block ends; `at_most_s` ends it in any case."""
    if WRK is None:
        raise RuntimeError("measuring under load needs wrk (Debian package wrk)")
    with _wrk(site, paths, clients, at_most_s) as process:
        yield
        process.kill()
        process.communicate()


def transfer(port: int, path: str) -> float:
    """Fetch one answer of known length as fast as a socket is read; return megabytes in a second."""
    buffer = memoryview(bytearray(2**20))
    with socket.create_connection(("localhost", port), timeout=120) as connection:
        began = time.perf_counter()
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        total = 0
        while count := connection.recv_into(buffer):
            if not total:
                assert b" 200 " in bytes(buffer[:16]), bytes(buffer[:count])[:200]
            total += count
        return total / (time.perf_counter() - began) / 1e6


@contextlib.contextmanager
def _wrk(site: Site, paths: Sequence[str], clients: int, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    assert WRK is not None
    with tempfile.TemporaryDirectory() as folder:
        script, listed = Path(folder, "paths.lua"), Path(folder, "paths")
        script.write_text(_SCRIPT)
        listed.write_text("\n".join(paths))
        # wrk knows whole seconds only.
        options = [f"-c{clients}", "-t1", f"-d{max(1, round(seconds))}s", "--timeout", "60s", "-s", str(script)]
        process = subprocess.Popen(
            [WRK, *options, f"http://localhost:{site.subscriber}/"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "BENCH_PATHS": str(listed)},
            preexec_fn=die_with_parent,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _hammer_without_wrk(site: Site, paths: Sequence[str], clients: int, seconds: float) -> Measured:
    once = run(site, paths[: 2 * clients], clients=clients)
    count = max(clients, int(once.per_s * seconds))
    return run(site, [paths[n % len(paths)] for n in range(count)], clients=clients)


async def _run(port: int, paths: Sequence[str], clients: int, may_fail: bool) -> tuple[list[float], int, int]:
    left = iter(paths)
    latencies: list[float] = []
    total = failed = 0

    async def client() -> None:
        nonlocal total, failed
        reader, writer = await asyncio.open_connection("localhost", port, limit=2**22)
        for path in left:
            began = time.perf_counter()
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            status, nbytes = await _answer(reader)
            assert status == 200 or may_fail, f"{path}: {status}"
            total += nbytes
            failed += status != 200
            latencies.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return latencies, total, failed


async def _answer(reader: asyncio.StreamReader) -> tuple[int, int]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(maxsplit=2)[1])
    if "transfer-encoding: chunked" in head:
        total = 0
        while length := int(await reader.readline(), 16):
            await _skip(reader, length)
            await reader.readline()
            total += length
        await reader.readline()
        return status, total
    length = int(head.partition("content-length:")[2].split()[0])
    await _skip(reader, length)
    return status, length


async def _skip(reader: asyncio.StreamReader, nbytes: int) -> None:
    while nbytes:
        piece = await reader.read(min(nbytes, 2**20))
        assert piece, "the answer was cut off"
        nbytes -= len(piece)
