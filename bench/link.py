"""A link between two sites: a TCP relay that delays, limits and counts what passes, as a process of its own.

Distance is half the round trip each way, and a whole one for a new connection; the rate is shared by all connections of
a direction. Slow start and loss are not simulated, so bulk transfers look better than over a real distance, for both.
Who connects to the port of the counts is told as JSON what has passed so far.

    python -m bench.link LISTEN_PORT TARGET_PORT COUNTS_PORT ROUND_TRIP_MS MBIT_PER_S
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter

_PIECE = 64 * 1024
_REQUEST = re.compile(rb"(?:GET|POST|HEAD|PUT|DELETE) (/[^ ?]*)[^ ]* HTTP/1\.1\r\n")


class Direction:
    """Lets bytes pass at a rate, and arrive after a delay."""

    def __init__(self, delay_s: float, bytes_per_s: float) -> None:
        self._delay_s = delay_s
        self._rate = bytes_per_s
        self._free = 0.0
        self.nbytes = 0
        self.requests: Counter[str] = Counter()
        """Requests by the first two parts of their paths."""

    def due(self, piece: bytes) -> float:
        """Return when a piece that is sent now has arrived."""
        now = time.perf_counter()
        self.nbytes += len(piece)
        if len(piece) < _PIECE:
            self.requests.update("/".join(path.decode().split("/")[:3]) for path in _REQUEST.findall(piece))
        self._free = max(self._free, now) + len(piece) / self._rate
        return self._free + self._delay_s

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what arrives until the sender ends."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

        async def receive() -> None:
            try:
                while piece := await reader.read(_PIECE):
                    await under_way.put((self.due(piece), piece))
            except ConnectionError:
                pass
            await under_way.put((0, b""))

        receiving = asyncio.create_task(receive())
        try:
            while True:
                due, piece = await under_way.get()
                if not piece:
                    break
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            receiving.cancel()
            writer.close()


async def serve(listen: int, target: int, counts: int, round_trip_s: float, mbit: float) -> None:
    """Relay connections for ever."""
    there, back = (Direction(round_trip_s / 2, mbit * 125_000) for _ in range(2))

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(round_trip_s)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        except ConnectionError:
            writer.close()
            return
        await asyncio.gather(there.relay(reader, far_writer), back.relay(far_reader, writer))

    async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps({"requests": there.requests, "nbytes": back.nbytes}).encode())
        await writer.drain()
        writer.close()

    relay = await asyncio.start_server(connected, "127.0.0.1", listen)
    async with relay, await asyncio.start_server(asked, "127.0.0.1", counts):
        await relay.serve_forever()


if __name__ == "__main__":
    ports, (milliseconds, rate) = [int(each) for each in sys.argv[1:4]], sys.argv[4:]
    asyncio.run(serve(ports[0], ports[1], ports[2], float(milliseconds) / 1000, float(rate)))
