"""Long lines at the resolution of a screen, without losing a single extreme value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from caterva2.errors import BadRequest
from caterva2.slices import Axis, Selection
from caterva2.wire import Kind

from .base import Layout
from .chunks import padded_nbytes
from .dtypes import parse_dtype

Array = np.ndarray[Any, Any]

MAX_PAIRS = 200_000
_BLOCK = 4 * 2**20
"""Values that are read at once."""


@dataclass(frozen=True, slots=True)
class Line:
    """Values along one axis of an array, and how many of them one min/max pair stands for."""

    axis: int
    at: tuple[int, ...]
    """Index on each of the other axes, in their order."""
    start: int
    step: int
    count: int
    group: int

    @property
    def pairs(self) -> int:
        """Number of min/max pairs."""
        return -(-self.count // self.group)

    def layout(self, layout: Layout) -> Layout:
        """Return the layout of the envelope: an array of shape ``(pairs, 2)`` in one chunk, dtype of the values.

        Raises
        ------
        BadRequest
            If this is no line of real numbers in the dataset.
        """
        shape = layout.shape
        if layout.kind is not Kind.ARRAY or not 0 <= self.axis < len(shape):
            raise BadRequest("a line is one axis of an array")
        others = [length for i, length in enumerate(shape) if i != self.axis]
        if len(self.at) != len(others) or not all(0 <= i < n for i, n in zip(self.at, others, strict=True)):
            raise BadRequest("'at' needs one index within the shape for each of the other axes")
        if self.start < 0 or min(self.step, self.count, self.group) < 1:
            raise BadRequest("a line has a start, and at least one value, step and value for each pair")
        if self.start + (self.count - 1) * self.step >= shape[self.axis]:
            raise BadRequest("the line goes on behind the end of the axis")
        if parse_dtype(layout.dtype).kind not in "biuf":
            raise BadRequest("an envelope is made of real numbers")
        if self.pairs > MAX_PAIRS:
            raise BadRequest(f"an envelope has at most {MAX_PAIRS} pairs")
        pairs = self.pairs, 2
        nbytes = padded_nbytes(pairs, pairs, layout.typesize)
        return replace(layout, shape=pairs, chunks=pairs, blocks=pairs, chunksize=nbytes, nchunks=1, nbytes=nbytes)

    def selection(self, layout: Layout) -> Selection:
        """Return the values of the line."""
        return self._part(layout, 0, self.count)

    def blocks(self, layout: Layout) -> Iterator[tuple[int, Selection]]:
        """Yield the line piece by piece: how many values come before it, and which it is.

        A piece is some whole groups, or a part of one.
        """
        size = max(1, _BLOCK // self.group) * self.group
        for begin in range(0, self.count, size):
            end = min(begin + size, self.count)
            for first in range(begin, end, _BLOCK):
                yield first, self._part(layout, first, min(_BLOCK, end - first))

    def _part(self, layout: Layout, first: int, count: int) -> Selection:
        at = iter(self.at)
        part = Axis(self.start + first * self.step, self.step, count)
        axes = (part if i == self.axis else Axis(next(at), 1, 1) for i in range(len(layout.shape)))
        return Selection(layout.shape, tuple(axes), ())


class Envelope:
    """Minimum and maximum of every group of a line, from its pieces in their order."""

    def __init__(self, line: Line, dtype: np.dtype[Any]) -> None:
        self._group = line.group
        self.pairs: Array = np.empty((line.pairs, 2), dtype)
        """Shape ``(pairs, 2)``: right once every piece was added."""

    def add(self, first: int, values: Array) -> None:
        """Add the piece of which `first` values come before, of any shape."""
        found = envelope(values.reshape(-1), self._group)
        begin, inside = divmod(first, self._group)
        if inside:
            found[0] = np.fmin(found[0, 0], self.pairs[begin, 0]), np.fmax(found[0, 1], self.pairs[begin, 1])
        self.pairs[begin : begin + len(found)] = found


def step_for(length: int, points: int) -> int:
    """Return how many values one min/max pair stands for; 1 means that the values themselves are sent.

    Parameters
    ----------
    length
        Number of values of the line.
    points
        Number of pairs wanted; up to twice as many values are sent as they are.
    """
    return 1 if length <= 2 * points else -(-length // points)


def envelope(values: Array, step: int) -> Array:
    """Return minimum and maximum of every `step` values.

    Parameters
    ----------
    values
        Shape ``(n,)``, real numbers. NaN is left out; where there is nothing else the pair is NaN.
    step
        Length of a group; the last one may be shorter.

    Returns
    -------
    Array
        Shape ``(ceil(n / step), 2)``, dtype of `values`.
    """
    groups, rest = divmod(len(values), step)
    whole = values[: groups * step].reshape(groups, step)
    pairs = np.empty((groups + bool(rest), 2), values.dtype)
    pairs[:groups, 0] = np.fmin.reduce(whole, axis=1) if groups else 0
    pairs[:groups, 1] = np.fmax.reduce(whole, axis=1) if groups else 0
    if rest:
        tail = values[groups * step :]
        pairs[groups] = np.fmin.reduce(tail), np.fmax.reduce(tail)
    return pairs
