"""A thin, long link between two sites, for compose.two-sites.yaml: forwards TCP at a limited rate, with a delay.

    python link.py --rate 20 --delay 20 4222=lab-nats:4222 8000=lab-broker:8000

All connections share the rate, as they share a wire. Every few seconds in which something passed, the totals are said.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

PIECE = 16 * 1024
REPORT_S = 5.0


@dataclass(frozen=True, slots=True)
class Forward:
    """Connections to `port` here go on to `host`:`target`."""

    port: int
    host: str
    target: int

    @classmethod
    def parse(cls, text: str) -> Forward:
        """Read ``PORT=HOST:PORT``. Raises ValueError."""
        port, _, where = text.partition("=")
        host, _, target = where.rpartition(":")
        return cls(int(port), host, int(target))


class Wire:
    """One direction of the link.

    Parameters
    ----------
    rate
        Bytes per second.
    delay_s
        Seconds that a byte is under way.
    """

    def __init__(self, rate: float, delay_s: float) -> None:
        self.rate = rate
        self.delay_s = delay_s
        self.carried = 0
        self._free_at = 0.0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what `reader` gives until it ends, then say so to the other side."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arrival = asyncio.create_task(self._arrive(under_way, writer))
        try:
            while piece := await reader.read(PIECE):
                await under_way.put((await self._send(len(piece)), piece))
        finally:
            await under_way.put((asyncio.get_running_loop().time() + self.delay_s, b""))
            await arrival

    async def _send(self, size: int) -> float:
        """Wait until `size` bytes are on the wire and return when they arrive."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + size / self.rate
        sent_at = self._free_at
        await asyncio.sleep(sent_at - now)
        self.carried += size
        return sent_at + self.delay_s

    async def _arrive(self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            when, piece = await under_way.get()
            await asyncio.sleep(when - asyncio.get_running_loop().time())
            if not piece:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()


class Link:
    """Both directions: `up` towards the targets, `down` back from them."""

    def __init__(self, rate: float, delay_s: float) -> None:
        self.up = Wire(rate, delay_s)
        self.down = Wire(rate, delay_s)

    @contextlib.asynccontextmanager
    async def listening(self, forward: Forward, host: str | None = None) -> AsyncIterator[asyncio.Server]:
        """Serve connections for `forward`."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                await self._join(forward, reader, writer)
            writer.close()

        async with await asyncio.start_server(connected, host, forward.port) as server:
            yield server

    async def _join(self, forward: Forward, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.up.delay_s + self.down.delay_s)  # the handshake of a connection over the link
        far_reader, far_writer = await asyncio.open_connection(forward.host, forward.target)
        try:
            await asyncio.gather(self.up.carry(reader, far_writer), self.down.carry(far_reader, writer))
        finally:
            far_writer.close()

    async def report(self) -> None:
        """Say every few seconds what passed."""
        said = (0, 0)
        while True:
            await asyncio.sleep(REPORT_S)
            if said != (self.up.carried, self.down.carried):
                said = (self.up.carried, self.down.carried)
                print(f"over the link so far: {said[1] / 1e6:.2f} MB to the far site, {said[0] / 1e6:.2f} MB back")


async def main() -> None:
    """Forward until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=20.0, help="Mbit/s in each direction (default: 20)")
    parser.add_argument("--delay", type=float, default=20.0, help="milliseconds in each direction (default: 20)")
    parser.add_argument("forward", nargs="+", type=Forward.parse, help="PORT=HOST:PORT")
    given = parser.parse_args()
    link = Link(given.rate * 1e6 / 8, given.delay / 1000)
    async with contextlib.AsyncExitStack() as stack:
        for forward in given.forward:
            await stack.enter_async_context(link.listening(forward))
        print(f"a link of {given.rate:g} Mbit/s and {2 * given.delay:g} ms there and back")
        await link.report()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
