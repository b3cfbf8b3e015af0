"""What is made for browsers, against numpy."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from caterva2.errors import InvalidSlice
from caterva2.slices import select
from caterva2_formats.envelope import envelope, step_for
from caterva2_formats.pyramid import level_shape, reduce_mean, top_level
from caterva2_subscriber.views.encoding import browser_dtype, describe_dtype, to_bytes, value_range
from caterva2_subscriber.views.export import as_csv, as_npy
from caterva2_subscriber.views.planes import SAMPLE_ELEMENTS, sample
from caterva2_subscriber.views.statistics import describe

PADDED = np.dtype({"names": ["a", "b"], "formats": ["<i2", ">f8"], "offsets": [4, 16], "itemsize": 32})
TABLE = np.array([(1, 0.5, b"x"), (2, -1.0, b"y"), (3, 0.5, b"z")], [("n", "<i4"), ("v", "<f8"), ("c", "S4")])


@pytest.mark.parametrize(
    ("dtype", "described"),
    [
        (np.dtype(">f4"), '"<f4"'),
        (np.dtype("f2"), '"<f4"'),
        (np.dtype("longdouble"), '"<f8"'),
        (np.dtype("M8[us]"), '"<M8[us]"'),
        (np.dtype(">U3"), '"<U3"'),
        (np.dtype("?"), '"|b1"'),
        (PADDED, '[["a","<i2"],["b","<f8"]]'),
        (np.dtype([("p", "<f4", (3,)), ("q", [("r", "u1")])]), '[["p","<f4",[3]],["q",[["r","|u1"]]]]'),
    ],
)
def test_browsers_get_dtypes_that_they_can_read(dtype: np.dtype[Any], described: str) -> None:
    assert describe_dtype(browser_dtype(dtype)) == described


@given(hnp.arrays(st.sampled_from(["<u2", "<f8", "<c8", "|S5"]), hnp.array_shapes(max_side=60)))
def test_shuffled_bytes_hold_the_same_elements(array: np.ndarray[Any, Any]) -> None:
    raw, shuffled = to_bytes(array, shuffle=True)
    if shuffled:
        raw = np.frombuffer(raw, np.uint8).reshape(array.dtype.itemsize, -1).T.tobytes()
    assert raw == array.tobytes()


def test_packing_a_padded_record_keeps_its_values() -> None:
    records = np.zeros(5, PADDED)
    records["a"], records["b"] = np.arange(5), np.linspace(0, 1, 5)
    packed = records.astype(browser_dtype(PADDED))
    assert packed.dtype.itemsize == 10
    np.testing.assert_array_equal(packed["b"], np.linspace(0, 1, 5))


def test_the_range_leaves_out_what_is_not_a_number() -> None:
    assert value_range(np.array([np.nan, 2.0, np.inf, -1.0])) == (-1.0, 2.0)
    assert value_range(np.array([np.nan])) is None
    assert value_range(np.array([3 + 4j])) == (5.0, 5.0)
    assert value_range(np.array([b"text"])) is None


@given(st.lists(st.floats(width=32, allow_infinity=False), min_size=1, max_size=300), st.integers(1, 40))
def test_an_envelope_keeps_every_extreme(values: list[float], step: int) -> None:
    line = np.array(values, "f4")
    pairs = envelope(line, step)
    groups = [line[start : start + step] for start in range(0, len(line), step)]
    expected = [(np.fmin.reduce(group), np.fmax.reduce(group)) for group in groups]
    np.testing.assert_array_equal(pairs, np.array(expected, "f4"))


def test_few_values_are_sent_as_they_are() -> None:
    assert step_for(4800, 2400) == 1
    assert step_for(4801, 2400) == 3


@given(
    hnp.arrays("f8", st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.floats(-1e6, 1e6)),
    st.integers(1, 4),
)
def test_a_pixel_of_a_level_is_the_mean_of_its_square(picture: np.ndarray[Any, Any], level: int) -> None:
    side = 2**level
    reduced = reduce_mean(picture, level)
    assert reduced.shape == level_shape(picture.shape, level)  # type: ignore[arg-type]
    for row in range(reduced.shape[0]):
        for column in range(reduced.shape[1]):
            square = picture[row * side : (row + 1) * side, column * side : (column + 1) * side]
            assert reduced[row, column] == pytest.approx(square.mean(), rel=1e-9, abs=1e-6)


def test_means_leave_out_nan_and_keep_the_dtype() -> None:
    picture = np.array([[1, np.nan], [3, np.nan]], "f4")
    assert reduce_mean(picture, 1).tolist() == [[2.0]]
    counts = np.array([[1, 2], [2, 2]], "u2")
    assert reduce_mean(counts, 1).dtype == np.uint16
    assert reduce_mean(counts, 1).tolist() == [[2]]
    assert top_level((16384, 16384)) == 5


def test_statistics_are_those_of_numpy() -> None:
    values = np.random.default_rng(1).normal(10, 3, 20_000)
    found = describe(np.append(values, [np.nan, np.inf]), approximate=False)
    assert (found["count"], found["nonfinite"], found["approx"]) == (20_000, 2, False)
    assert found["mean"] == pytest.approx(values.mean())
    assert found["std"] == pytest.approx(values.std())
    assert [found["p_low"], found["p_high"]] == pytest.approx(np.percentile(values, [0.5, 99.5]))
    assert sum(found["histogram"]["counts"]) == 20_000
    json.dumps(found, allow_nan=False)


def test_statistics_of_nothing_are_said_to_be_none() -> None:
    found = describe(np.array([np.nan]), approximate=False)
    assert (found["count"], found["min"], found["histogram"]) == (0, None, None)


@pytest.mark.parametrize("greatest", [1e300, 1.7e308])
def test_statistics_of_the_greatest_numbers_can_be_sent(greatest: float) -> None:
    found = describe(np.linspace(-greatest / 2, greatest / 2, 400) * 2, approximate=False)
    assert (found["min"], found["max"], found["std"]) == (-greatest, greatest, None)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    "values",
    [
        np.abs(np.exp(1j * np.linspace(0, 6, 600))),
        np.nextafter(np.ones(5, "f4"), np.arange(5, dtype="f4")),
        np.array([2**53, 2**53 + 2]),
        np.array([0.0, 5e-324]),
    ],
    ids=["rounded", "single", "integers", "denormal"],
)
def test_values_that_are_nearly_the_same_have_a_histogram(values: Any) -> None:
    found = describe(values, approximate=False)
    assert (found["min"], found["max"]) == (values.min(), values.max())
    assert found["min"] < found["max"]
    assert sum(found["histogram"]["counts"]) == values.size


def test_large_selections_are_described_by_a_sample() -> None:
    stack = select(":", (400, 512, 512))
    chosen, approximate = sample(stack, (1, 512, 512))
    assert approximate
    assert chosen.size <= SAMPLE_ELEMENTS
    assert chosen.axes[0].step > 1
    small = select(":", (100,))
    assert sample(small, (10,)) == (small, False)


def test_exported_arrays_are_read_back_by_others() -> None:
    array = np.arange(6, dtype=">i4").reshape(2, 3)
    np.testing.assert_array_equal(np.load(io.BytesIO(as_npy(array))), array)
    assert as_csv(array) == b"0,1,2\n3,4,5\n"
    assert as_csv(TABLE).decode().splitlines()[:2] == ["n,v,c", "1,0.5,x"]


def test_u1_text_in_a_spreadsheet_is_never_a_formula() -> None:
    assert as_csv(np.array([b"=1+1", b"-3"])).decode().splitlines() == ["'=1+1", "'-3"]
    assert as_csv(np.array([-3])) == b"-3\n"


def test_a_slice_that_does_not_fit_is_an_error_with_a_sentence() -> None:
    with pytest.raises(InvalidSlice, match="out of bounds"):
        select("9", (3,))
