"""Indexing with arrays: which elements to fetch, and how to arrange them as numpy does.

What is fetched is always the product of one selection for each axis (a *block*); numpy itself then arranges it, so that
every combination of integers, slices and index arrays means what it means for numpy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from . import slices
from .errors import InvalidSlice

MAX_BLOCK = 10**8
"""Largest number of elements of a block; lists that pick single points far apart would need more than they return."""
SPARSE = 2
"""How many times longer than the wanted indices a range may be before they are asked for one by one."""


@dataclass(frozen=True, slots=True)
class Gather:
    """A key with index arrays, applied to a shape."""

    axes: tuple[slice | tuple[int, ...], ...]
    """Selection of each axis: a half-open slice, or ascending indices."""
    arrange: tuple[Any, ...]
    """Key that numpy applies to the block."""
    shape: tuple[int, ...]
    """Shape of the block."""

    @property
    def indices(self) -> str | None:
        """The selection as the ``indices`` parameter of ``/api/fetch``; None where slices say it as well."""
        if not any(isinstance(axis, tuple) for axis in self.axes):
            return None
        return json.dumps([list(axis) if isinstance(axis, tuple) else slices.format_key(axis) for axis in self.axes])

    @property
    def listed(self) -> int:
        """Number of indices that `indices` names one by one."""
        return sum(len(axis) for axis in self.axes if isinstance(axis, tuple))

    @property
    def covering(self) -> tuple[slice, ...]:
        """The smallest slices that hold the block."""
        return tuple(slice(axis[0], axis[-1] + 1) if isinstance(axis, tuple) else axis for axis in self.axes)

    def crop(self, covered: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the block out of what `covering` selects."""
        lists = [
            np.asarray(axis) - axis[0] if isinstance(axis, tuple) else np.arange(length)
            for axis, length in zip(self.axes, covered.shape, strict=False)
        ]
        block: np.ndarray[Any, Any] = covered[np.ix_(*lists)]
        return block


def has_arrays(key: Any) -> bool:
    """Tell whether a key holds something that basic indexing does not take: lists, arrays, masks."""
    items = key if isinstance(key, tuple) else (key,)
    return any(_is_array(item) for item in items)


def _is_array(item: Any) -> bool:
    if isinstance(item, list | range | bool | np.bool_):
        return True
    return isinstance(item, np.ndarray) and (item.ndim > 0 or item.dtype == bool)


def gather(key: Any, shape: tuple[int, ...]) -> Gather:
    """Apply a key with index arrays to a shape.

    Raises
    ------
    InvalidSlice
        If numpy would refuse the key, or if the block would be too large.
    """
    items = _expand(key, shape)
    axes: list[slice | tuple[int, ...]] = []
    arrange: list[Any] = []
    lengths: list[int] = []
    for item in items:
        if item is None:
            arrange.append(None)
            continue
        axis, local, length = _axis(item, shape[len(axes)], len(axes))
        axes.append(axis)
        arrange.append(local)
        lengths.append(length)
    if prod(lengths) > MAX_BLOCK:
        raise InvalidSlice(
            f"these indices span {prod(lengths)} elements, more than {MAX_BLOCK}: ask for fewer at a time"
        )
    return Gather(tuple(axes), tuple(arrange), tuple(lengths))


def _expand(key: Any, shape: tuple[int, ...]) -> list[Any]:
    """Return one item for each axis, and None for each new one; masks become the indices of their true elements."""
    items = [_checked(item) for item in (key if isinstance(key, tuple) else (key,))]
    given = sum(_consumed(item) for item in items)
    where = [number for number, item in enumerate(items) if item is Ellipsis]
    if len(where) > 1:
        raise InvalidSlice("a slice can hold a single ellipsis ('...')")
    if given > len(shape):
        raise InvalidSlice(f"too many indices: the dataset has {len(shape)} dimensions, but {given} were indexed")
    place = where[0] if where else len(items)
    items[place : place + 1] = [slice(None)] * (len(shape) - given)
    expanded: list[Any] = []
    axis = 0
    for item in items:
        if isinstance(item, np.ndarray) and item.dtype == bool:
            if item.shape != shape[axis : axis + item.ndim]:
                raise InvalidSlice(
                    f"a mask of shape {item.shape} does not fit axes of lengths {shape[axis : axis + item.ndim]}"
                )
            expanded.extend(item.nonzero())
        else:
            expanded.append(item)
        axis += _consumed(item)
    return expanded


def _checked(item: Any) -> Any:
    """Return lists and arrays as arrays of indices or masks, and anything else as it is."""
    if not _is_array(item):
        return item
    try:
        array = np.asarray(item)
    except ValueError as error:
        raise InvalidSlice(f"a list cannot index a dataset: {error}") from None
    if array.dtype == bool and array.ndim:
        return array
    if array.size == 0 or array.dtype.kind in "iu":
        return array.astype(np.int64)
    raise InvalidSlice(f"{'booleans' if array.dtype == bool else f'arrays of {array.dtype}'} are not indices here")


def _consumed(item: Any) -> int:
    """Return the number of axes that an item indexes."""
    if item is None or item is Ellipsis:
        return 0
    return item.ndim if isinstance(item, np.ndarray) and item.dtype == bool else 1


def _axis(item: Any, length: int, number: int) -> tuple[slice | tuple[int, ...], Any, int]:
    """Return what to fetch of an axis, the key that arranges it, and how long it is."""
    if isinstance(item, np.ndarray):
        return _listed(item, length, number)
    selected = slices.select((item,), (length,)).axes[0]
    part = slice(selected.start, selected.stop, selected.step)
    if selected.dropped:
        return part, 0, 1
    return part, slice(None, None, -1 if selected.flipped else None), selected.count


def _listed(item: np.ndarray[Any, Any], length: int, number: int) -> tuple[slice | tuple[int, ...], Any, int]:
    outside = item[(item < -length) | (item >= length)]
    if outside.size:
        raise InvalidSlice(f"index {outside.flat[0]} is out of bounds for axis {number} with size {length}")
    if not item.size:
        return slice(0, 0), item, 0
    wanted, inverse = np.unique(item % length, return_inverse=True)
    first, last = int(wanted[0]), int(wanted[-1])
    if last - first + 1 <= SPARSE * len(wanted):
        return slice(first, last + 1), item % length - first, last - first + 1
    return tuple(int(index) for index in wanted), inverse.reshape(item.shape), len(wanted)
