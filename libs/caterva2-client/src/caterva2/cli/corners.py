"""Printing large arrays as numpy does, without fetching what is not shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from .. import slices

EDGE: int = np.get_printoptions()["edgeitems"]
"""Elements that numpy shows at each end of an axis."""
THRESHOLD: int = np.get_printoptions()["threshold"]
"""Elements up to which numpy shows all."""


@dataclass(frozen=True, slots=True)
class Corners:
    """What of a selection is shown."""

    shape: tuple[int, ...]
    """Shape of the whole selection."""
    picks: tuple[tuple[int, ...], ...]
    """Indices on each axis of the dataset."""
    dropped: tuple[int, ...]
    """Axes of the dataset that a single index takes away."""

    @property
    def key(self) -> tuple[np.ndarray[Any, Any], ...]:
        """Key that fetches what is shown."""
        return np.ix_(*(np.asarray(pick, np.int64) for pick in self.picks))

    def text(self, block: np.ndarray[Any, Any]) -> str:
        """Return what numpy would print of the whole selection, of which `key` fetched `block`."""
        block = np.squeeze(block, axis=self.dropped)
        for axis, length in enumerate(self.shape):
            if length > 2 * EDGE:
                # One element in the middle, which is not shown either, stands for all that was left out.
                block = block.take([*range(EDGE), 0, *range(EDGE, 2 * EDGE)], axis=axis)
        return np.array2string(block, threshold=0)


def corners_of(index: str | None, shape: Sequence[int]) -> Corners | None:
    """Return what is shown of a slice of an array; None if that is all of it.

    Parameters
    ----------
    index
        Text of a slice.
    shape
        Lengths of the axes.

    Raises
    ------
    InvalidSlice
        If the slice does not fit.
    """
    key = slices.parse_slice(index)
    if None in key:
        return None
    selection = slices.select(key, tuple(shape))
    picked: list[tuple[int, ...]] = []
    whole: list[int] = []
    for axis in selection.axes:
        every = range(axis.start, axis.start + axis.count * axis.step, axis.step)
        every = every[::-1] if axis.flipped else every
        picked.append(tuple(every) if len(every) <= 2 * EDGE else (*every[:EDGE], *every[-EDGE:]))
        if not axis.dropped:
            whole.append(axis.count)
    if prod(whole) <= THRESHOLD:
        return None
    dropped = tuple(number for number, axis in enumerate(selection.axes) if axis.dropped)
    return Corners(tuple(whole), tuple(picked), dropped)
