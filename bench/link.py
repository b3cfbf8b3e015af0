"""A link between two sites: a TCP relay that delays and limits what passes, as a process of its own.

Distance is half the round trip each way, and a whole one for a new connection; the rate is shared by all connections of
a direction. Slow start and loss are not simulated, so bulk transfers look better than over a real distance, for both.

    python -m bench.link LISTEN_PORT TARGET_PORT ROUND_TRIP_MS MBIT_PER_S
"""

from __future__ import annotations

import asyncio
import sys
import time

_PIECE = 64 * 1024


class Direction:
    """Lets bytes pass at a rate, and arrive after a delay."""

    def __init__(self, delay_s: float, bytes_per_s: float) -> None:
        self._delay_s = delay_s
        self._rate = bytes_per_s
        self._free = 0.0

    def due(self, nbytes: int) -> float:
        """Return when a piece that is sent now has arrived."""
        now = time.perf_counter()
        self._free = max(self._free, now) + nbytes / self._rate
        return self._free + self._delay_s

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what arrives until the sender ends."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

        async def receive() -> None:
            while piece := await reader.read(_PIECE):
                await under_way.put((self.due(len(piece)), piece))
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


async def serve(listen: int, target: int, round_trip_s: float, mbit: float) -> None:
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

    server = await asyncio.start_server(connected, "127.0.0.1", listen)
    await server.serve_forever()


if __name__ == "__main__":
    port, far, milliseconds, rate = sys.argv[1:]
    asyncio.run(serve(int(port), int(far), float(milliseconds) / 1000, float(rate)))
