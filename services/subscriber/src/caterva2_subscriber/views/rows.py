"""Which rows of a table fit a condition, and in which order they are shown."""

from __future__ import annotations

from typing import Any

import numpy as np

from caterva2.errors import InvalidField
from caterva2_service.threads import Threads

from ..compute.filters import places_of
from ..compute.workers import Workers

Array = np.ndarray[Any, Any]


async def order_of(table: Array, condition: str | None, sort: str | None, workers: Workers, threads: Threads) -> Array:
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
    TooLarge
        If it takes too long or too much memory.
    """
    name, descending = (sort[1:], True) if sort and sort.startswith("-") else (sort, False)
    if name:
        _check_sortable(table, name)
    places = await places_of(table, condition or None, workers, threads)
    if not name or not len(places):
        return places
    values = await threads.run(lambda: table[name][places])
    question = {"sort": str(values.dtype), "descending": descending}
    order = np.frombuffer(await workers.evaluate(question, [values], len(values) * 8), np.int64)
    # What a confined process says is not trusted to be places of this table.
    return await threads.run(lambda: places.take(order, mode="clip"))


def _check_sortable(table: Array, name: str) -> None:
    names = table.dtype.names or ()
    if name not in names:
        raise InvalidField(f"the table has no field {name!r}; it has {', '.join(names)}")
    field = table.dtype[name]
    if field.subdtype is not None or field.kind == "V":
        raise InvalidField(f"rows cannot be sorted by {name}")
