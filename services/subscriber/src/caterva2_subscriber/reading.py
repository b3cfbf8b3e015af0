"""From chunks to the elements of a selection: decompression and copying in threads, as chunks arrive.

The library's own slicing holds the interpreter lock for the whole call; decompressing chunk by chunk does not, so
that small requests go on beside large ones and every core is used.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np

from caterva2.errors import TooLarge
from caterva2.slices import Axis, ChunkPart, Selection
from caterva2.wire import Kind
from caterva2_formats.base import Layout
from caterva2_formats.chunks import decompress, read_part
from caterva2_formats.dtypes import from_storage, parse_dtype, storage_dtype
from caterva2_formats.parts import ChunkData, read_blocks
from caterva2_service.threads import Threads

Array = np.ndarray[Any, Any]

MAX_READ_BYTES = 2**30
"""Largest selection that is read into one array; larger answers are read piece by piece."""

Arrivals = AsyncGenerator[tuple[int, ChunkData | None], None]
Obtain = Callable[[int], bytes | None]
"""Returns a chunk that is at hand, in a thread; None if it is not there any more."""
Again = Callable[[int], Awaitable[bytes]]
"""Brings a chunk from wherever it is."""


def cell_dtype(layout: Layout) -> np.dtype[Any]:
    """Return the type of one element as it is copied: opaque for sub-array types, bytes for frames and files."""
    return storage_dtype(parse_dtype(layout.dtype)) if layout.kind is Kind.ARRAY else np.dtype(np.uint8)


def shown(array: Array, layout: Layout) -> Array:
    """Return an array of `cell_dtype` elements as numpy shows the dataset's type."""
    return from_storage(array, parse_dtype(layout.dtype)) if layout.kind is Kind.ARRAY else array


def check_size(layout: Layout, selection: Selection) -> None:
    """Raise TooLarge if the selection does not fit into one array."""
    nbytes = selection.size * cell_dtype(layout).itemsize
    if nbytes > MAX_READ_BYTES:
        raise TooLarge(f"the slice has {nbytes} bytes; at most {MAX_READ_BYTES} can be worked with at once")


def copy_part(layout: Layout, chunk: ChunkData | memoryview, part: ChunkPart, box: Array) -> None:
    """Copy what one chunk, or those of its blocks that are needed, contribute to a selection into the array of its box.

    Raises
    ------
    UnsafeContent
        If the bytes are damaged.
    """
    if isinstance(chunk, Mapping):
        read_blocks(chunk, layout, part, box)
    elif layout.kind is Kind.ARRAY:
        read_part(chunk, layout, part, box)
    else:
        box[part.target] = np.frombuffer(decompress(chunk), dtype=np.uint8)[part.source]


async def gather(
    layout: Layout, selection: Selection, arrivals: Arrivals, obtain: Obtain, threads: Threads, again: Again
) -> Array:
    """Assemble a selection from chunks as they arrive.

    Parameters
    ----------
    arrivals
        The chunks of `selection.parts(layout.chunks)`, or what is needed of them, in that order; None for one that
        `obtain` returns.
    again
        Returns a chunk that `obtain` did not return.

    Returns
    -------
    numpy.ndarray
        The result of the slice, with elements of `cell_dtype`.
    """
    check_size(layout, selection)
    box: Array = np.empty(selection.box, cell_dtype(layout))
    parts = selection.parts(layout.chunks)
    running: deque[asyncio.Task[None]] = deque()

    async def place(part: ChunkPart, chunk: ChunkData | None) -> None:
        if not await threads.run(_place, layout, part, chunk, obtain, box):
            chunk = await again(part.nchunk)
            await threads.run(copy_part, layout, chunk, part, box)

    try:
        async with aclosing(arrivals):
            async for _, chunk in arrivals:
                running.append(asyncio.create_task(place(next(parts), chunk)))
                if len(running) > 2 * threads.size:
                    await running.popleft()
        while running:
            await running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    # The ellipsis keeps a single element an array.
    return box[(*selection.finish, ...)]


def _place(layout: Layout, part: ChunkPart, chunk: ChunkData | None, obtain: Obtain, box: Array) -> bool:
    if chunk is None:
        chunk = obtain(part.nchunk)
    if chunk is None:
        return False
    copy_part(layout, chunk, part, box)
    return True


def part_of(selection: Selection, start: tuple[int, ...], stop: tuple[int, ...]) -> Selection:
    """Return the selection of a part of the result of another one.

    Parameters
    ----------
    selection
        The selection of the whole result.
    start, stop
        Half-open bounds of the part on each axis of the result; axes that None added stay whole.
    """
    result_axis = 0
    axes: list[Axis] = []
    for axis in selection.axes:
        if axis.dropped:
            axes.append(axis)
            continue
        while result_axis in selection.newaxes:
            result_axis += 1
        first, last = start[result_axis], stop[result_axis]
        result_axis += 1
        if axis.flipped:
            first, last = axis.count - last, axis.count - first
        axes.append(replace(axis, start=axis.start + first * axis.step, count=last - first))
    return Selection(selection.source_shape, tuple(axes), selection.newaxes)
