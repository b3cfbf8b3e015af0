"""Mean pyramids: large pictures at the resolution of a screen.

Level 0 is the picture itself; a pixel of level n is the mean of a square of ``2**n`` by ``2**n`` pixels, or of what of
it lies inside the picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

TILE = 512
"""Side of a tile in pixels of its level."""
OVERVIEW_LEVEL = 3
"""Level at which publishers tell whole planes, and subscribers keep them."""


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


def reduce_mean(picture: Array, level: int) -> Array:
    """Return `level` of a picture in its own dtype: NaN is left out, means of integers are rounded.

    Parameters
    ----------
    picture
        Shape ``(rows, columns)``, real numbers or booleans.
    level
        0 returns the values as they are.
    """
    if level == 0:
        return picture
    sums, counts = _sums(picture, 1 << level)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / counts
    if picture.dtype.kind != "f":
        np.rint(means, out=means)
    reduced: Array = means.astype(picture.dtype)
    return reduced


def _sums(picture: Array, side: int) -> tuple[Array, Array]:
    """Return sum and number of the valid values of every square of `side` pixels."""
    rows, columns = picture.shape
    starts = np.arange(0, rows, side), np.arange(0, columns, side)
    heights = np.minimum(side, rows - starts[0])
    widths = np.minimum(side, columns - starts[1])
    if picture.dtype.kind == "f":
        valid = np.isfinite(picture)
        if not valid.all():
            values = np.where(valid, picture, 0)
            return _add(values, starts), _add(valid, starts)
    return _add(picture, starts), np.multiply.outer(heights, widths)


def _add(values: Array, starts: tuple[Array, Array]) -> Array:
    along_columns = np.add.reduceat(values, starts[1], axis=1, dtype=np.float64)
    summed: Array = np.add.reduceat(along_columns, starts[0], axis=0)
    return summed
