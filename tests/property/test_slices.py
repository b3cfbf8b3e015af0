"""Selections compared with numpy's basic indexing."""

from typing import Any

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caterva2.errors import InvalidSlice
from caterva2.slices import as_key, format_key, parse_slice, select

shapes = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7)


@st.composite
def cases(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], Any]:
    shape = draw(shapes)
    chunks = tuple(draw(st.integers(1, max(1, n))) for n in shape)
    key = draw(npst.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    return shape, chunks, key


@given(cases())
def test_parts_of_chunks_assemble_to_what_numpy_gives(case: tuple[tuple[int, ...], tuple[int, ...], Any]) -> None:
    shape, chunks, key = case
    array = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    expected = array[key]
    selection = select(format_key(key), shape)
    assert selection.shape == expected.shape
    grid = tuple(-(-n // c) for n, c in zip(shape, chunks, strict=True))
    box = np.full(selection.box, -1)
    for part in selection.parts(chunks):
        coordinates = np.unravel_index(part.nchunk, grid) if grid else ()
        chunk = np.full(chunks, -2)
        inside = array[tuple(slice(c * k, c * (k + 1)) for k, c in zip(coordinates, chunks, strict=True))]
        chunk[tuple(slice(0, n) for n in inside.shape)] = inside
        box[part.target] = chunk[part.source]
    np.testing.assert_array_equal(box[selection.finish], expected)


@given(cases())
def test_text_of_a_slice_means_the_same_slice(case: tuple[tuple[int, ...], tuple[int, ...], Any]) -> None:
    key = case[2]
    assert parse_slice(format_key(key)) == as_key(key)


@pytest.mark.parametrize("text", ["a", "1:2:3:4", "1,,2", "1,", "(1)", "::0", "1.5", "x:", "9" * 20])
def test_what_is_no_slice_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(InvalidSlice, match=r"\w+ \w+"):
        parse_slice(text)


@pytest.mark.parametrize("key", [(5,), (-6,), (0, 0), (..., ...)])
def test_what_does_not_fit_the_shape_is_refused(key: Any) -> None:
    with pytest.raises(InvalidSlice):
        select(key, (5,))
