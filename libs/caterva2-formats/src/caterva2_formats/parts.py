"""Some blocks of a chunk: how they travel, how they are checked, and how elements are read from them.

The bytes of a part on the wire, little-endian: number of the chunk (u64), number of the blocks that follow (u32), their
numbers (u32 each), the chunk's header (32 bytes) and table of blocks as they are stored, the bytes of the blocks. A
publisher cuts a part out of a chunk that it would otherwise send whole; the reader checks it as it checks chunks (U4)
and keeps each block as a small chunk of its own, which needs neither the others nor their table.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from caterva2.errors import UnsafeContent
from caterva2.slices import ChunkPart

from .base import Layout
from .chunks import (
    HEADER_SIZE,
    Array,
    BlockTable,
    Bytes,
    Grid,
    can_be_taken_apart,
    check_head,
    copy_blocks,
    decode_block,
    read_header,
    single_block,
)

LARGEST_SHARE = 4
"""A part takes at most one fourth of its chunk's bytes; for more, the chunk itself is the better answer."""

Numbers = tuple[int, ...]
Singles = Mapping[int, bytes]
"""Blocks by their numbers, each as a chunk of its own (`caterva2_formats.chunks.single_block`)."""
ChunkData = bytes | Singles
"""A chunk, or those of its blocks that somebody asked for."""

_PREFIX = struct.Struct("<QI")


def block_numbers(layout: Layout, part: ChunkPart) -> Numbers:
    """Return which blocks of a chunk of an array hold what `part` selects, if a part is worth it; else nothing."""
    grid = Grid.of(layout)
    most = prod(grid.counts) // LARGEST_SHARE
    along = grid.pieces(part.source)
    if prod(map(len, along)) > most:
        return ()
    return tuple(grid.number(pieces) for pieces in product(*along))


def cut_part(chunk: bytes, nchunk: int, numbers: Sequence[int]) -> bytes | None:
    """Return the bytes of a part of a checked chunk.

    Parameters
    ----------
    nchunk
        The chunk's number.
    numbers
        Numbers of the blocks, ascending.

    Returns
    -------
    bytes or None
        None if the chunk cannot be taken apart, or if the part would be more than a fourth of it.

    Raises
    ------
    UnsafeContent
        If the chunk's table is damaged.
    """
    header = read_header(chunk)
    if header.special or not can_be_taken_apart(header) or not 0 < len(numbers) <= header.nblocks:
        return None
    if numbers[0] < 0 or numbers[-1] >= header.nblocks:
        return None
    table = BlockTable.read(chunk, header)
    bounds = [table.bounds(number) for number in numbers]
    size = _PREFIX.size + 4 * len(numbers) + table.size(header) + sum(stop - start for start, stop in bounds)
    if size * LARGEST_SHARE > len(chunk):
        return None
    prefix = _PREFIX.pack(nchunk, len(numbers)), np.array(numbers, "<u4").tobytes()
    view = memoryview(chunk)
    return b"".join((*prefix, view[: table.size(header)], *(view[start:stop] for start, stop in bounds)))


def part_nchunk(data: Bytes) -> int:
    """Return the number of the chunk that a part claims to be of. Raises UnsafeContent if it is too short to say."""
    if len(data) < _PREFIX.size:
        raise UnsafeContent("a part of a chunk is shorter than its beginning")
    return int(_PREFIX.unpack_from(data)[0])


def check_part(data: Bytes, layout: Layout, nchunk: int, numbers: Numbers) -> Singles:
    """Check the bytes of a part (U4), and return its blocks.

    Parameters
    ----------
    data
        What `cut_part` made, or claims to have made.
    nchunk, numbers
        The chunk and the blocks that were asked for.

    Raises
    ------
    UnsafeContent
        If it is not a part of what chunk `nchunk` of the dataset can be, or has other blocks than these.
    """
    begin = _PREFIX.size + 4 * len(numbers)
    expected = _PREFIX.pack(nchunk, len(numbers)) + np.array(numbers, "<u4").tobytes()
    if bytes(data[:begin]) != expected:
        raise UnsafeContent("a part of a chunk has other blocks than were asked for")
    view = memoryview(data)[begin:]
    header = check_head(view, layout, nchunk)
    if header.special or not can_be_taken_apart(header) or numbers[-1] >= header.nblocks:
        raise UnsafeContent("a part is of a chunk that has no such blocks")
    if len(view) < BlockTable.size(header):
        raise UnsafeContent("a part of a chunk is shorter than the table of its blocks")
    table = BlockTable.read(view, header)
    head, position = view[:HEADER_SIZE], table.size(header)
    singles: dict[int, bytes] = {}
    for number in numbers:
        start, stop = table.bounds(number)
        end = position + stop - start
        if end > len(view):
            raise UnsafeContent("a part of a chunk is shorter than its blocks")
        singles[number] = single_block(head, header, view[position:end])
        position = end
    if position != len(view):
        raise UnsafeContent("a part of a chunk is longer than its blocks")
    return singles


def read_blocks(singles: Singles, layout: Layout, part: ChunkPart, box: Array) -> None:
    """Copy what blocks of one chunk contribute to a selection; as `caterva2_formats.chunks.read_part` does.

    Parameters
    ----------
    singles
        Those of `block_numbers`, at least.

    Raises
    ------
    UnsafeContent
        If a block is damaged.
    """
    grid = Grid.of(layout)
    size = prod(grid.blocks) * grid.cell.itemsize

    def decode(number: int) -> Array:
        return decode_block(singles[number], size)

    # The ellipsis makes this a view even where there are no axes.
    target: tuple[Any, ...] = (*part.target, ...)
    copy_blocks(decode, grid, part.source, box[target])
