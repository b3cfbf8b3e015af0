"""Rows of structured arrays that fulfil a condition, which confined processes evaluate (U2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import aclosing
from math import prod
from typing import Any

import numpy as np

from caterva2.errors import InvalidExpression, InvalidField, TooLarge
from caterva2.slices import parse_slice, select
from caterva2_formats.base import Layout
from caterva2_formats.dtypes import parse_dtype
from caterva2_service.threads import Threads

from ..library import Resource
from ..reading import MAX_READ_BYTES
from . import language, terms
from .blocks import TARGET_BYTES, ahead
from .terms import Array, ArrayType, Dtype, Region
from .workers import Workers

MAX_TESTED_BYTES = 64 * 2**30


async def select_rows(resource: Resource, condition: str, workers: Workers, threads: Threads) -> Array:
    """Return the elements of a structured array for which a condition over its fields holds, in C order.

    Parameters
    ----------
    condition
        Expression over the names of fields, such as ``(a < 5) & flag``.

    Raises
    ------
    InvalidField
        If the array has no fields, or the condition does not fit them.
    TooLarge
    """
    layout = resource.layout
    dtype = parse_dtype(layout.dtype) if layout is not None else None
    if layout is None or dtype is None or dtype.fields is None:
        raise InvalidField(f"{resource.path} has no fields to filter by")
    if layout.nbytes > MAX_TESTED_BYTES:
        raise TooLarge(f"tables up to {MAX_TESTED_BYTES} bytes are filtered; this one has {layout.nbytes}")
    holds = Condition(condition, dtype, workers)
    found: list[Array] = []
    size = 0

    async def matching(region: Region) -> Array:
        key = tuple(slice(*bounds) for bounds in region)
        rows = np.asarray(await resource.read(select(key, layout.shape))).reshape(-1)
        mask = await holds.mask(rows)
        return await threads.run(lambda: rows[mask])

    async with aclosing(ahead(matching, _slabs(layout))) as slabs:
        async for _, rows in slabs:
            size += rows.nbytes
            if size > MAX_READ_BYTES:
                raise TooLarge(f"more than {MAX_READ_BYTES} bytes fulfil the condition; ask for less")
            if len(rows):
                found.append(rows)
    return np.concatenate(found) if found else np.empty(0, dtype)


async def filtered(
    resource: Resource, condition: str, field: str | None, slice_: str | None, workers: Workers, threads: Threads
) -> Array:
    """Return the rows that fulfil a condition, or one field of them, and of that what a slice selects.

    Raises
    ------
    InvalidField, InvalidSlice, TooLarge
    """
    rows = await select_rows(resource, condition, workers, threads)
    if field:
        if field not in (rows.dtype.names or ()):
            raise InvalidField(f"{resource.path} has no field '{field[:80]}'")
        rows = rows[field]
    key = parse_slice(slice_)
    select(key, rows.shape)  # says what is wrong with a slice that does not fit
    return np.asarray(rows[(*key, ...)] if Ellipsis not in key else rows[key])


class Condition:
    """A condition over the fields of records.

    Parameters
    ----------
    text
        Expression over the names of fields.
    dtype
        Structured type of the records.

    Raises
    ------
    InvalidField
        If it is no condition, or does not fit the fields.
    """

    def __init__(self, text: str, dtype: Dtype, workers: Workers) -> None:
        self._text = text
        self._workers = workers
        fields: Mapping[str, Any] = dtype.fields or {}
        try:
            node = language.parse(text)
            unknown = sorted(language.names_in(node) - fields.keys())
            if unknown:
                names = ", ".join(dtype.names or ())
                raise InvalidField(f"there is no field '{unknown[0][:80]}'; the fields are {names}")
            # One row stands for all of them: what is elementwise gives as many as it is given.
            self._kinds = {name: ArrayType((1,), fields[name][0]) for name in language.names_in(node)}
            self._term = terms.bind(node, self._kinds)
        except InvalidExpression as error:
            raise self._wrong(error) from None
        if self._term.dtype != np.dtype(bool) or any(True for _ in self._term.reductions()):
            raise InvalidField(f"the filter '{text[:80]}' is not a condition that is true or false for each row")

    def _wrong(self, error: InvalidExpression) -> InvalidField:
        return InvalidField(f"the filter '{self._text[:80]}' is wrong: {error}")

    async def mask(self, rows: Array) -> Array:
        """Tell for each record of a flat array whether the condition holds. Raises InvalidField, TooLarge."""
        if not len(rows):
            return np.zeros(0, bool)
        region = ((0, len(rows)),)
        question = {
            "expression": self._text,
            "operands": {name: (kind.shape, str(kind.dtype)) for name, kind in self._kinds.items()},
            "reduce": None,
            "region": region,
        }
        arrays = [rows[read.name] for read in self._term.reads(region)]
        try:
            found = await self._workers.evaluate(question, arrays, len(rows))
        except InvalidExpression as error:
            raise self._wrong(error) from None
        return np.asarray(np.frombuffer(found, np.uint8) != 0)


async def places_of(table: Array, condition: str | None, workers: Workers, threads: Threads) -> Array:
    """Return the places of the records of a flat array for which a condition holds; all of them for None.

    Raises
    ------
    InvalidField, TooLarge
    """
    if condition is None:
        return await threads.run(lambda: np.arange(len(table)))
    holds = Condition(condition, table.dtype, workers)
    step = max(1, TARGET_BYTES // max(1, table.dtype.itemsize))
    slabs = ((start, start + step) for start in range(0, len(table), step))

    async def matching(bounds: tuple[int, int]) -> Array:
        mask = await holds.mask(table[slice(*bounds)])
        return await threads.run(lambda: np.flatnonzero(mask) + bounds[0])

    async with aclosing(ahead(matching, slabs)) as pieces:
        found = [places async for _, places in pieces]
    return await threads.run(lambda: np.concatenate([np.empty(0, np.int64), *found]))


def _slabs(layout: Layout) -> Iterator[Region]:
    """Yield slabs along the first axis, whole chunks at a time."""
    if not layout.shape:
        yield ()
        return
    rest = tuple((0, n) for n in layout.shape[1:])
    row = max(1, prod(layout.shape[1:]) * layout.typesize)
    chunk = max(1, layout.chunks[0])
    step = max(1, TARGET_BYTES // row)
    step = max(chunk, step // chunk * chunk) if chunk * row <= 8 * TARGET_BYTES else step
    for start in range(0, layout.shape[0], step):
        yield ((start, min(start + step, layout.shape[0])), *rest)
