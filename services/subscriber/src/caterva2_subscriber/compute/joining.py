"""Arrays made of other arrays: concatenated, stacked, grown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from caterva2.errors import BadRequest, UnsafeContent
from caterva2.slices import select
from caterva2.wire import Kind
from caterva2_formats.assemble import answer_layout
from caterva2_formats.base import Layout
from caterva2_formats.dtypes import parse_dtype, storage_dtype, to_storage
from caterva2_formats.frames import array_layout

from ..library import Resource
from .terms import Array, Region, Shape


@dataclass(frozen=True, slots=True)
class Joined:
    """Arrays that lie side by side along one axis.

    Parameters
    ----------
    parts
        Arrays whose shapes are equal but for `axis`.
    starts
        Where each of them begins along `axis`.
    new_axis
        Whether the axis is not one of the parts' own (a stack).
    """

    parts: tuple[Resource, ...]
    starts: tuple[int, ...]
    axis: int
    new_axis: bool
    layout: Layout

    async def region(self, region: Region) -> Array:
        """Return the elements of a region, in their storage type."""
        dtype = parse_dtype(self.layout.dtype)
        shape = tuple(stop - start for start, stop in region)
        found = np.empty(shape, storage_dtype(dtype))
        start, stop = region[self.axis]
        for part, begin, end in zip(self.parts, self.starts, (*self.starts[1:], self._length), strict=True):
            first, last = max(start, begin), min(stop, end)
            if first >= last:
                continue
            target: list[Any] = [slice(None)] * len(region)
            target[self.axis] = first - start if self.new_axis else slice(first - start, last - start)
            found[tuple(target)] = to_storage(await self._read(part, region, first - begin, last - begin), dtype)
        return found

    @property
    def _length(self) -> int:
        return self.layout.shape[self.axis]

    async def _read(self, part: Resource, region: Region, first: int, last: int) -> Array:
        key = [slice(*bounds) for bounds in region]
        if self.new_axis:
            del key[self.axis]
        else:
            key[self.axis] = slice(first, last)
        return np.asarray(await part.read(select(tuple(key), _layout(part).shape)))


def concatenated(parts: Sequence[Resource], axis: int) -> Joined:
    """Return arrays joined along an axis that they have. Raises BadRequest."""
    layouts = [_layout(part) for part in parts]
    first = _first(layouts)
    ndim = len(first.shape)
    if not -ndim <= axis < ndim:
        raise BadRequest(f"there is no axis {axis} in arrays of {ndim} dimensions")
    axis %= ndim
    for layout in layouts[1:]:
        same = len(layout.shape) == ndim and all(
            n == m or i == axis for i, (n, m) in enumerate(zip(layout.shape, first.shape, strict=True))
        )
        if not same:
            raise BadRequest(f"shapes {first.shape} and {layout.shape} cannot be concatenated along axis {axis}")
    lengths = [layout.shape[axis] for layout in layouts]
    shape = (*first.shape[:axis], sum(lengths), *first.shape[axis + 1 :])
    layout = _like(first, shape, _common_dtype(layouts))
    return Joined(tuple(parts), _starts(lengths), axis, False, layout)


def stacked(parts: Sequence[Resource], axis: int) -> Joined:
    """Return arrays of one shape joined along a new axis. Raises BadRequest."""
    layouts = [_layout(part) for part in parts]
    first = _first(layouts)
    ndim = len(first.shape) + 1
    if not -ndim <= axis < ndim:
        raise BadRequest(f"a new axis {axis} does not fit arrays of {ndim - 1} dimensions")
    axis %= ndim
    for layout in layouts[1:]:
        if layout.shape != first.shape:
            raise BadRequest(f"shapes {first.shape} and {layout.shape} cannot be stacked")
    shape = (*first.shape[:axis], len(parts), *first.shape[axis:])
    layout = answer_layout(shape, parse_dtype(_common_dtype(layouts)))
    return Joined(tuple(parts), tuple(range(len(parts))), axis, True, layout)


def grown(target: Resource, added: Resource) -> Joined:
    """Return an array with another one behind it along the first axis. Raises BadRequest."""
    old, new = _layout(target), _layout(added)
    message = "The shapes of the original dataset and the data to append are not compatible"
    if not old.shape or len(old.shape) != len(new.shape) or old.shape[1:] != new.shape[1:]:
        raise BadRequest(message)
    have, want = parse_dtype(new.dtype), parse_dtype(old.dtype)
    if not np.can_cast(have, want, "same_kind"):
        raise BadRequest(f"Data of type {have} cannot be appended to a dataset of type {want}")
    shape = (old.shape[0] + new.shape[0], *old.shape[1:])
    try:
        layout = array_layout(shape, _at_least_one(old.chunks), _at_least_one(old.blocks), old.dtype)
    except UnsafeContent as error:
        raise BadRequest(f"The dataset would become too large: {error}") from None
    return Joined((target, added), _starts([old.shape[0], new.shape[0]]), 0, False, layout)


def unchanged_chunks(old: Layout, new: Layout) -> int:
    """Return how many of the first chunks of an array stay as they are when it grows along its first axis."""
    if old.chunks != new.chunks or old.blocks != new.blocks:
        return 0
    full = old.shape[0] // old.chunks[0]
    per_row = 1
    for n, c in zip(old.shape[1:], old.chunks[1:], strict=True):
        per_row *= -(-n // c)
    return full * per_row


def _layout(resource: Resource) -> Layout:
    if resource.layout is None or resource.kind is not Kind.ARRAY:
        raise BadRequest(f"{resource.path} is not an array")
    return resource.layout


def _first(layouts: Sequence[Layout]) -> Layout:
    if not layouts:
        raise BadRequest("there is nothing to join: name at least one source")
    return layouts[0]


def _common_dtype(layouts: Sequence[Layout]) -> str:
    dtypes = [parse_dtype(layout.dtype) for layout in layouts]
    try:
        return str(np.result_type(*dtypes)) if len(set(dtypes)) > 1 else layouts[0].dtype
    except TypeError:
        raise BadRequest(f"types {dtypes[0]} and {dtypes[1]} cannot be joined") from None


def _like(first: Layout, shape: Shape, dtype: str) -> Layout:
    """Return a layout with the chunks of the first array, which then need no rearranging."""
    if 0 in first.shape or dtype != first.dtype:
        return answer_layout(shape, parse_dtype(dtype))
    try:
        return array_layout(shape, first.chunks, first.blocks, dtype)
    except UnsafeContent:
        return answer_layout(shape, parse_dtype(dtype))


def _at_least_one(lengths: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(1, n) for n in lengths)


def _starts(lengths: Sequence[int]) -> tuple[int, ...]:
    return tuple(sum(lengths[:i]) for i in range(len(lengths)))
