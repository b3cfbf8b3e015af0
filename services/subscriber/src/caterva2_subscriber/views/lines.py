"""Long lines: their envelopes of their publishers where that moves less, else made here."""

from __future__ import annotations

from typing import Any, Protocol, cast

import numpy as np

from caterva2.slices import Selection
from caterva2_formats.dtypes import parse_dtype
from caterva2_formats.envelope import Envelope, Line
from caterva2_service.threads import Threads

from ..library import Resource

Array = np.ndarray[Any, Any]


class _HasEnvelopes(Protocol):
    """A resource whose publisher can make envelopes, so that its chunks need not cross the link."""

    async def envelope(self, line: Line) -> Array | None: ...


async def envelope_of(resource: Resource, selection: Selection, axis: int, step: int, threads: Threads) -> Array:
    """Return minimum and maximum of every `step` values of a line.

    Parameters
    ----------
    selection
        All axes are dropped but `axis`. One that is flipped is walked upwards, and turned round at the end.

    Returns
    -------
    Array
        Shape ``(pairs, 2)``, dtype of the values.
    """
    assert resource.layout is not None
    chosen = selection.axes[axis]
    at = tuple(other.start for i, other in enumerate(selection.axes) if i != axis)
    line = Line(axis, at, chosen.start, chosen.step, chosen.count, step)
    pairs = await cast(_HasEnvelopes, resource).envelope(line) if hasattr(resource, "envelope") else None
    if pairs is None:
        found = Envelope(line, parse_dtype(resource.layout.dtype))
        for first, piece in line.blocks(resource.layout):
            await threads.run(found.add, first, await resource.read(piece))
        pairs = found.pairs
    return np.ascontiguousarray(pairs[::-1]) if chosen.flipped else pairs
