"""Work that goes on beside everything else until a service ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

from .log import get_logger

log = get_logger(__name__)

_CANCEL_AGAIN_S = 0.5


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[None]:
    """Do `work` beside the block, and end it with the block.

    Parameters
    ----------
    name
        Name of the task, for logs.
    """
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        await end([task])


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended.

    Once is not enough: `asyncio.wait_for` of Python 3.11, by which messages are awaited, loses a cancellation that
    comes together with a message.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
        for task in done:
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("a background task failed", task=task.get_name(), exc_info=error)
