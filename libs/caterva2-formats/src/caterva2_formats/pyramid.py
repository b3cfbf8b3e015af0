"""Mean pyramids: large pictures at the resolution of a screen.

Level 0 is the picture itself; a pixel of level n is the mean of a square of ``2**n`` by ``2**n`` pixels, or of what of
it lies inside the picture. Every level is an array of its own (`level_layout`), whose chunks are tiles, so that tiles
are packed, checked, moved and kept as chunks are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from caterva2.errors import BadRequest, TooLarge
from caterva2.slices import Axis, Selection
from caterva2.wire import Kind

from .base import Layout
from .chunks import padded_nbytes
from .dtypes import parse_dtype

Array = np.ndarray[Any, Any]
Sums = tuple[Array, Array]
"""Sum (float64) and number of the valid values of squares of pixels, each of shape ``(rows, columns)``."""

TILE = 512
"""Side of a tile in pixels of its level."""
BASE_LEVEL = 3
"""Tiles below this level are made of the pixels under them; from it on, all levels are made in one walk over the plane.
"""
MAX_PLANE_BYTES = 64 * 2**30
_BAND_ELEMENTS = 4 * 2**20
"""Elements of a plane that are worked on at once, about; in double precision."""
_MAX_ROWS_BYTES = 256 * 2**20
"""Largest memory for rows of all levels that wait until their tiles are complete."""


@dataclass(frozen=True, slots=True)
class Plane:
    """Two axes of an array, and where it is cut on the others."""

    rows: int
    columns: int
    at: tuple[int, ...]
    """Index on each of the other axes, in their order."""

    def check(self, layout: Layout) -> None:
        """Raise BadRequest or TooLarge unless this plane of a dataset has a pyramid."""
        shape = layout.shape
        if layout.kind is not Kind.ARRAY or not 0 <= self.rows < self.columns < len(shape):
            raise BadRequest("a pyramid is made of two axes of an array, in their order")
        others = [length for i, length in enumerate(shape) if i not in (self.rows, self.columns)]
        if len(self.at) != len(others) or not all(0 <= i < n for i, n in zip(self.at, others, strict=True)):
            raise BadRequest("'at' needs one index within the shape for each of the other axes")
        if not prod(self.shape(layout)):
            raise BadRequest("the plane has no elements")
        if parse_dtype(layout.dtype).kind not in "biuf":
            raise BadRequest("a pyramid is made of real numbers")
        if prod(self.shape(layout)) * layout.typesize > MAX_PLANE_BYTES:
            raise TooLarge("the plane is too large for a pyramid")

    def shape(self, layout: Layout) -> tuple[int, int]:
        """Return the number of rows and columns of the plane."""
        return layout.shape[self.rows], layout.shape[self.columns]

    def part(self, layout: Layout, rows: Axis, columns: Axis) -> Selection:
        """Return the selection of a part of the plane."""
        at = iter(self.at)
        axes = {self.rows: rows, self.columns: columns}
        chosen = tuple(axes.get(i) or Axis(next(at), 1, 1, dropped=True) for i in range(len(layout.shape)))
        return Selection(layout.shape, chosen, ())

    def under(self, layout: Layout, window: Selection, level: int) -> Selection:
        """Return the pixels of level 0 that a window of a level, with a step of 1, is made of."""
        spans = []
        for axis, length in zip(window.axes, self.shape(layout), strict=True):
            start = axis.start << level
            spans.append(Axis(start, 1, min(axis.stop << level, length) - start))
        return self.part(layout, *spans)

    def bands(self, layout: Layout) -> Iterator[list[Selection]]:
        """Yield the plane in bands of rows, each in parts side by side, cut at chunks and at squares of pixels."""
        side = 1 << BASE_LEVEL
        height, width = (-(-layout.chunks[i] // side) * side for i in (self.rows, self.columns))
        rows, columns = self.shape(layout)
        height *= max(1, _BAND_ELEMENTS // (height * columns))
        width *= max(1, _BAND_ELEMENTS // (min(height, rows) * width))
        for row in range(0, rows, height):
            yield [
                self.part(layout, Axis(row, 1, min(height, rows - row)), Axis(column, 1, min(width, columns - column)))
                for column in range(0, columns, width)
            ]


def level_shape(shape: tuple[int, int], level: int) -> tuple[int, int]:
    """Return the shape ``(rows, columns)`` of a level of a picture of `shape`."""
    side = 1 << level
    return -(-shape[0] // side), -(-shape[1] // side)


def top_level(shape: tuple[int, int]) -> int:
    """Return the first level that fits into one tile."""
    level = 0
    while max(level_shape(shape, level)) > TILE:
        level += 1
    return level


def level_layout(layout: Layout, plane: Plane, level: int) -> Layout:
    """Return the layout of a level of a plane: an array of two axes whose chunks are tiles.

    Raises
    ------
    BadRequest, TooLarge
        If the plane has no pyramid, or the pyramid no such level.
    """
    plane.check(layout)
    top = top_level(plane.shape(layout))
    if not 0 < level <= top:
        raise BadRequest(f"the pyramid of this plane has levels 1 to {top}, not {level}")
    shape = level_shape(plane.shape(layout), level)
    tile = min(TILE, shape[0]), min(TILE, shape[1])
    return replace(
        layout,
        shape=shape,
        chunks=tile,
        blocks=tile,
        chunksize=padded_nbytes(tile, tile, layout.typesize),
        nchunks=prod(-(-n // side) for n, side in zip(shape, tile, strict=True)),
        nbytes=prod(shape) * layout.typesize,
    )


def tile_window(layout: Layout, number: int) -> Selection:
    """Return the pixels of a tile, by its number in the layout of its level."""
    across = -(-layout.shape[1] // layout.chunks[1])
    axes = []
    for place, length, side in zip(divmod(number, across), layout.shape, layout.chunks, strict=True):
        axes.append(Axis(place * side, 1, min(side, length - place * side)))
    return Selection(layout.shape, tuple(axes), ())


def reduce_mean(picture: Array, level: int) -> Array:
    """Return `level` of a picture in its own dtype: what is not finite is left out, means of integers are rounded.

    Parameters
    ----------
    picture
        Shape ``(rows, columns)``, real numbers or booleans.
    level
        0 returns the values as they are.
    """
    return picture if level == 0 else means(square_sums(picture, level), picture.dtype)


def square_sums(picture: Array, level: int) -> Sums:
    """Return sum and number of the valid values of every square of ``2**level`` pixels."""
    side = 1 << level
    rows, columns = picture.shape
    starts = np.arange(0, rows, side), np.arange(0, columns, side)
    if picture.dtype.kind == "f":
        valid = np.isfinite(picture)
        if not valid.all():
            return _add(np.where(valid, picture, 0), starts), _add(valid, starts)
    heights, widths = np.minimum(side, rows - starts[0]), np.minimum(side, columns - starts[1])
    return _add(picture, starts), np.multiply.outer(heights, widths)


def means(sums: Sums, dtype: np.dtype[Any]) -> Array:
    """Return the means of squares of pixels in the dtype of the pixels; NaN where a square has no valid value."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        found = sums[0] / sums[1]
        if dtype.kind != "f":
            np.rint(found, out=found)
        if dtype.kind in "iu":
            # The greatest integers of 64 bits are none in double precision, and what is rounded up to does not fit.
            limits = np.iinfo(dtype)
            high = float(limits.max)
            np.clip(found, limits.min, np.nextafter(high, 0) if int(high) > limits.max else high, out=found)
        reduced: Array = found.astype(dtype)
    return reduced


def _add(values: Array, starts: tuple[Array, Array]) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        along_columns = np.add.reduceat(values, starts[1], axis=1, dtype=np.float64)
        summed: Array = np.add.reduceat(along_columns, starts[0], axis=0)
    return summed


class Levels:
    """All levels from `BASE_LEVEL` on, made in one walk over a picture of `shape`.

    Means of every level are those of the pixels, not of means: what is handed in and kept meanwhile are sums.
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._top = max(BASE_LEVEL, top_level(shape))
        self._across = level_shape(shape, BASE_LEVEL)[1]
        self._waiting: dict[int, Sums] = {}

    def add(self, sums: Sums) -> list[tuple[int, Array]]:
        """Return what follows from the next rows: levels, and their next rows, each of all columns.

        Parameters
        ----------
        sums
            Sums of the squares of `BASE_LEVEL`, some rows from top to bottom; see `Plane.bands`.
        """
        return self._climb(BASE_LEVEL, sums, last=False)

    def end(self) -> list[tuple[int, Array]]:
        """Return the last rows."""
        nothing = np.empty((0, self._across))
        return self._climb(BASE_LEVEL, (nothing, nothing), last=True)

    def _climb(self, level: int, sums: Sums, *, last: bool) -> list[tuple[int, Array]]:
        found = [(level, means(sums, self._dtype))] if len(sums[0]) else []
        if level == self._top:
            return found
        if level in self._waiting:
            before = self._waiting.pop(level)
            sums = np.concatenate((before[0], sums[0])), np.concatenate((before[1], sums[1]))
        ready = len(sums[0]) if last else len(sums[0]) // 2 * 2
        if ready < len(sums[0]):
            self._waiting[level] = sums[0][ready:], sums[1][ready:]
        starts = np.arange(0, ready, 2), np.arange(0, sums[0].shape[1], 2)
        if ready:
            joined = _add(sums[0][:ready], starts), _add(sums[1][:ready], starts)
        elif last:
            joined = np.empty((0, len(starts[1]))), np.empty((0, len(starts[1])))
        else:
            return found
        return found + self._climb(level + 1, joined, last=last)


def tiles(shape: tuple[int, int], dtype: np.dtype[Any], bands: Iterable[Sums]) -> Iterator[tuple[int, int, Array]]:
    """Make the tiles of all levels from `BASE_LEVEL` on, in bounded memory.

    Parameters
    ----------
    bands
        As `Levels.add` takes them.

    Yields
    ------
    tuple of int, int and Array
        Level, number of the tile in the layout of its level, and its pixels.

    Raises
    ------
    TooLarge
        If the picture is too wide.
    """
    if 2 * level_shape(shape, BASE_LEVEL)[1] * TILE * dtype.itemsize > _MAX_ROWS_BYTES:
        raise TooLarge("the plane is too wide for a pyramid")
    kept: dict[int, list[Array]] = {}
    done: dict[int, int] = {}
    levels = Levels(shape, dtype)
    walk = chain.from_iterable(map(levels.add, bands))
    for level, rows in chain(walk, (last for end in (levels.end,) for last in end())):
        parts = kept.setdefault(level, [])
        parts.append(rows)
        total, (height, width) = sum(map(len, parts)), level_shape(shape, level)
        first = done.get(level, 0)
        while total >= min(TILE, height - first) > 0:
            joined = np.concatenate(parts)
            row, rest = joined[:TILE], joined[TILE:]
            parts[:] = [rest] if len(rest) else []
            across = -(-width // TILE)
            for column in range(across):
                yield level, first // TILE * across + column, row[:, column * TILE : (column + 1) * TILE]
            first, total = first + len(row), len(rest)
        done[level] = first
