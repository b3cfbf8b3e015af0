"""Expressions computed block by block are what numpy computes at once (U2)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from caterva2.errors import InvalidExpression
from caterva2_subscriber.compute import language, terms
from caterva2_subscriber.compute.blocks import block_shape, regions
from caterva2_subscriber.compute.reductions import Accumulator, reduce_block
from caterva2_subscriber.compute.terms import Array, ArrayType, ReduceTerm, Term

OPERANDS = {
    "a": np.linspace(-3, 4.1, 35).reshape(5, 7),
    "n": np.arange(-3, 4),
    "f": np.array([[1.5], [np.nan], [-2.0], [0.0], [np.inf]], np.float32),
    "s": np.array(2.5),
    "u": np.arange(35, dtype=np.uint8).reshape(5, 7),
}
NAMES = {
    **{
        name: getattr(np, name) for name in ("sqrt", "sin", "abs", "isnan", "sum", "mean", "min", "max", "std", "where")
    },
    **OPERANDS,
}

leaves = st.sampled_from([*OPERANDS, "a[1:4]", "a[::-1]", "n[2:]", "a[0]", "1", "2.5", "-3"])


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "//", "%", ">", "==", "!="]), inner),
        st.builds("{}({})".format, st.sampled_from(["sqrt", "sin", "abs", "isnan"]), inner),
        st.builds("(-{})".format, inner),
        st.builds("({} ** {})".format, st.sampled_from(["a", "f", "s"]), st.sampled_from(["2", "-1", "0.5"])),
        st.builds("where({} > 0, {}, {})".format, inner, inner, inner),
        st.builds("{}({})".format, st.sampled_from(["sum", "mean", "min", "max", "std"]), inner),
        st.builds("{}({}, axis={})".format, st.sampled_from(["sum", "max"]), inner, st.sampled_from(["0", "-1"])),
    )


expressions = st.recursive(leaves, combined, max_leaves=8)


def blockwise(term: Term, block: int) -> Array:
    """Evaluate as the service does, with blocks of at most `block` elements along each axis."""
    values: dict[ReduceTerm, Array] = {}
    for reduction in term.reductions():
        argument = reduction.children[0]
        accumulator = Accumulator(reduction)
        for region in regions(argument.shape, tuple(min(block, max(n, 1)) for n in argument.shape)):
            accumulator.add(region, reduce_block(reduction, region, piece(argument, region, values)))
        values[reduction] = accumulator.result()
    found = np.empty(term.shape, term.dtype)
    for region in regions(term.shape, tuple(min(block, max(n, 1)) for n in term.shape)):
        found[(*(slice(*bounds) for bounds in region), ...)] = piece(term, region, values)
    return found


def piece(term: Term, region: terms.Region, values: Any) -> Array:
    arrays = [selected(OPERANDS[read.name], read.selection) for read in term.reads(region)]
    return terms.compute(term, region, arrays, values)


def selected(array: Array, selection: Any) -> Array:
    box = tuple(slice(axis.start, axis.stop, axis.step) for axis in selection.axes)
    return np.asarray(array[(*box, ...)][(*selection.finish, ...)])


@given(expressions, st.integers(1, 4))
@example("where(a > 0, a, n)", 1)
@example("sum(a - mean(a, axis=0))", 2)
@example("std(u)", 3)
@example("max(f, axis=0)", 2)
def test_u2_blockwise_results_equal_those_of_numpy(text: str, block: int) -> None:
    try:
        term = terms.bind(language.parse(text), {name: ArrayType(a.shape, a.dtype) for name, a in OPERANDS.items()})
    except InvalidExpression:
        return
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = np.asarray(eval(text, {"__builtins__": {}}, NAMES))
        except (ValueError, TypeError, ZeroDivisionError, OverflowError):
            return
        found = blockwise(term, block)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), text
    if expected.dtype.kind in "fc":
        scale = np.max(np.abs(expected[np.isfinite(expected)]), initial=1.0)
        tolerance = 1e-2 if expected.dtype.itemsize == 2 else 1e-5
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale)
    else:
        np.testing.assert_array_equal(found, expected)


reducible = st.sampled_from(
    [
        np.arange(24).reshape(2, 3, 4),
        np.array([[1.5, np.nan, 2.5], [1.5, -1.0, 2.5]]),
        np.array([[True, False], [True, True]]),
        np.arange(12, dtype=np.int8).reshape(3, 4) * 17,
        np.array([3, 1, 1, 3]),
        np.array([1 + 2j, 3 - 1j]),
        np.array(5.0),
        np.zeros((0, 3)),
    ]
)


@given(
    reducible,
    st.sampled_from(sorted(language.REDUCERS)),
    st.sampled_from(["", ", axis=0", ", axis=-1", ", axis=(0, 1)", ", axis=0, keepdims=True"]),
    st.integers(1, 3),
)
def test_reductions_equal_those_of_numpy(array: Array, function: str, axis: str, block: int) -> None:
    text = f"{function}(x{axis})"
    try:
        term = terms.bind(language.parse(text), {"x": ArrayType(array.shape, array.dtype)})
    except InvalidExpression:
        return
    assert isinstance(term, ReduceTerm)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.asarray(eval(f"np.{text}", {"np": np, "x": array}))
        accumulator = Accumulator(term)
        for region in regions(array.shape, tuple(min(block, max(n, 1)) for n in array.shape)):
            block_of_array = array[tuple(slice(*bounds) for bounds in region)]
            accumulator.add(region, reduce_block(term, region, block_of_array))
        found = accumulator.result()
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    if expected.dtype.kind in "fc":
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    else:
        np.testing.assert_array_equal(found, expected)


@given(
    st.lists(st.integers(0, 40), min_size=0, max_size=3),
    st.lists(st.integers(1, 50), min_size=3, max_size=3),
    st.integers(1, 16),
)
def test_blocks_cover_an_array_exactly_once(shape: list[int], chunks: list[int], itemsize: int) -> None:
    seen = np.zeros(shape, int)
    block = block_shape(tuple(shape), tuple(chunks[: len(shape)]), itemsize)
    for region in regions(tuple(shape), block):
        seen[tuple(slice(*bounds) for bounds in region)] += 1
    assert (seen == 1).all()
