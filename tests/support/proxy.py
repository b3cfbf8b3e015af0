"""A TCP relay between two services that misbehaves when told to."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

Change = Callable[[bytes], bytes]


class Proxy:
    """Relays connections to `target` on a port of its own, in a thread; use as a context manager.

    What passes back from the target can be cut, delayed, slowed down, stalled or changed while it runs.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.refuse = False
        """Whether new connections are closed at once, as by a host that is gone."""
        self.stall = False
        """Whether nothing passes, while connections stay open."""
        self.delay_s = 0.0
        """Seconds that each piece takes to come back."""
        self.bytes_per_s = 0.0
        """Rate of what comes back; 0 for no limit."""
        self.cut_after = 0
        """Bytes after which a connection is cut on its way back; 0 for never. Counts anew for each connection."""
        self.change: Change | None = None
        """Applied to each piece that comes back."""
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    def drop(self) -> None:
        """Cut every connection that is open."""
        self._loop.call_soon_threadsafe(self._drop)

    def heal(self) -> None:
        """Misbehave no more."""
        self.refuse = self.stall = False
        self.delay_s = self.bytes_per_s = 0.0
        self.cut_after = 0
        self.change = None

    def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        self._drop()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refuse:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._relay(reader, far_writer))
                tasks.create_task(self._relay_back(far_reader, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers -= {writer, far_writer}
            writer.transport.abort()
            far_writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            await self._wait_while_stalled()
            writer.write(piece)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()

    async def _relay_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while piece := await reader.read(1024 if self.bytes_per_s else 65536):
            await self._wait_while_stalled()
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if self.bytes_per_s:
                await asyncio.sleep(len(piece) / self.bytes_per_s)
            if self.change is not None:
                piece = self.change(piece)
            if self.cut_after and passed + len(piece) > self.cut_after:
                writer.write(piece[: self.cut_after - passed])
                await writer.drain()
                raise ConnectionAbortedError
            passed += len(piece)
            writer.write(piece)
            await writer.drain()
        raise ConnectionAbortedError

    async def _wait_while_stalled(self) -> None:
        while self.stall:
            await asyncio.sleep(0.02)
