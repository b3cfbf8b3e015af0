"""Arrays of every kind of element, for property tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

DTYPES = [
    "?",
    "i1",
    "u1",
    "<i2",
    ">i4",
    "<u8",
    "<f2",
    "<f4",
    ">f8",
    "<c8",
    "<c16",
    "S1",
    "S7",
    "<U3",
    ">U2",
    "<M8[s]",
    "<m8[ms]",
    "V5",
    "[('a', '<i4'), ('b', '>f8'), ('c', 'S10'), ('d', '?')]",
    "[('x', '<f4', (2, 3)), ('y', 'S300')]",
    "('<f8', (4,))",
]


@st.composite
def arrays(draw: st.DrawFn, *, max_side: int = 9, max_ndim: int = 4) -> tuple[np.ndarray[Any, Any], np.dtype[Any]]:
    """Draw an array of `storage_dtype` elements and the dtype that they are."""
    from caterva2_formats.dtypes import parse_dtype, storage_dtype

    dtype = parse_dtype(draw(st.sampled_from(DTYPES)))
    shape = tuple(draw(st.lists(st.integers(0, max_side), max_size=max_ndim)))
    size = int(np.prod(shape)) * dtype.itemsize
    seed = draw(st.integers(0, 2**32 - 1))
    few = draw(st.sampled_from([1, 2, 100]))
    raw = np.random.default_rng(seed).integers(0, few, size, dtype=np.uint8)
    return raw.view(storage_dtype(dtype)).reshape(shape), dtype


@st.composite
def partitions(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Draw chunks and blocks for a shape."""
    chunks = tuple(draw(st.integers(1, n)) if n else 0 for n in shape)
    blocks = tuple(draw(st.integers(1, c)) if c else 0 for c in chunks)
    return chunks, blocks


@st.composite
def keys(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Draw a basic index that fits a shape."""
    bounds = st.one_of(st.none(), st.integers(-12, 12))
    steps = st.one_of(st.none(), st.integers(1, 4), st.integers(-4, -1))
    items: list[Any] = []
    for n in shape:
        whole = st.builds(slice, bounds, bounds, steps)
        items.append(draw(st.one_of(whole, st.integers(-n, n - 1)) if n else whole))
    return (*items, ...)


def same(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    """Compare shapes and bytes: NaNs and padding included."""
    return left.shape == right.shape and left.tobytes() == right.tobytes()
