"""Blocks of chunks against numpy, and against what a liar could send."""

from __future__ import annotations

from typing import Any

import blosc2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caterva2.errors import UnsafeContent
from caterva2.slices import ChunkPart, Selection, select
from caterva2_formats.base import Layout
from caterva2_formats.chunks import check_chunk, pack_chunk, read_header
from caterva2_formats.dtypes import parse_dtype, storage_dtype
from caterva2_formats.frames import array_layout
from caterva2_formats.parts import LARGEST_SHARE, block_numbers, check_part, cut_part, part_nchunk, read_blocks

from .arrays import DTYPES

SETTINGS: list[dict[str, Any]] = [
    *({"codec": codec} for codec in blosc2.Codec if codec.value in (0, 1, 2, 4, 5)),
    {"clevel": 0},
    {"filters": [blosc2.Filter.BITSHUFFLE], "nthreads": 2},
    {"filters": [blosc2.Filter.NOFILTER]},
    {"filters": [blosc2.Filter.TRUNC_PREC, blosc2.Filter.SHUFFLE], "filters_meta": [20, 0]},
    {"splitmode": blosc2.SplitMode.ALWAYS_SPLIT},
    {"splitmode": blosc2.SplitMode.NEVER_SPLIT},
]
APART = [{"codec": blosc2.Codec.ZSTD, "use_dict": True}, {"filters": [blosc2.Filter.DELTA, blosc2.Filter.SHUFFLE]}]


def stored(array: np.ndarray[Any, Any], layout: Layout, nchunk: int, **cparams: Any) -> bytes:
    """Return a chunk of an array as the library stores it."""
    made = blosc2.asarray(array, chunks=layout.chunks, blocks=layout.blocks, cparams={"nthreads": 1, **cparams})
    chunk: bytes = made.schunk.get_chunk(nchunk)
    return chunk


def smooth(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return numbers that compress, and differ from block to block."""
    rng = np.random.default_rng(len(shape))
    return (np.arange(np.prod(shape)).reshape(shape) // 7 + rng.integers(0, 9, shape)).astype("<f4")


def plain(array: np.ndarray[Any, Any], selection: Selection) -> np.ndarray[Any, Any]:
    return array[tuple(slice(axis.start, axis.stop, axis.step) for axis in selection.axes)]


@st.composite
def windows(draw: st.DrawFn) -> tuple[Layout, Selection]:
    """Draw an array of one to three axes in chunks of many blocks, with edges, and a selection of it."""
    ndim = draw(st.integers(1, 3))
    blocks = tuple(draw(st.integers(2, (512, 24, 8)[ndim - 1])) for _ in range(ndim))
    chunks = tuple(b * draw(st.integers(2, (24, 6, 4)[ndim - 1])) + draw(st.integers(0, b - 1)) for b in blocks)
    shape = tuple(c + draw(st.integers(0, c)) for c in chunks)
    starts = [draw(st.integers(0, n - 1)) for n in shape]
    key = tuple(
        slice(a, a + draw(st.integers(1, 2 * b)), draw(st.sampled_from([1, 1, 2, b + 1])))
        for a, b in zip(starts, blocks, strict=True)
    )
    return array_layout(shape, chunks, blocks, "float32"), select(key, shape)


@given(windows(), st.sampled_from(SETTINGS))
def test_selections_read_from_parts_are_what_numpy_selects(window: tuple[Layout, Selection], cparams: Any) -> None:
    layout, selection = window
    array = smooth(layout.shape)
    expected = plain(array, selection)
    box = np.full(selection.box, np.nan, "<f4")
    truncated = "filters_meta" in cparams
    for part in selection.parts(layout.chunks):
        numbers = block_numbers(layout, part)
        chunk = stored(array, layout, part.nchunk, **cparams)
        data = cut_part(chunk, part.nchunk, numbers)
        if data is None:
            box[part.target] = expected[part.target]
            continue
        assert len(data) * LARGEST_SHARE <= len(chunk)
        assert part_nchunk(data) == part.nchunk
        read_blocks(check_part(data, layout, part.nchunk, numbers), layout, part, box)
    np.testing.assert_allclose(box, expected, rtol=1e-2 if truncated else 0)


@pytest.mark.parametrize("cparams", SETTINGS, ids=str)
def test_a_window_of_a_large_chunk_takes_about_a_block(cparams: dict[str, Any]) -> None:
    array = smooth((400, 400))
    layout = array_layout((400, 400), (400, 400), (50, 50), "float32")
    chunk = stored(array, layout, 0, **cparams)
    (part,) = select("110:120, 110:120", array.shape).parts(layout.chunks)
    numbers = block_numbers(layout, part)
    assert numbers == (18,)
    data = cut_part(chunk, 0, numbers)
    assert data is not None
    assert len(data) < len(chunk) / 20
    box = np.empty((10, 10), "<f4")
    read_blocks(check_part(data, layout, 0, numbers), layout, part, box)
    np.testing.assert_allclose(box, array[110:120, 110:120], rtol=1e-2 if "filters_meta" in cparams else 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_elements_of_every_type_come_out_of_parts(dtype: str) -> None:
    layout = array_layout((900,), (900,), (30,), dtype)
    cells = np.frombuffer(np.random.default_rng(3).bytes(900 * layout.typesize), storage_dtype(parse_dtype(dtype)))
    chunk = pack_chunk(cells, layout)
    (part,) = select("95:100", (900,)).parts(layout.chunks)
    numbers = block_numbers(layout, part)
    data = cut_part(chunk, 0, numbers)
    assert data is not None
    box = np.empty(5, cells.dtype)
    read_blocks(check_part(data, layout, 0, numbers), layout, part, box)
    assert box.tobytes() == cells[95:100].tobytes()


@pytest.mark.parametrize("cparams", APART, ids=str)
def test_chunks_whose_blocks_depend_on_each_other_are_not_cut(cparams: dict[str, Any]) -> None:
    layout = array_layout((400, 400), (400, 400), (50, 50), "float32")
    assert cut_part(stored(smooth((400, 400)), layout, 0, **cparams), 0, [3]) is None


def test_special_chunks_large_shares_and_blocks_that_are_none_are_not_cut() -> None:
    layout = array_layout((400, 400), (400, 400), (50, 50), "float32")
    chunk = stored(smooth((400, 400)), layout, 0)
    assert cut_part(stored(np.zeros((400, 400), "<f4"), layout, 0), 0, [3]) is None
    assert cut_part(chunk, 0, range(32)) is None
    assert cut_part(chunk, 0, [63]) is not None
    for numbers in ([64], [-1], []):
        assert cut_part(chunk, 0, numbers) is None
    (part,) = select("0:200, 0:200", (400, 400)).parts(layout.chunks)
    assert len(block_numbers(layout, part)) == 16
    (part,) = select("0:200, 0:201", (400, 400)).parts(layout.chunks)
    assert block_numbers(layout, part) == ()


LAYOUT = array_layout((90, 300), (90, 300), (15, 20), "float32")
"""90 blocks."""
WINDOW = select("20:25, 100:110", LAYOUT.shape)


def _cut(**cparams: Any) -> tuple[bytes, tuple[int, ...], ChunkPart]:
    (part,) = WINDOW.parts(LAYOUT.chunks)
    numbers = block_numbers(LAYOUT, part)
    data = cut_part(stored(smooth(LAYOUT.shape), LAYOUT, 0, **cparams), 0, numbers)
    assert data is not None
    return data, numbers, part


@pytest.mark.parametrize("cparams", SETTINGS, ids=str)
def test_u4_a_part_with_any_byte_changed_is_refused_or_stays_within_its_buffer(cparams: dict[str, Any]) -> None:
    data, numbers, part = _cut(**cparams)
    rng = np.random.default_rng(5)
    refused = 0
    guarded = np.full((7, 12), 7.5, "<f4")
    for position in range(len(data)):
        mutant = bytearray(data)
        mutant[position] ^= int(rng.integers(1, 256))
        guarded[1:-1, 1:-1] = 0
        try:
            read_blocks(check_part(bytes(mutant), LAYOUT, 0, numbers), LAYOUT, part, guarded[1:-1, 1:-1])
        except UnsafeContent:
            refused += 1
    guarded[1:-1, 1:-1] = 7.5
    assert (guarded == 7.5).all()
    # The prefix says what was asked for; the header has 16 bytes of sizes and kinds at least.
    assert refused >= 12 + 4 * len(numbers) + 12


def test_u4_a_part_of_another_length_chunk_or_block_is_refused() -> None:
    data, numbers, _ = _cut()
    begin = 12 + 4 * len(numbers)
    for wrong in (b"", data[:5], data[:begin], data[: begin + 31], data[: begin + 40], data[:-1], data + b"\0"):
        with pytest.raises(UnsafeContent):
            check_part(wrong, LAYOUT, 0, numbers)
    with pytest.raises(UnsafeContent):
        part_nchunk(data[:11])
    with pytest.raises(UnsafeContent, match="other blocks"):
        check_part(data, LAYOUT, 1, numbers)
    with pytest.raises(UnsafeContent, match="other blocks"):
        check_part(data, LAYOUT, 0, (numbers[0] + 1,))


@pytest.mark.parametrize(
    ("offset", "value", "why"),
    [
        (4, 90 * 300 * 4 + 4, "data instead of"),
        (8, 15 * 20 * 4 * 2, "other blocks than its dataset"),
        (12, 2**31 - 1, "more than its data has"),
        (12, -1, "shorter than the table"),
        (32, 0, "outside of it"),
        (32, -5, "outside of it"),
        (32, 2**30, "outside of it"),
    ],
)
def test_u4_a_header_or_table_that_lies_is_refused(offset: int, value: int, why: str) -> None:
    data, numbers, _ = _cut()
    begin = 12 + 4 * len(numbers)
    lying = bytearray(data)
    lying[begin + offset : begin + offset + 4] = value.to_bytes(4, "little", signed=True)
    with pytest.raises(UnsafeContent, match=why):
        check_part(bytes(lying), LAYOUT, 0, numbers)


def test_u4_a_special_chunk_is_no_part() -> None:
    data, numbers, _ = _cut()
    begin = 12 + 4 * len(numbers)
    special = bytearray(data)
    special[begin + 31] |= 1 << 4
    special[begin + 12 : begin + 16] = (32).to_bytes(4, "little")
    with pytest.raises(UnsafeContent, match="no such blocks"):
        check_part(bytes(special), LAYOUT, 0, numbers)


def test_blocks_written_in_any_order_are_found() -> None:
    """Threads of the library write blocks as they are done; here the table is turned round on purpose."""
    array = smooth(LAYOUT.shape)
    chunk = stored(array, LAYOUT, 0)
    header = check_chunk(chunk, LAYOUT, 0)
    starts = np.frombuffer(chunk, "<i4", header.nblocks, 32)
    stops = np.append(starts[1:], len(chunk))
    table, body, position = np.empty_like(starts), [], 32 + 4 * header.nblocks
    for number in reversed(range(header.nblocks)):
        table[number] = position
        body.append(chunk[starts[number] : stops[number]])
        position += len(body[-1])
    turned = chunk[:32] + table.tobytes() + b"".join(body)
    assert read_header(turned).cbytes == len(turned)
    for text in ("0:3, 0:3", "20:25, 100:110", "89, 299"):
        selection = select(text, LAYOUT.shape)
        (part,) = selection.parts(LAYOUT.chunks)
        numbers = block_numbers(LAYOUT, part)
        data = cut_part(turned, 0, numbers)
        assert data is not None
        box = np.empty(selection.box, "<f4")
        read_blocks(check_part(data, LAYOUT, 0, numbers), LAYOUT, part, box)
        np.testing.assert_array_equal(box, plain(array, selection))
