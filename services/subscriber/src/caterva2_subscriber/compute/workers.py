"""Confined processes that evaluate what people write, kept warm and lent to one evaluation at a time (U2, U9).

Expressions, conditions on the rows of tables, reductions and sorting are worked out there, never in the service. What
takes too long or too much memory costs its process, not the service; so does what nobody waits for any more, because
the reader went away.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from caterva2.errors import TooLarge, UnsafeContent
from caterva2_formats.sandbox import Confined, Limits, Sandbox
from caterva2_service.log import get_logger
from caterva2_service.threads import Threads

from .shared import Array, SharedMemory, places

LIMITS = Limits(deadline_s=20.0, memory_bytes=2**30)
"""What one block may take."""
RECYCLE_AFTER = 1000
"""Evaluations after which a process is replaced."""
KEEP_BYTES = 128 * 2**20
"""Shared memory beyond which a process is replaced."""
PROGRAM = "caterva2_subscriber.compute.worker"

_log = get_logger(__name__)


class Workers:
    """The processes of one service, started when they are needed.

    Parameters
    ----------
    sandbox
        Starts the processes; the caller closes it after this.
    size
        Evaluations at a time.
    """

    def __init__(self, sandbox: Sandbox, *, size: int, limits: Limits = LIMITS) -> None:
        self._sandbox = sandbox
        self._limits = limits
        # Threads of their own: they wait for processes, and others must not wait for them.
        self._threads = Threads(size, name="expression")
        self._places = asyncio.Semaphore(size)
        self._idle: list[_Worker] = []
        self._closed = False

    def warm_up(self) -> None:
        """Have what starts the processes ready, a new one if it died: then the next one takes a fork. Blocks.

        Raises
        ------
        Unavailable
            If it cannot be started.
        """
        self._sandbox.warm_up(PROGRAM)

    def close(self) -> None:
        """End the processes."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
        self._threads.close()

    async def evaluate(self, question: dict[str, Any], arrays: Sequence[Array], nbytes: int) -> bytes:
        """Return the bytes of what is asked for; see `worker.Evaluator.answer`.

        Parameters
        ----------
        question
            Without the shapes of `arrays`, which are added here.
        nbytes
            Bytes of the result.

        Raises
        ------
        InvalidExpression
            If the values do not allow it.
        TooLarge
            If it takes too long or too much memory.
        Unavailable
            If no process can be started.
        """
        async with self._places:
            worker = self._idle.pop() if self._idle else _Worker(self._sandbox, self._limits)
            try:
                found = await self._threads.run(worker.ask, question, arrays, nbytes)
            except asyncio.CancelledError:
                await asyncio.shield(asyncio.to_thread(worker.stop))
                raise
            finally:
                if self._closed:
                    worker.close()
                elif worker.usable:
                    self._idle.append(worker)
            return found


class _Worker:
    def __init__(self, sandbox: Sandbox, limits: Limits) -> None:
        self._sandbox = sandbox
        self._limits = limits
        self._confined: Confined | None = None
        self._memory = SharedMemory()
        self._evaluations = 0
        self._asking = threading.Lock()
        self.usable = True

    def ask(self, question: dict[str, Any], arrays: Sequence[Array], nbytes: int) -> bytes:
        """Have something evaluated. Blocks."""
        with self._asking:
            return self._ask(question, arrays, nbytes)

    def _ask(self, question: dict[str, Any], arrays: Sequence[Array], nbytes: int) -> bytes:
        if not self.usable:
            raise TooLarge("nobody waits for this evaluation any more")
        if self._confined is not None and not self._confined.alive():
            self._confined.close()
            self._confined = None
        if self._confined is None:
            self._confined = self._sandbox.start(self._memory.fd, program=PROGRAM, limits=self._limits)
        *at, end = places(array.nbytes for array in arrays)
        size = end + nbytes
        try:
            self._memory.need(size)
            for place, array in zip(at, arrays, strict=True):
                self._memory.put(place, array)
            self._confined.ask({**question, "shapes": [array.shape for array in arrays], "size": size})
        except UnsafeContent as error:
            self.close()
            _log.warning("an evaluation was ended", reason=error.detail)
            raise TooLarge("what is asked for takes too long or too much memory; ask for less at once") from None
        elements = self._memory.get(end, (nbytes,), np.dtype(np.uint8)).tobytes()
        self._evaluations += 1
        if self._evaluations >= RECYCLE_AFTER or self._memory.size > KEEP_BYTES:
            self.close()
        return elements

    def stop(self) -> None:
        """End what is going on: nobody waits for it. Blocks for a moment."""
        self.usable = False
        if self._confined is not None:
            self._confined.interrupt()
        with self._asking:
            self.close()

    def close(self) -> None:
        """End the process."""
        self.usable = False
        if self._confined is not None:
            self._confined.close()
        self._memory.close()
