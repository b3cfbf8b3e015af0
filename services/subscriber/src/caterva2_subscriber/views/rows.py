"""Which rows of a table fit a condition, and in which order they are shown."""

from __future__ import annotations

from typing import Any

import numpy as np

from caterva2.errors import InvalidField

from ..compute.filters import mask_of

Array = np.ndarray[Any, Any]


def order_of(table: Array, condition: str | None, sort: str | None) -> Array:
    """Return the places of the rows that fit, in the order asked for.

    Parameters
    ----------
    table
        Shape ``(n,)``, records.
    condition
        Expression over the fields, ``(energy > 3) & valid``; None for all rows.
    sort
        Name of a field, with ``-`` before it for the largest first; rows that are equal keep their order.

    Raises
    ------
    InvalidField
        If there is no such field, or it has no order, or the condition is none.
    """
    places: Array = np.flatnonzero(mask_of(condition, table)) if condition else np.arange(len(table))
    if not sort:
        return places
    name, descending = (sort[1:], True) if sort.startswith("-") else (sort, False)
    names = table.dtype.names or ()
    if name not in names:
        raise InvalidField(f"the table has no field {name!r}; it has {', '.join(names)}")
    values = table[name][places]
    if values.ndim != 1 or values.dtype.kind == "V":
        raise InvalidField(f"rows cannot be sorted by {name}")
    order = np.argsort(values, kind="stable")
    if descending:
        # Reversing alone would also turn the order of equal rows round.
        order = len(values) - 1 - np.argsort(values[::-1], kind="stable")[::-1]
    return places[order]
