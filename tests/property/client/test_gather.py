"""Indexing with lists, arrays and masks means what it means for numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from caterva2._gather import Gather, gather, has_arrays
from caterva2.errors import InvalidSlice


def block_of(found: Gather, array: np.ndarray) -> np.ndarray:
    """Fetch the block as a server would: the product of the selections of all axes."""
    every = [np.arange(length) for length in array.shape]
    chosen = [axis if isinstance(axis, slice) else list(axis) for axis in found.axes]
    return array[np.ix_(*(indices[axis] for indices, axis in zip(every, chosen, strict=True)))]


@st.composite
def keys(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=7))
    items = []
    lists = draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=4))
    for length in shape:
        kind = draw(st.sampled_from(["slice", "int", "list", "mask", "stop"]))
        if kind == "stop":
            break
        if kind == "slice":
            items.append(draw(st.slices(length)))
        elif kind == "int":
            items.append(draw(st.integers(-length, length - 1)))
        elif kind == "list":
            items.append(draw(hnp.arrays(np.int64, lists or (2,), elements=st.integers(-length, length - 1))))
        else:
            items.append(draw(hnp.arrays(bool, (length,))))
        if draw(st.integers(0, 6)) == 0:
            items.append(None)
    return shape, tuple(items)


@given(keys())
def test_arranging_a_block_gives_what_numpy_gives(case):
    shape, key = case
    array = np.arange(np.prod(shape)).reshape(shape)
    try:
        expected = array[key]
    except IndexError:  # masks and lists that cannot be broadcast together
        found = gather(key, shape)
        with pytest.raises(IndexError):
            _ = block_of(found, array)[found.arrange]
        return
    found = gather(key, shape)
    block = block_of(found, array)
    assert block.shape == found.shape
    np.testing.assert_array_equal(block[found.arrange], expected)
    np.testing.assert_array_equal(found.crop(array[found.covering]), block)


def test_a_mask_over_several_axes():
    array = np.arange(24).reshape(4, 6)
    found = gather(array % 5 == 0, array.shape)
    np.testing.assert_array_equal(block_of(found, array)[found.arrange], array[array % 5 == 0])


def test_indices_far_apart_are_asked_for_one_by_one_and_near_ones_as_a_slice():
    assert gather([3, 900, 3], (1000,)).indices == "[[3, 900]]"
    assert gather(([5, 4, 6], slice(0, 4)), (1000, 9)).indices is None


MASK = np.ones(3, bool)


@pytest.mark.parametrize(
    "key", [[10], [-11], ([0], [0]), [0.5], [True], ["a"], MASK, (..., MASK), True, (..., [0], ...), [[1], [1, 2]]]
)
def test_keys_that_numpy_refuses_are_refused(key):
    with pytest.raises(InvalidSlice):
        gather(key, (10,))


def test_a_block_out_of_all_proportion_is_refused():
    far = list(range(0, 10**8, 1000))
    with pytest.raises(InvalidSlice, match="ask for fewer"):
        gather((far, far), (10**8, 10**8))


@pytest.mark.parametrize(
    ("key", "expected"), [(3, False), (slice(3), False), ([1], True), ((0, [1]), True), (None, False)]
)
def test_basic_keys_are_told_from_others(key, expected):
    assert has_arrays(key) is expected
