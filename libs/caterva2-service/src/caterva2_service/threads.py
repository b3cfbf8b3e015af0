"""Threads for work that blocks: files, codecs, HDF5."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """A pool of its own for one kind of blocking work, so that one kind never starves another.

    Parameters
    ----------
    size
        Number of threads.
    """

    def __init__(self, size: int, *, name: str = "worker") -> None:
        self.size = size
        self._executor = ThreadPoolExecutor(size, thread_name_prefix=name)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work` in a thread, with the log context of the caller, and return what it returns."""
        context = contextvars.copy_context()
        call = partial(context.run, partial(work, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        """Start no more work; what runs is left to end by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)
