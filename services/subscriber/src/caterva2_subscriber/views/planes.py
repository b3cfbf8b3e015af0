"""Planes of large arrays: tiles at any level, and samples for statistics, reading no more than is needed."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from math import prod
from typing import Any, Protocol, cast

import numpy as np

from caterva2.errors import BadRequest, TooLarge
from caterva2.slices import Selection, select
from caterva2_formats.dtypes import parse_dtype
from caterva2_formats.pyramid import (
    BASE_LEVEL,
    MAX_PLANE_BYTES,
    TILE,
    Levels,
    Plane,
    Sums,
    level_shape,
    reduce_mean,
    square_sums,
    top_level,
)
from caterva2_service.joining import Joined
from caterva2_service.threads import Threads

from ..library import Resource

Array = np.ndarray[Any, Any]
_Key = tuple[str, str, Plane]
_Made = dict[int, Array]
"""Means of a whole plane by level."""

SAMPLE_ELEMENTS = 4 * 2**20
"""Selections with more elements are described by a sample."""
_OVERVIEW_ELEMENTS = 2**20
"""Means by which a large picture is described."""
_KEPT_BYTES = 128 * 2**20
_LINGER_S = 10.0
"""Seconds for which a plane is reduced though nobody waits: readers who look around come back to it."""


class Planes:
    """Tiles of planes: of their publishers where that moves less, else made here.

    What is made here of whole planes, once for each version, is kept in memory, the least recently used dropped.

    Parameters
    ----------
    threads
        Where reduction runs.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._kept: OrderedDict[_Key, _Made] = OrderedDict()
        self._making: Joined[_Made] = Joined(_LINGER_S)

    async def close(self) -> None:
        """End what nobody will see."""
        await self._making.close()

    async def tile(self, resource: Resource, plane: Plane, level: int, window: Selection) -> Array:
        """Return a part of a level of the mean pyramid of a plane.

        Parameters
        ----------
        level
            0 is the plane itself.
        window
            Rows and columns in pixels of the level, with a step of 1.

        Returns
        -------
        numpy.ndarray
            Shape of the window, dtype of the data; of booleans whether more than half are true.
        """
        assert resource.layout is not None
        layout = resource.layout
        if level:
            found = await _ready_made(resource, plane, level, window)
            if found is not None:
                return found
        if level < BASE_LEVEL:
            pixels = await resource.read(plane.under(layout, window, level))
            return await self._threads.run(reduce_mean, pixels, level)
        made = await self._levels(resource, plane)
        return np.asarray(made[level][tuple(slice(axis.start, axis.stop) for axis in window.axes)])

    async def overview(self, resource: Resource, plane: Plane) -> Array:
        """Return a whole plane at the resolution at which it is described."""
        assert resource.layout is not None
        shape = plane.shape(resource.layout)
        level = min(BASE_LEVEL, top_level(shape))
        while prod(level_shape(shape, level)) > _OVERVIEW_ELEMENTS and level < top_level(shape):
            level += 1
        return await self.tile(resource, plane, level, select((), level_shape(shape, level)))

    async def _levels(self, resource: Resource, plane: Plane) -> _Made:
        key = (resource.path, resource.etag, plane)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        return await self._making.run(key, lambda: self._make(key, resource, plane))

    async def _make(self, key: _Key, resource: Resource, plane: Plane) -> _Made:
        """Reduce the whole plane, some rows at a time, so that it is never in memory as a whole."""
        assert resource.layout is not None
        layout = resource.layout
        levels = Levels(plane.shape(layout), parse_dtype(layout.dtype))
        rows: dict[int, list[Array]] = {}

        def add(band: list[Sums]) -> None:
            sums, numbers = (np.concatenate(parts, axis=1) for parts in zip(*band, strict=True))
            for level, found in levels.add((sums, numbers)):
                rows.setdefault(level, []).append(found)

        def join() -> _Made:
            for level, found in levels.end():
                rows.setdefault(level, []).append(found)
            return {level: np.concatenate(parts) for level, parts in rows.items()}

        for band in plane.bands(layout):
            parts = [await self._threads.run(square_sums, await resource.read(part), BASE_LEVEL) for part in band]
            await self._threads.run(add, parts)
        made = self._kept[key] = await self._threads.run(join)
        while sum(map(_nbytes, self._kept.values())) > _KEPT_BYTES and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return made


def _nbytes(made: _Made) -> int:
    return sum(level.nbytes for level in made.values())


class _HasTiles(Protocol):
    """A resource whose publisher can make tiles, so that its chunks need not cross the link."""

    async def tile(self, plane: Plane, level: int, window: Selection) -> Array | None: ...


async def _ready_made(resource: Resource, plane: Plane, level: int, window: Selection) -> Array | None:
    """Return what the publisher of the resource makes, if there is one who does."""
    if not hasattr(resource, "tile"):
        return None
    return await cast(_HasTiles, resource).tile(plane, level, window)


def plane_of(selection: Selection) -> Plane:
    """Return the plane that a selection shows. Raises BadRequest if it is no picture."""
    rows, columns = plane_axes(selection)
    return Plane(rows, columns, tuple(axis.start for axis in selection.axes if axis.dropped))


def window_of(selection: Selection) -> Selection:
    """Return the rows and columns of a picture as a selection of two axes."""
    axes = plane_axes(selection)
    shape = tuple(selection.source_shape[i] for i in axes)
    return Selection(shape, tuple(selection.axes[i] for i in axes), ())


def plane_axes(selection: Selection) -> tuple[int, int]:
    """Return the two axes of a picture. Raises BadRequest if the selection is no picture."""
    kept = [i for i, axis in enumerate(selection.axes) if not axis.dropped]
    if len(kept) != 2:
        raise BadRequest(f"a picture has two axes, but the slice leaves {len(kept)}")
    return kept[0], kept[1]


def level_selection_shape(shape: tuple[int, ...], axes: tuple[int, int], level: int) -> tuple[int, ...]:
    """Return the shape of the array at a level: the axes of the picture are reduced, the others as they are.

    Raises
    ------
    BadRequest
        If the pyramid has no such level.
    TooLarge
        If the plane is beyond what can be reduced.
    """
    picture = shape[axes[0]], shape[axes[1]]
    if not 0 <= level <= top_level(picture):
        raise BadRequest(f"the pyramid of this picture has levels 0 to {top_level(picture)}, not {level}")
    if prod(picture) > MAX_PLANE_BYTES:
        raise TooLarge("the picture is too large to be shown")
    reduced = level_shape(picture, level)
    return tuple(reduced[axes.index(i)] if i in axes else length for i, length in enumerate(shape))


def check_tile(selection: Selection) -> None:
    """Raise TooLarge unless the selection is at most one tile with a step of 1."""
    rows, columns = plane_axes(selection)
    for axis in (selection.axes[rows], selection.axes[columns]):
        if axis.count > TILE or axis.step != 1 or axis.flipped:
            raise TooLarge(f"a tile has at most {TILE} by {TILE} pixels, with a step of 1")


def sample(selection: Selection, chunks: tuple[int, ...]) -> tuple[Selection, bool]:
    """Return what to read to describe a selection, and whether that is only a sample.

    Where chunks are one thick along an axis (stacks of pictures), every so many of them are taken; otherwise the
    middle run, so that few chunks are touched.
    """
    if selection.size <= SAMPLE_ELEMENTS:
        return selection, False
    axes = list(selection.axes)
    for i in sorted(range(len(axes)), key=lambda i: (chunks[i] != 1, -axes[i].count)):
        axis = axes[i]
        total = prod(axis.count for axis in axes)
        if total <= SAMPLE_ELEMENTS:
            break
        wanted = max(1, SAMPLE_ELEMENTS // (total // axis.count))
        if wanted >= axis.count:
            continue
        if chunks[i] == 1:
            every = -(-axis.count // wanted)
            axes[i] = replace(axis, step=axis.step * every, count=-(-axis.count // every))
        else:
            start = axis.start + ((axis.count - wanted) // 2) * axis.step
            axes[i] = replace(axis, start=start, count=wanted)
    return replace(selection, axes=tuple(axes)), True
