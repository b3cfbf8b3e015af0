"""A large array is printed as numpy prints it, from what is shown alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from caterva2.cli.corners import corners_of
from caterva2.slices import format_key

DTYPES = ["i4", ">f8", "c16", "?", "U3", "S5", "M8[s]", [("a", "i4"), ("b", "f8")]]


@given(data=st.data())
def test_corners_print_as_the_whole(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=40))
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    numbers = np.random.default_rng(data.draw(st.integers(0, 9))).integers(0, 100, shape)
    array = np.zeros(shape, dtype)
    if dtype.names:
        array["a"] = array["b"] = numbers
    else:
        array[...] = numbers.astype("i8").astype(dtype) if dtype.kind == "M" else numbers.astype(dtype)
    key = data.draw(hnp.basic_indices(shape))
    corners = corners_of(format_key(key), shape)
    whole = array[key]
    assert (corners is None) == (whole.size <= 1000)
    if corners is not None:
        assert corners.shape == whole.shape
        assert corners.text(array[corners.key]) == str(whole)


def test_arrays_whose_elements_are_arrays():
    array = np.arange(8000.0).reshape(2000, 4)
    corners = corners_of(None, (2000,))
    assert corners.text(array[corners.key]) == str(array)


def test_new_axes_are_left_to_numpy():
    assert corners_of("None, :", (2000,)) is None
