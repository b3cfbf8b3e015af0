"""Memory for large answers: one bound for all readers together, however many ask at once.

Who makes a large answer takes a share of the memory first, and waits in turn for it. A request holds one share at a
time, so that nobody waits for somebody who waits. Answers that wait for slow readers do not keep others waiting: they
are moved into files. Reads that wait for a link have a lane of their own for each publisher, for the same reason.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Self

from caterva2_service import heap
from caterva2_service.log import get_logger
from caterva2_service.threads import Threads

log = get_logger(__name__)

SMALL_BYTES = 2**20
"""What takes no more than this does not wait."""
HERE = ""
"""The lane of what is read from this machine."""
_PIECE_BYTES = 2**20
_LINK_PART = 2
"""The lane of a publisher holds this part of what the lane of this machine holds."""
_IDLE_S = 1.0
"""Seconds without shares after which free memory is given back to the system."""


class Share:
    """A part of the memory, until it is closed or forgotten."""

    def __init__(self, lane: _Lane, nbytes: int) -> None:
        self._lane = lane
        self._nbytes = nbytes

    def shrink(self, nbytes: int) -> None:
        """Give back what exceeds `nbytes`."""
        if nbytes < self._nbytes:
            given, self._nbytes = self._nbytes - nbytes, nbytes
            self._lane.give_back(given)

    def close(self) -> None:
        """Give all of it back."""
        self.shrink(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        # An answer that is never sent, as its reader is gone, has nobody who closes it.
        self.close()


@dataclass(eq=False, slots=True)
class _Lane:
    """Shares of one bound, granted in the order in which they were asked for."""

    memory: Memory
    size: int
    used: int = 0
    waiting: deque[tuple[int, asyncio.Future[None]]] = field(default_factory=deque)

    async def take(self, nbytes: int) -> Share:
        nbytes = min(nbytes, self.size)  # what is larger than everything gets everything
        if self.waiting or self.used + nbytes > self.size:
            await self._turn(nbytes)
        else:
            self.used += nbytes
        return Share(self, nbytes)

    async def _turn(self, nbytes: int) -> None:
        granted = asyncio.get_running_loop().create_future()
        place = (nbytes, granted)
        self.waiting.append(place)
        self.memory.somebody_waits()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.give_back(nbytes)
            else:
                self.waiting.remove(place)
                self._grant()
            raise

    def give_back(self, nbytes: int) -> None:
        self.used -= nbytes
        self._grant()
        if not self.used:
            self.memory.idle()

    def _grant(self) -> None:
        while self.waiting and self.used + self.waiting[0][0] <= self.size:
            nbytes, granted = self.waiting.popleft()
            self.used += nbytes
            granted.set_result(None)


class Memory:
    """What large answers may take together.

    Parameters
    ----------
    size
        Bytes for answers of what is here.
    directory
        Where answers go that wait for slow readers; their files have no names, and end with the process.
    patience_s
        Seconds that an answer may wait for its reader before it is moved out of the way of others.
    """

    def __init__(self, size: int, directory: Path, threads: Threads, *, patience_s: float = 1.0) -> None:
        self._size = size
        self._patience_s = patience_s
        self._directory = directory
        self._threads = threads
        self._lanes: dict[str, _Lane] = {}
        self._sending: dict[_Sending, None] = {}
        self._relief: asyncio.TimerHandle | None = None
        self._trim: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def used_bytes(self) -> int:
        """Bytes of all shares."""
        return sum(lane.used for lane in self._lanes.values())

    @property
    def waiting(self) -> int:
        """Number of answers that wait for a share."""
        return sum(len(lane.waiting) for lane in self._lanes.values())

    async def share(self, nbytes: int, lane: str = HERE) -> Share:
        """Wait for a share of the memory.

        Parameters
        ----------
        nbytes
            Bytes that are needed at most. What is larger than the whole lane has it for itself.
        lane
            The root whose publisher has to be waited for; `HERE` for none.
        """
        found = self._lanes.get(lane)
        if found is None:
            found = self._lanes[lane] = _Lane(self, self._size if lane == HERE else self._size // _LINK_PART)
        return await found.take(nbytes) if nbytes > SMALL_BYTES else Share(found, 0)

    async def send(self, share: Share, pieces: Iterator[bytes | memoryview]) -> AsyncGenerator[bytes, None]:
        """Yield the pieces of an answer as its reader takes them, and close its share.

        Parameters
        ----------
        pieces
            They, and what they are made of, are forgotten as soon as nobody needs them in memory.
        """
        sending = _Sending(share, pieces, self._directory, self._threads)
        self._sending[sending] = None
        try:
            while piece := await sending.next():
                yield piece
        finally:
            del self._sending[sending]
            sending.close()

    def somebody_waits(self) -> None:
        """See to it that what waits for slow readers makes room."""
        if self._relief is None:
            self._relief = asyncio.get_running_loop().call_later(self._patience_s / 2, self._relieve)

    def _relieve(self) -> None:
        self._relief = None
        if not self.waiting:
            return
        before = asyncio.get_running_loop().time() - self._patience_s
        for sending in self._sending:
            if sending.since < before:
                sending.move_out()
        self.somebody_waits()

    def idle(self) -> None:
        """Give free memory back to the system soon, unless somebody wants some again."""
        with suppress(RuntimeError):  # no loop: the process ends
            loop = asyncio.get_running_loop()
            if self._trim is None:
                self._trim = loop.call_later(_IDLE_S, self._tidy)

    def _tidy(self) -> None:
        self._trim = None
        if not self.used_bytes:
            task = asyncio.create_task(self._threads.run(heap.give_back))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Plan nothing any more."""
        for timer in (self._relief, self._trim):
            if timer is not None:
                timer.cancel()


class _Sending:
    """An answer on its way to its reader: in memory, or in a file."""

    def __init__(self, share: Share, pieces: Iterator[bytes | memoryview], directory: Path, threads: Threads) -> None:
        self._share = share
        self._pieces: Iterator[bytes | memoryview] | None = _small(pieces)
        self._directory = directory
        self._threads = threads
        self._file: IO[bytes] | None = None
        self._moving: asyncio.Task[None] | None = None
        self._closed = False
        self.since = asyncio.get_running_loop().time()
        """When its reader last took something."""

    async def next(self) -> bytes:
        """Return the next piece; nothing at the end."""
        if self._moving is not None:
            await asyncio.shield(self._moving)
        self.since = asyncio.get_running_loop().time()
        if self._file is not None:
            return await self._threads.run(self._file.read, _PIECE_BYTES)
        assert self._pieces is not None
        return bytes(next(self._pieces, b""))

    def move_out(self) -> None:
        """Begin to move the rest into a file, once."""
        if self._moving is None:
            self._moving = asyncio.create_task(self._move(), name="make room")

    async def _move(self) -> None:
        try:
            self._file = await self._threads.run(self._write)
        except OSError as error:  # the disk is full: the answer stays where it is, others wait on
            log.warning("no room for an answer that waits for its reader", reason=str(error))
            return
        self._pieces = None
        self._share.close()
        if self._closed:
            self._file.close()

    def _write(self) -> IO[bytes]:
        assert self._pieces is not None
        written: list[bytes | memoryview] = []
        file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115 - closed by `close`
        try:
            for piece in self._pieces:
                written.append(piece)
                _write_all(file, piece)
            file.seek(0)
        except BaseException:
            self._pieces = chain(written, self._pieces)
            file.close()
            raise
        return file

    def close(self) -> None:
        """Forget the rest."""
        self._closed = True
        self._share.close()
        if self._file is not None:
            self._file.close()


def _small(pieces: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    # What a connection has been given stays in memory until its reader takes it.
    for piece in pieces:
        if len(piece) <= _PIECE_BYTES:
            yield from (piece,) if piece else ()
            continue
        view = memoryview(piece)
        yield from (view[start : start + _PIECE_BYTES] for start in range(0, len(view), _PIECE_BYTES))


def _write_all(file: IO[bytes], piece: bytes | memoryview) -> None:
    left = memoryview(piece)
    while left:
        left = left[file.write(left) :]
