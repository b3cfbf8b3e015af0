"""Planes of large arrays: tiles at any level, and samples for statistics, reading no more than is needed."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace
from math import prod
from typing import Any, Protocol, cast

import numpy as np

from caterva2.errors import BadRequest, TooLarge
from caterva2.slices import Axis, Selection
from caterva2_formats.dtypes import parse_dtype
from caterva2_formats.pyramid import OVERVIEW_LEVEL, TILE, level_shape, reduce_mean, top_level
from caterva2_service.threads import Threads

from ..library import Resource
from ..upstream import Plane

Array = np.ndarray[Any, Any]

DIRECT_LEVEL = OVERVIEW_LEVEL - 1
"""Tiles up to this level are made from the pixels below them; higher ones from a reduced copy of the whole plane."""
SAMPLE_ELEMENTS = 4 * 2**20
"""Selections with more elements are described by a sample."""
MAX_PLANE_BYTES = 64 * 2**30
_KEPT_LEVEL = OVERVIEW_LEVEL
_BAND_BYTES = 32 * 2**20
_KEPT_BYTES = 128 * 2**20


class Planes:
    """Reduced copies of planes, made once per version and kept in memory, the least recently used ones dropped.

    Parameters
    ----------
    threads
        Where reduction runs.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._kept: OrderedDict[Hashable, Array] = OrderedDict()
        self._making: dict[Hashable, asyncio.Task[Array]] = {}

    async def tile(self, resource: Resource, selection: Selection, level: int) -> Array:
        """Return one tile of the mean pyramid of a plane.

        Parameters
        ----------
        selection
            Two axes that are not dropped: rows and columns in pixels of `level`, applied to the shape of that level
            (`level_selection`).
        level
            0 is the plane itself.

        Returns
        -------
        numpy.ndarray
            Shape as selected, dtype of the data; of booleans the mean.
        """
        rows, columns = plane_axes(selection)
        if level <= DIRECT_LEVEL:
            pixels = await resource.read(_scaled(resource, selection, (rows, columns), level))
            return await self._threads.run(reduce_mean, pixels, level)
        whole = replace(
            selection,
            axes=tuple(
                Axis(0, 1, selection.source_shape[i]) if i in (rows, columns) else axis
                for i, axis in enumerate(selection.axes)
            ),
        )
        first = await self._reduced(resource, whole, (rows, columns))
        reduced = await self._threads.run(reduce_mean, first, level - _KEPT_LEVEL)
        window = tuple(slice(axis.start, axis.stop) for axis in (selection.axes[rows], selection.axes[columns]))
        return np.asarray(reduced[window])

    async def overview(self, resource: Resource, selection: Selection) -> Array:
        """Return the reduced copy of a whole plane, eight pixels to one on each axis."""
        return await self._reduced(resource, selection, plane_axes(selection))

    async def _reduced(self, resource: Resource, whole: Selection, plane: tuple[int, int]) -> Array:
        fixed = tuple(axis.start for axis in whole.axes if axis.dropped)
        key = (resource.path, resource.etag, plane, fixed)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        task = self._making.get(key)
        if task is None:
            task = self._making[key] = asyncio.create_task(self._make(key, resource, whole, plane))
        # One reader who goes away does not take the others' picture with it.
        return await asyncio.shield(task)

    async def _make(self, key: Hashable, resource: Resource, whole: Selection, plane: tuple[int, int]) -> Array:
        try:
            made = await _ready_made(resource, whole, plane)
            if made is None:
                made = await self._by_bands(resource, whole, plane)
        finally:
            del self._making[key]
        self._kept[key] = made
        while sum(array.nbytes for array in self._kept.values()) > _KEPT_BYTES and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return made

    async def _by_bands(self, resource: Resource, whole: Selection, plane: tuple[int, int]) -> Array:
        """Reduce the whole plane, some rows at a time, so that it is never in memory as a whole."""
        assert resource.layout is not None
        shape = resource.layout.shape
        rows, columns = plane
        height = _band_height(resource, rows, columns)
        bands = []
        for start in range(0, shape[rows], height):
            count = min(height, shape[rows] - start)
            axes = list(whole.axes)
            axes[rows], axes[columns] = Axis(start, 1, count), Axis(0, 1, shape[columns])
            pixels = await resource.read(Selection(shape, tuple(axes), ()))
            bands.append(await self._threads.run(reduce_mean, pixels, _KEPT_LEVEL))
        return await self._threads.run(np.concatenate, bands)


class _HasOverviews(Protocol):
    """A resource whose publisher can make overviews, so that its chunks need not cross the link."""

    async def overview(self, plane: Plane, shape: tuple[int, ...]) -> Array | None: ...


async def _ready_made(resource: Resource, whole: Selection, plane: tuple[int, int]) -> Array | None:
    """Return the reduced copy of a plane as the publisher of the resource makes it, if there is one who does."""
    assert resource.layout is not None
    if not hasattr(resource, "overview") or parse_dtype(resource.layout.dtype).kind not in "biuf":
        return None
    shape = resource.layout.shape
    at = tuple(axis.start for axis in whole.axes if axis.dropped)
    reduced = level_shape((shape[plane[0]], shape[plane[1]]), OVERVIEW_LEVEL)
    return await cast(_HasOverviews, resource).overview(Plane(*plane, at), reduced)


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


def _scaled(resource: Resource, selection: Selection, plane: tuple[int, int], level: int) -> Selection:
    """Return the selection of the pixels of level 0 that a tile of `level` is made of."""
    assert resource.layout is not None
    shape = resource.layout.shape
    axes = list(selection.axes)
    for i in plane:
        start = axes[i].start << level
        axes[i] = Axis(start, 1, min(axes[i].stop << level, shape[i]) - start)
    return Selection(shape, tuple(axes), ())


def _band_height(resource: Resource, rows: int, columns: int) -> int:
    assert resource.layout is not None
    layout = resource.layout
    row_bytes = max(1, layout.shape[columns] * layout.typesize)
    side = 1 << _KEPT_LEVEL
    unit = -(-layout.chunks[rows] // side) * side
    return max(1, _BAND_BYTES // (row_bytes * unit)) * unit


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
