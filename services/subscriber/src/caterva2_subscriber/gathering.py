"""Selections by lists of indices, one for each axis: every combination of them is read, as with ``numpy.ix_``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
import orjson

from caterva2.errors import InvalidSlice, TooLarge
from caterva2.slices import Axis, Selection, parse_slice, select
from caterva2_formats.base import Layout

from .library import Resource
from .reading import MAX_READ_BYTES, Array, cell_dtype

MAX_INDICES = 1_000_000
MAX_PARTS = 20_000
"""Parts of chunks that one request may touch."""


@dataclass(frozen=True, slots=True)
class Picks:
    """What is wanted of one axis: a slice, or indices in the order in which they are wanted."""

    axis: Axis | None
    indices: np.ndarray[Any, np.dtype[np.int64]]

    @property
    def count(self) -> int:
        """Number of indices."""
        return self.axis.count if self.axis is not None else len(self.indices)

    @property
    def dropped(self) -> bool:
        """Whether a single index takes the axis away."""
        return self.axis is not None and self.axis.dropped

    def groups(self, chunk: int) -> Iterator[tuple[Axis, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """Yield, for each row of chunks: what to read, where in it the wanted ones are, and where they go."""
        if self.axis is not None:
            every = np.arange(self.axis.count)
            yield self.axis, every[::-1] if self.axis.flipped else every, every
            return
        rows = self.indices // chunk
        for row in np.unique(rows):
            positions = np.flatnonzero(rows == row)
            inside = self.indices[positions]
            first = int(inside.min())
            yield Axis(first, 1, int(inside.max()) - first + 1), inside - first, positions


def parse_indices(text: str, shape: tuple[int, ...]) -> list[Picks]:
    """Read the ``indices`` of a request. Takes a while for many of them.

    Parameters
    ----------
    text
        JSON list with, for each of the first axes, a list of integers, an integer, the text of a slice, or null.
    shape
        Lengths of the axes.

    Raises
    ------
    InvalidSlice
        If it is something else, or does not fit the shape.
    """
    try:
        items = orjson.loads(text)
    except ValueError:
        raise InvalidSlice("indices must be a JSON list with one selection for each axis") from None
    if not isinstance(items, list) or len(items) > len(shape):
        raise InvalidSlice(f"indices must be a JSON list of at most {len(shape)} selections, one for each axis")
    items += [None] * (len(shape) - len(items))
    picks = [_picks(item, number, length) for number, (item, length) in enumerate(zip(items, shape, strict=True))]
    if sum(len(pick.indices) for pick in picks) > MAX_INDICES:
        raise TooLarge(f"at most {MAX_INDICES} indices can be asked for at once")
    return picks


def _picks(item: object, number: int, length: int) -> Picks:
    none = np.empty(0, np.int64)
    if item is None:
        return Picks(Axis(0, 1, length), none)
    if type(item) is int:
        item = str(item)
    if isinstance(item, str):
        key = parse_slice(item)
        if len(key) > 1 or None in key or Ellipsis in key:
            raise InvalidSlice(f"'{item[:40]}' does not select from a single axis")
        (axis,) = select(key, (length,)).axes
        return Picks(axis, none)
    if not isinstance(item, list) or not all(type(index) is int and -length <= index < length for index in item):
        raise InvalidSlice(f"the indices of axis {number} must be integers from {-length} to {length - 1}")
    return Picks(None, np.asarray(item, np.int64).reshape(-1) % max(length, 1))


async def pick(resource: Resource, layout: Layout, picks: list[Picks]) -> Array:
    """Return every combination of the picks of an array, with the axes of single indices taken away."""
    box = tuple(each.count for each in picks)
    if prod(box) * cell_dtype(layout).itemsize > MAX_READ_BYTES:
        raise TooLarge(f"the selection has more than {MAX_READ_BYTES} bytes")
    groups = [list(each.groups(chunk)) for each, chunk in zip(picks, layout.chunks, strict=True)]
    if prod(map(len, groups)) > MAX_PARTS:
        raise TooLarge(f"the indices touch more than {MAX_PARTS} parts of chunks: ask for fewer at a time")
    if not prod(box):
        empty = await resource.read(select((slice(0, 0),) * len(picks), layout.shape))
        found = np.empty(box + empty.shape[len(box) :], empty.dtype)
    else:
        found = await _read(resource, layout, box, groups)
    return found[(*(0 if each.dropped else slice(None) for each in picks), ...)]


async def _read(resource: Resource, layout: Layout, box: tuple[int, ...], groups: list[list[Any]]) -> Array:
    combinations = list(product(*groups))
    selections = [_whole_axes(layout, [axis for axis, _, _ in each]) for each in combinations]
    numbers = sorted({n for selection in selections for n in selection.chunk_numbers(layout.chunks)})
    # In one go over the link; the reads that follow find them in the cache.
    async for _ in resource.chunks(resource.missing(numbers)):
        pass
    found: Array | None = None
    for each, selection in zip(combinations, selections, strict=True):
        part = await resource.read(selection)
        if found is None:
            found = np.empty(box + part.shape[len(box) :], part.dtype)
        found[np.ix_(*(target for _, _, target in each))] = part[np.ix_(*(inside for _, inside, _ in each))]
    assert found is not None
    return found


def _whole_axes(layout: Layout, axes: list[Axis]) -> Selection:
    kept = tuple(Axis(axis.start, axis.step, axis.count) for axis in axes)
    return Selection(layout.shape, kept, ())
