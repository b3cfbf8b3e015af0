"""Slices as people write them, and selections as services compute with them.

A *slice* is numpy's basic indexing in text, ``"1, 2:10:2, ..."``, or as a Python key. A `Selection` is a slice
applied to a shape: pure numbers, from which follow the shape of the result and the chunks that cover it.
Shapes and indices are in C (row-major) order; bounds are half-open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from operator import index as as_int
from types import EllipsisType
from typing import Any

from .errors import InvalidSlice

Index = int | slice | EllipsisType | None
Key = tuple[Index, ...]

MAX_SLICE_TEXT = 1000

_INT = re.compile(r"[+-]?[0-9]{1,19}\Z")


def parse_slice(text: str | None) -> Key:
    """Parse the text of a slice, with or without its square brackets.

    Parameters
    ----------
    text
        Items joined by commas: integers, ``start:stop:step``, ``...``, ``None`` or ``newaxis``.
        None and empty text select everything.

    Returns
    -------
    Key
        One index an item; ``()`` for everything.

    Raises
    ------
    InvalidSlice
        If the text is not a slice.
    """
    if text is None:
        return ()
    if len(text) > MAX_SLICE_TEXT:
        raise InvalidSlice(f"a slice holds at most {MAX_SLICE_TEXT} characters")
    body = text.strip()
    if body.startswith("[") and body.endswith("]"):
        body = body[1:-1].strip()
    if not body:
        return ()
    return tuple(_parse_item(item.strip(), text) for item in body.split(","))


def _parse_item(item: str, text: str) -> Index:
    if item == "...":
        return Ellipsis
    if item in ("None", "newaxis"):
        return None
    parts = [part.strip() for part in item.split(":")]
    if len(parts) > 3 or not all(_INT.match(part) or (part == "" and len(parts) > 1) for part in parts):
        raise InvalidSlice(f"'{text[:80]}' is not a slice: '{item[:40]}' is neither an integer nor start:stop:step")
    numbers = [int(part) if part else None for part in parts]
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) == 3 and numbers[2] == 0:
        raise InvalidSlice("the step of a slice cannot be zero")
    return slice(*numbers)


def is_slice(text: str) -> bool:
    """Tell whether the text is a slice (and so, for instance, not a filter)."""
    try:
        parse_slice(text)
    except InvalidSlice:
        return False
    return True


def as_key(key: Any) -> Key:
    """Return a Python index as a `Key`: integers of any type, slices, Ellipsis, None, or a tuple of them.

    Raises
    ------
    InvalidSlice
        For anything else, index arrays and booleans included.
    """
    items = key if isinstance(key, tuple) else (key,)
    return tuple(_as_index(item) for item in items)


def _as_index(item: Any) -> Index:
    if item is None or item is Ellipsis:
        return item
    if isinstance(item, slice):
        step = _bound(item.step)
        if step == 0:
            raise InvalidSlice("the step of a slice cannot be zero")
        return slice(_bound(item.start), _bound(item.stop), step)
    if isinstance(item, bool):
        raise InvalidSlice("booleans are not indices here")
    return _integer(item)


def _bound(value: Any) -> int | None:
    return None if value is None else _integer(value)


def _integer(value: Any) -> int:
    try:
        return as_int(value)
    except TypeError:
        raise InvalidSlice(f"a {type(value).__name__} cannot index a dataset here") from None


def format_key(key: Any) -> str:
    """Return the text of a Python index, such that ``parse_slice(format_key(key)) == as_key(key)``."""
    return ", ".join(_format_index(item) for item in as_key(key))


def _format_index(item: Index) -> str:
    if item is Ellipsis:
        return "..."
    if isinstance(item, slice):
        start, stop, step = ("" if bound is None else str(bound) for bound in (item.start, item.stop, item.step))
        return f"{start}:{stop}" if step == "" else f"{start}:{stop}:{step}"
    return str(item)


@dataclass(frozen=True, slots=True)
class Axis:
    """The part of one source axis that is selected, always walked upwards.

    `flipped` says that the reader asked for it downwards; `dropped` that an integer selected it.
    """

    start: int
    step: int
    count: int
    flipped: bool = False
    dropped: bool = False

    @property
    def stop(self) -> int:
        """End of the smallest half-open range that holds the selected indices."""
        return self.start + (self.count - 1) * self.step + 1 if self.count else self.start


@dataclass(frozen=True, slots=True)
class ChunkPart:
    """What one chunk contributes to a selection.

    `source` indexes the chunk's own (full-size) array; `target` indexes an array of shape `Selection.box`.
    """

    nchunk: int
    source: tuple[slice, ...]
    target: tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """A slice applied to a shape.

    Read the selected box with `parts` into an array of shape `box`, then index it with `finish` to obtain what
    numpy would give.
    """

    source_shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    newaxes: tuple[int, ...]
    """Positions, in the result, of the axes of length 1 that None added."""

    @property
    def box(self) -> tuple[int, ...]:
        """Shape of the selected elements before axes are dropped and added."""
        return tuple(axis.count for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        kept = [axis.count for axis in self.axes if not axis.dropped]
        for position in self.newaxes:
            kept.insert(position, 1)
        return tuple(kept)

    @property
    def size(self) -> int:
        """Number of selected elements."""
        return prod(self.box)

    @property
    def finish(self) -> tuple[Any, ...]:
        """Index that turns the box into the result: drops, flips and adds axes."""
        index: list[Any] = [
            0 if axis.dropped else slice(None, None, -1 if axis.flipped else None) for axis in self.axes
        ]
        kept = [i for i, axis in enumerate(self.axes) if not axis.dropped]
        # Walk the result's axes; a new axis goes before the kept axis that follows it.
        where = len(index)
        for position in sorted(self.newaxes, reverse=True):
            before = position - sum(1 for other in self.newaxes if other < position)
            where = kept[before] if before < len(kept) else len(self.axes)
            index.insert(where, None)
        return tuple(index)

    @property
    def is_whole(self) -> bool:
        """Whether the result is the whole dataset, unchanged."""
        return not self.newaxes and all(
            axis == Axis(0, 1, n) for axis, n in zip(self.axes, self.source_shape, strict=True)
        )

    def parts(self, chunks: tuple[int, ...]) -> Iterator[ChunkPart]:
        """Yield the chunks that hold selected elements, in reading (row-major) order.

        Parameters
        ----------
        chunks
            Shape of a chunk; every length at least 1 unless the dataset is empty.
        """
        if not self.size:
            return
        grid = tuple(-(-n // c) for n, c in zip(self.source_shape, chunks, strict=True))
        per_axis = [list(_axis_parts(axis, c)) for axis, c in zip(self.axes, chunks, strict=True)]
        for combination in product(*per_axis):
            nchunk = 0
            for (coordinate, _, _), n in zip(combination, grid, strict=True):
                nchunk = nchunk * n + coordinate
            yield ChunkPart(nchunk, tuple(part[1] for part in combination), tuple(part[2] for part in combination))

    def chunk_numbers(self, chunks: tuple[int, ...]) -> list[int]:
        """Return the numbers of the chunks that `parts` would visit, ascending."""
        return [part.nchunk for part in self.parts(chunks)]


def _axis_parts(axis: Axis, chunk: int) -> Iterator[tuple[int, slice, slice]]:
    done = 0
    while done < axis.count:
        first = axis.start + done * axis.step
        coordinate = first // chunk
        end = min((coordinate + 1) * chunk, axis.stop)
        count = (end - first - 1) // axis.step + 1
        offset = coordinate * chunk
        last = first + (count - 1) * axis.step
        yield coordinate, slice(first - offset, last - offset + 1, axis.step), slice(done, done + count)
        done += count


def select(key: Any, shape: tuple[int, ...]) -> Selection:
    """Apply a slice to a shape, as numpy's basic indexing does.

    Parameters
    ----------
    key
        A key, or its text.
    shape
        Lengths of the source's axes.

    Raises
    ------
    InvalidSlice
        For an integer out of bounds, too many indices, or more than one Ellipsis.
    """
    items = list(parse_slice(key) if isinstance(key, str) else as_key(key))
    given = sum(1 for item in items if item is not None and item is not Ellipsis)
    if items.count(Ellipsis) > 1:
        raise InvalidSlice("a slice can hold a single ellipsis ('...')")
    if given > len(shape):
        raise InvalidSlice(f"too many indices: the dataset has {len(shape)} dimensions, but {given} were indexed")
    if Ellipsis not in items:
        items.append(Ellipsis)
    where = items.index(Ellipsis)
    items[where : where + 1] = [slice(None)] * (len(shape) - given)
    axes: list[Axis] = []
    newaxes: list[int] = []
    position = 0
    for item in items:
        if item is None:
            newaxes.append(position)
            position += 1
            continue
        axis = _axis(item, shape[len(axes)], len(axes))
        axes.append(axis)
        position += not axis.dropped
    return Selection(tuple(shape), tuple(axes), tuple(newaxes))


def _axis(item: Index, length: int, number: int) -> Axis:
    if isinstance(item, int):
        if not -length <= item < length:
            raise InvalidSlice(f"index {item} is out of bounds for axis {number} with size {length}")
        return Axis(item % length, 1, 1, dropped=True)
    assert isinstance(item, slice)
    walk = range(length)[item]
    if not walk:
        return Axis(0, 1, 0)
    if walk.step < 0:
        return Axis(walk[-1], -walk.step if len(walk) > 1 else 1, len(walk), flipped=len(walk) > 1)
    return Axis(walk[0], walk.step if len(walk) > 1 else 1, len(walk))
