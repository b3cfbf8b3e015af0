"""Reductions over arrays that need not fit into memory: block by block into accumulators."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from caterva2.errors import InvalidExpression

from .terms import Array, ReduceTerm, Region

_COMBINE: dict[str, Any] = {
    "sum": np.add,
    "prod": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
    "any": np.logical_or,
    "all": np.logical_and,
}


class Accumulator:
    """Takes in the blocks of an array, in any order, and gives the result of a reduction."""

    def __init__(self, term: ReduceTerm) -> None:
        self._term = term
        self._shape = term.kept_shape
        self._source = term.children[0].shape
        self._seen = np.zeros(self._shape, bool)
        self._result = np.zeros(self._shape, self._kept_dtype())
        moments = term.function in ("var", "std")
        self._squares = np.zeros(self._shape, np.float64) if moments else None
        self._count = np.zeros(self._shape, np.int64)
        self._best = np.zeros(self._shape, term.children[0].dtype) if term.function in ("argmin", "argmax") else None

    def _kept_dtype(self) -> np.dtype[Any]:
        dtype = self._term.dtype
        source = self._term.children[0].dtype
        if self._term.function in ("mean", "var", "std") or (self._term.function == "sum" and dtype.kind in "fc"):
            # Sums of many small numbers need more digits than the result shows.
            return np.dtype(np.complex128 if source.kind == "c" else np.float64)
        return dtype

    def add(self, region: Region, block: Array) -> None:
        """Take in the elements of a region of the array. Blocks; one at a time. Raises InvalidExpression."""
        try:
            self._add(region, block)
        except (TypeError, ValueError) as error:
            raise InvalidExpression(f"{self._term.function}: {error}") from None

    def _add(self, region: Region, block: Array) -> None:
        where = tuple(slice(0, 1) if axis in self._term.axes else slice(*bounds) for axis, bounds in enumerate(region))
        function = self._term.function
        with np.errstate(all="ignore"):
            if function in _COMBINE:
                self._combine(where, block)
            elif function == "mean":
                self._result[where] += block.sum(axis=self._term.axes, keepdims=True, dtype=self._result.dtype)
            elif function in ("var", "std"):
                self._merge_moments(where, block)
            else:
                self._merge_best(where, region, block)
        self._seen[where] = True
        self._count[where] += prod(block.shape[axis] for axis in self._term.axes)

    def _combine(self, where: tuple[slice, ...], block: Array) -> None:
        function = self._term.function
        extra = {"dtype": self._result.dtype} if function in ("sum", "prod") else {}
        part = getattr(np, function)(block, axis=self._term.axes, keepdims=True, **extra)
        known = self._result[where]
        self._result[where] = np.where(self._seen[where], _COMBINE[function](known, part), part)

    def _merge_moments(self, where: tuple[slice, ...], block: Array) -> None:
        """Merge mean and sum of squared deviations (Chan, Golub, LeVeque 1983), which loses no digits."""
        assert self._squares is not None
        axes = self._term.axes
        block = block.astype(self._result.dtype, copy=False)
        added = prod(block.shape[axis] for axis in axes)
        mean = block.mean(axis=axes, keepdims=True)
        squares = (np.abs(block - mean) ** 2).sum(axis=axes, keepdims=True)
        count = self._count[where]
        delta = mean - self._result[where]
        total = count + added
        self._squares[where] += squares + np.abs(delta) ** 2 * count * added / total
        self._result[where] += delta * added / total

    def _merge_best(self, where: tuple[slice, ...], region: Region, block: Array) -> None:
        assert self._best is not None
        largest = self._term.function == "argmax"
        index, value = self._best_of(region, block, largest)
        known, seen = self._best[where], self._seen[where]
        before = self._result[where]
        is_nan = np.isnan(value) if value.dtype.kind in "fc" else np.zeros(value.shape, bool)
        was_nan = np.isnan(known) if known.dtype.kind in "fc" else np.zeros(known.shape, bool)
        better = ((value > known) if largest else (value < known)) & ~was_nan
        same = (value == known) | (is_nan & was_nan)
        take = ~seen | better | (is_nan & ~was_nan) | (same & (index < before))
        self._best[where] = np.where(take, value, known)
        self._result[where] = np.where(take, index, before)

    def _best_of(self, region: Region, block: Array, largest: bool) -> tuple[Array, Array]:
        find = np.argmax if largest else np.argmin
        if not self._term.flat:
            (axis,) = self._term.axes
            index = find(block, axis=axis, keepdims=True)
            return index + region[axis][0], np.take_along_axis(block, index, axis)
        at = np.unravel_index(int(find(block)), block.shape)
        position = [int(i) + start for i, (start, _) in zip(at, region, strict=True)]
        flat = int(np.ravel_multi_index(position, self._source)) if position else 0
        ones = (1,) * len(self._shape)
        return np.full(ones, flat), np.full(ones, block[at])

    def result(self) -> Array:
        """Return the result of everything that was taken in."""
        term = self._term
        found = self._result
        with np.errstate(all="ignore"):
            if term.function == "mean":
                found = found / self._count
            elif term.function in ("var", "std"):
                assert self._squares is not None
                found = self._squares / self._count
                found = np.sqrt(found) if term.function == "std" else found
        if not self._seen.all() and term.function in ("prod", "all"):
            found = np.where(self._seen, found, np.ones((), found.dtype))
        return found.reshape(term.shape).astype(term.dtype, copy=False)
