"""Rows of structured arrays that fulfil a condition."""

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
from .terms import Array, ArrayType, Region, Term

MAX_TESTED_BYTES = 64 * 2**30


async def select_rows(resource: Resource, condition: str, threads: Threads) -> Array:
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
    term = condition_term(condition, dtype)
    found: list[Array] = []
    size = 0

    async def matching(region: Region) -> Array:
        key = tuple(slice(*bounds) for bounds in region)
        rows = np.asarray(await resource.read(select(key, layout.shape)))
        return await threads.run(_matching, term, rows)

    async with aclosing(ahead(matching, _slabs(layout))) as slabs:
        async for _, rows in slabs:
            size += rows.nbytes
            if size > MAX_READ_BYTES:
                raise TooLarge(f"more than {MAX_READ_BYTES} bytes fulfil the condition; ask for less")
            if len(rows):
                found.append(rows)
    return np.concatenate(found) if found else np.empty(0, dtype)


async def filtered(
    resource: Resource, condition: str, field: str | None, slice_: str | None, threads: Threads
) -> Array:
    """Return the rows that fulfil a condition, or one field of them, and of that what a slice selects.

    Raises
    ------
    InvalidField, InvalidSlice, TooLarge
    """
    rows = await select_rows(resource, condition, threads)
    if field:
        if field not in (rows.dtype.names or ()):
            raise InvalidField(f"{resource.path} has no field '{field[:80]}'")
        rows = rows[field]
    key = parse_slice(slice_)
    select(key, rows.shape)  # says what is wrong with a slice that does not fit
    return np.asarray(rows[(*key, ...)] if Ellipsis not in key else rows[key])


def condition_term(condition: str, dtype: np.dtype[Any]) -> Term:
    """Return the tree of a condition over the fields of a structured type. Raises InvalidField."""
    fields: Mapping[str, Any] = dtype.fields or {}
    try:
        node = language.parse(condition)
        unknown = sorted(language.names_in(node) - fields.keys())
        if unknown:
            raise InvalidField(f"there is no field '{unknown[0][:80]}'; the fields are {', '.join(dtype.names or ())}")
        kinds = {name: ArrayType((1,), fields[name][0]) for name in language.names_in(node)}
        term = terms.bind(node, kinds)
    except InvalidExpression as error:
        raise InvalidField(f"the filter '{condition[:80]}' is wrong: {error}") from None
    if term.dtype != np.dtype(bool) or any(True for _ in term.reductions()):
        raise InvalidField(f"the filter '{condition[:80]}' is not a condition that is true or false for each row")
    return term


def mask_of(condition: str, rows: Array) -> Array:
    """Tell for each record of a flat array whether a condition over its fields holds. Raises InvalidField."""
    return _mask(condition_term(condition, rows.dtype), rows)


def _mask(term: Term, flat: Array) -> Array:
    arrays = [flat[read.name] for read in term.reads(((0, 1),))]
    return np.asarray(terms.compute(term, ((0, len(flat)),), arrays, {}))


def _matching(term: Term, rows: Array) -> Array:
    flat = rows.reshape(-1)
    return flat[_mask(term, flat)]


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
