"""Reductions over arrays that need not fit into memory: block by block into accumulators.

Blocks are reduced in confined processes (`worker`); what is left of them is put together in the service.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def kept_dtype(term: ReduceTerm) -> np.dtype[Any]:
    """Return the type in which a reduction is worked out: sums of small numbers need more digits than they show."""
    source = term.children[0].dtype
    if term.function in ("mean", "var", "std") or (term.function == "sum" and term.dtype.kind in "fc"):
        return np.dtype(np.complex128 if source.kind == "c" else np.float64)
    return term.dtype


def partial_dtypes(term: ReduceTerm) -> tuple[np.dtype[Any], ...]:
    """Return the types of the arrays that `reduce_block` gives."""
    kept = kept_dtype(term)
    if term.function in ("var", "std"):
        return kept, np.dtype(np.float64)
    if term.function in ("argmin", "argmax"):
        return kept, term.children[0].dtype
    return (kept,)


def partial_shape(term: ReduceTerm, region: Region) -> tuple[int, ...]:
    """Return the shape of the arrays that `reduce_block` gives for a region of the argument."""
    return tuple(1 if axis in term.axes else stop - start for axis, (start, stop) in enumerate(region))


def reduce_block(term: ReduceTerm, region: Region, block: Array) -> tuple[Array, ...]:
    """Reduce the elements of a region of the argument.

    Returns
    -------
    tuple of arrays
        Of shape `partial_shape`, with the axes kept: the reduced elements; for ``mean`` their sum; for ``var`` and
        ``std`` their mean and sum of squared deviations; for ``argmin`` and ``argmax`` the index and the value.

    Raises
    ------
    InvalidExpression
        If the elements do not allow it.
    """
    try:
        with np.errstate(all="ignore"):
            found = _reduced(term, region, block)
    except (TypeError, ValueError) as error:
        raise InvalidExpression(f"{term.function}: {error}") from None
    shape = partial_shape(term, region)
    return tuple(
        np.asarray(array).reshape(shape).astype(dtype, copy=False)
        for array, dtype in zip(found, partial_dtypes(term), strict=True)
    )


def _reduced(term: ReduceTerm, region: Region, block: Array) -> tuple[Array, ...]:
    function, axes = term.function, term.axes
    if function in ("sum", "prod", "mean"):
        add = np.prod if function == "prod" else np.sum
        return (np.asarray(add(block, axis=axes, keepdims=True, dtype=kept_dtype(term))),)
    if function in _COMBINE:
        return (np.asarray(getattr(np, function)(block, axis=axes, keepdims=True)),)
    if function in ("var", "std"):
        block = block.astype(kept_dtype(term), copy=False)
        mean = block.mean(axis=axes, keepdims=True)
        return mean, (np.abs(block - mean) ** 2).sum(axis=axes, keepdims=True)
    return _best_of(term, region, block)


def _best_of(term: ReduceTerm, region: Region, block: Array) -> tuple[Array, Array]:
    find = np.argmax if term.function == "argmax" else np.argmin
    if not term.flat:
        (axis,) = term.axes
        index = find(block, axis=axis, keepdims=True)
        return index + region[axis][0], np.take_along_axis(block, index, axis)
    at = np.unravel_index(int(find(block)), block.shape)
    position = [int(i) + start for i, (start, _) in zip(at, region, strict=True)]
    flat = int(np.ravel_multi_index(position, term.children[0].shape)) if position else 0
    return np.asarray(flat), block[at]


class Accumulator:
    """Takes in the reduced blocks of an array, in any order, and gives the result of a reduction.

    It works element by element on what is left of each block; blocks themselves are reduced elsewhere.
    """

    def __init__(self, term: ReduceTerm) -> None:
        self._term = term
        self._shape = term.kept_shape
        self._seen = np.zeros(self._shape, bool)
        self._result = np.zeros(self._shape, kept_dtype(term))
        moments = term.function in ("var", "std")
        self._squares = np.zeros(self._shape, np.float64) if moments else None
        self._count = np.zeros(self._shape, np.int64)
        self._best = np.zeros(self._shape, term.children[0].dtype) if term.function in ("argmin", "argmax") else None

    def add(self, region: Region, parts: Sequence[Array]) -> None:
        """Take in what `reduce_block` made of a region of the array. Blocks; one at a time."""
        where = tuple(slice(0, 1) if axis in self._term.axes else slice(*bounds) for axis, bounds in enumerate(region))
        added = prod(stop - start for axis, (start, stop) in enumerate(region) if axis in self._term.axes)
        function = self._term.function
        with np.errstate(all="ignore"):
            if function == "mean":
                self._result[where] += parts[0]
            elif function in _COMBINE:
                self._combine(where, parts[0])
            elif function in ("var", "std"):
                self._merge_moments(where, added, parts[0], parts[1])
            else:
                self._merge_best(where, parts[0], parts[1])
        self._seen[where] = True
        self._count[where] += added

    def _combine(self, where: tuple[slice, ...], part: Array) -> None:
        known = self._result[where]
        self._result[where] = np.where(self._seen[where], _COMBINE[self._term.function](known, part), part)

    def _merge_moments(self, where: tuple[slice, ...], added: int, mean: Array, squares: Array) -> None:
        """Merge mean and sum of squared deviations (Chan, Golub, LeVeque 1983), which loses no digits."""
        assert self._squares is not None
        count = self._count[where]
        delta = mean - self._result[where]
        total = count + added
        self._squares[where] += squares + np.abs(delta) ** 2 * count * added / total
        self._result[where] += delta * added / total

    def _merge_best(self, where: tuple[slice, ...], index: Array, value: Array) -> None:
        assert self._best is not None
        known, seen = self._best[where], self._seen[where]
        before = self._result[where]
        is_nan = np.isnan(value) if value.dtype.kind in "fc" else np.zeros(value.shape, bool)
        was_nan = np.isnan(known) if known.dtype.kind in "fc" else np.zeros(known.shape, bool)
        better = ((value > known) if self._term.function == "argmax" else (value < known)) & ~was_nan
        same = (value == known) | (is_nan & was_nan)
        take = ~seen | better | (is_nan & ~was_nan) | (same & (index < before))
        self._best[where] = np.where(take, value, known)
        self._result[where] = np.where(take, index, before)

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
