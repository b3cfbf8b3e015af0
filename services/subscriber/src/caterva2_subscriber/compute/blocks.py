"""In which pieces arrays are computed, and writing what was computed as a file."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from math import prod
from pathlib import Path
from typing import TypeVar

import numpy as np

from caterva2_formats.assemble import partition
from caterva2_formats.base import Layout
from caterva2_formats.chunks import pack_chunk
from caterva2_formats.frames import Coding
from caterva2_service.threads import Threads

from ..spaces.staging import FrameWriter
from .terms import Array, Region, Shape

TARGET_BYTES = 8 * 2**20
"""About how many bytes of a result are computed at once."""
MAX_BYTES = 64 * 2**20
AHEAD = 2
"""Pieces that are computed while another one is used."""

T = TypeVar("T")
S = TypeVar("S")


def block_shape(shape: Shape, chunks: Shape, itemsize: int) -> Shape:
    """Return the shape of the pieces in which an array is computed: some chunks at a time, unless they are huge."""
    block = [max(1, min(chunk, n)) for chunk, n in zip(chunks, shape, strict=True)]
    if prod(block) * itemsize > MAX_BYTES:
        return partition(shape, itemsize, target=TARGET_BYTES)
    for axis in reversed(range(len(shape))):
        while block[axis] < shape[axis] and prod(block) * itemsize * 2 <= TARGET_BYTES:
            block[axis] = min(shape[axis], block[axis] * 2)
    return tuple(block)


def regions(shape: Shape, block: Shape) -> Iterable[Region]:
    """Yield the blocks of an array in C order."""
    if 0 in shape:
        return
    grid = tuple(-(-n // b) for n, b in zip(shape, block, strict=True))
    for index in np.ndindex(*grid):
        yield tuple((i * b, min((i + 1) * b, n)) for i, b, n in zip(index, block, shape, strict=True))


async def ahead(work: Callable[[T], Awaitable[S]], things: Iterable[T]) -> AsyncGenerator[tuple[T, S], None]:
    """Yield each thing with what `work` made of it, in order, while the next few are worked on."""
    running: deque[tuple[T, asyncio.Task[S]]] = deque()
    try:
        for thing in things:
            running.append((thing, asyncio.ensure_future(work(thing))))
            if len(running) > AHEAD:
                first, task = running.popleft()
                yield first, await task
        while running:
            first, task = running.popleft()
            yield first, await task
    finally:
        for _, task in running:
            task.cancel()
        await asyncio.gather(*(task for _, task in running), return_exceptions=True)


async def write_array(
    staged: Path,
    layout: Layout,
    read: Callable[[Region], Awaitable[Array]],
    threads: Threads,
    *,
    stored: Callable[[int], Awaitable[bytes] | None] = lambda nchunk: None,
    coding: Coding | None = None,
    vlmeta: Mapping[str, bytes] | None = None,
) -> None:
    """Write an array as a frame, chunk by chunk.

    Parameters
    ----------
    read
        Returns the elements of a region, in their storage type.
    stored
        Returns what brings a chunk that is compressed already; None for one that must be made.
    """

    async def made(numbered: tuple[int, Region]) -> bytes:
        nchunk, region = numbered
        ready = stored(nchunk)
        if ready is not None:
            return await ready
        return await threads.run(pack_chunk, await read(region), layout)

    with FrameWriter(staged, layout, coding=coding, vlmeta=dict(vlmeta or {})) as writer:
        async with aclosing(ahead(made, enumerate(regions(layout.shape, layout.chunks)))) as chunks:
            async for _, chunk in chunks:
                await threads.run(writer.add, chunk)
        await threads.run(writer.finish)
