"""Compressed chunks: what may reach libblosc2, and what comes out."""

from __future__ import annotations

import struct
from typing import Any

import blosc2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caterva2.errors import UnsafeContent
from caterva2.slices import select
from caterva2_formats.base import Layout
from caterva2_formats.chunks import (
    Special,
    check_chunk,
    check_header,
    compress,
    decompress,
    pack_chunk,
    read_part,
    special_chunk,
)
from caterva2_formats.dtypes import storage_dtype
from caterva2_formats.frames import array_layout, bytes_layout
from tests.unit.formats.arrays import arrays, keys, partitions, same

DATA = np.arange(1000, dtype="<i4")
LAYOUT = array_layout((2000,), (1000,), (100,), "int32")


def chunk_of(data: Any = DATA, **settings: Any) -> bytes:
    made: bytes = blosc2.compress2(
        np.ascontiguousarray(data), **({"typesize": 4, "blocksize": 400, "nthreads": 1} | settings)
    )
    return made


def with_bytes(chunk: bytes, offset: int, value: bytes) -> bytes:
    return chunk[:offset] + value + chunk[offset + len(value) :]


def test_u4_a_good_chunk_is_accepted() -> None:
    assert check_chunk(chunk_of(), LAYOUT, 0).nbytes == 4000
    assert decompress(chunk_of()) == DATA.tobytes()


@pytest.mark.parametrize(
    ("offset", "value", "says"),
    [
        (4, struct.pack("<i", 4004), "instead of"),
        (4, struct.pack("<i", -1), "instead of"),
        (8, struct.pack("<i", 0), "blocks of 0 bytes"),
        (8, struct.pack("<i", -5), "blocks of -5"),
        (8, struct.pack("<i", 2**30), "blocks of"),
        (8, struct.pack("<i", 4000), "other blocks"),
        (12, struct.pack("<i", 40), "says that it has"),
        (12, struct.pack("<i", 2**31 - 1), "says that it has"),
        (3, b"\x08", "elements of 8 bytes"),
        (2, b"\xc5", "codec"),
        (2, b"\x41", "header of another kind"),
        (31, b"\x08", "header of another kind"),
        (31, b"\x80", "header of another kind"),
        (30, b"\x01", "header of another kind"),
        (21, b"\x25", "filter"),
        (16, b"\xff", "filter"),
        (31, b"\x70", "repeat"),
        (31, b"\x10", "repeat"),
        (31, b"\x30", "repeat"),
    ],
)
def test_u4_headers_that_lie_are_refused(offset: int, value: bytes, says: str) -> None:
    with pytest.raises(UnsafeContent, match=says):
        check_chunk(with_bytes(chunk_of(), offset, value), LAYOUT, 0)


@pytest.mark.parametrize("length", [0, 1, 31, 33, 100])
def test_u4_cut_chunks_are_refused(length: int) -> None:
    with pytest.raises(UnsafeContent):
        check_chunk(chunk_of()[:length], LAYOUT, 0)


def test_u4_chunks_that_promise_too_much_are_refused() -> None:
    bomb = special_chunk(Special.ZEROS, 2**31 - 1, typesize=1)
    with pytest.raises(UnsafeContent, match="at most"):
        check_header(bomb)


def test_u4_the_last_chunk_of_bytes_is_short_and_that_of_arrays_is_not() -> None:
    layout = bytes_layout(LAYOUT.kind.FRAME, 4500, 4000, typesize=4)
    assert check_chunk(chunk_of(), layout, 0).nbytes == 4000
    assert check_chunk(chunk_of(DATA[:125]), layout, 1).nbytes == 500
    with pytest.raises(UnsafeContent):
        check_chunk(chunk_of(), layout, 1)
    with pytest.raises(UnsafeContent):
        check_chunk(chunk_of(DATA[:125]), LAYOUT, 1)


def test_damaged_content_is_an_error_and_not_a_crash() -> None:
    chunk = chunk_of(np.random.default_rng(0).integers(0, 99, 1000, dtype="<i4"))
    damaged = 0
    for position in range(32, len(chunk), 7):
        bad = with_bytes(chunk, position, bytes((chunk[position] ^ 0xFF,)))
        check_header(bad)
        try:
            decompress(bad)
        except UnsafeContent:
            damaged += 1
    assert damaged


@pytest.mark.parametrize(
    ("special", "typesize", "value", "expected"),
    [
        (Special.ZEROS, 4, b"", bytes(4000)),
        (Special.UNINITIALISED, 4, b"", bytes(4000)),
        (Special.NANS, 4, b"", np.full(1000, np.nan, "<f4").tobytes()),
        (Special.NANS, 8, b"", np.full(500, np.nan, "<f8").tobytes()),
        (Special.VALUE, 4, b"abcd", b"abcd" * 1000),
        (Special.VALUE, 400, b"x" * 400, b"x" * 4000),
    ],
)
def test_special_chunks_hold_what_they_say(special: Special, typesize: int, value: bytes, expected: bytes) -> None:
    chunk = special_chunk(special, 4000, typesize=typesize, value=value)
    assert check_header(chunk).special == special
    assert decompress(chunk) == expected


def test_special_chunks_are_those_of_the_library() -> None:
    assert special_chunk(Special.ZEROS, 40, typesize=4) == blosc2.zeros((10,), "<i4").schunk.get_chunk(0)
    full = blosc2.full((10,), 7, dtype="<i4")
    value = (7).to_bytes(4, "little")
    assert special_chunk(Special.VALUE, 40, typesize=4, value=value) == full.schunk.get_chunk(0)


@given(st.data())
def test_parts_of_chunks_are_what_numpy_gives(data: st.DataObject) -> None:
    array, dtype = data.draw(arrays())
    chunks, blocks = data.draw(partitions(array.shape))
    layout = array_layout(array.shape, chunks, blocks, str(dtype))
    selection = select(data.draw(keys(array.shape)), array.shape)
    box = np.empty(selection.box, dtype=storage_dtype(dtype))
    for part in selection.parts(chunks):
        read_part(chunk_at(array, layout, part.nchunk), layout, part, box)
    assert same(box[(*selection.finish, ...)], box_of(array, selection))


def chunk_at(array: np.ndarray[Any, Any], layout: Layout, nchunk: int) -> bytes:
    grid = tuple(-(-n // c) for n, c in zip(layout.shape, layout.chunks, strict=True))
    index = np.unravel_index(nchunk, grid) if grid else ()
    where: tuple[Any, ...] = tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, layout.chunks, strict=True))
    chunk = pack_chunk(array[(*where, ...)], layout)
    check_chunk(chunk, layout, nchunk)
    return chunk


def box_of(array: np.ndarray[Any, Any], selection: Any) -> np.ndarray[Any, Any]:
    return np.asarray(box_of_plain(array, selection)[(*selection.finish, ...)])


@pytest.mark.parametrize(
    "settings",
    [
        {"codec": blosc2.Codec.LZ4},
        {"codec": blosc2.Codec.LZ4HC},
        {"codec": blosc2.Codec.BLOSCLZ},
        {"codec": blosc2.Codec.ZLIB},
        {"codec": blosc2.Codec.ZSTD, "clevel": 9},
        {"codec": blosc2.Codec.ZSTD, "use_dict": True},
        {"clevel": 0},
        {"filters": [blosc2.Filter.BITSHUFFLE], "nthreads": 2},
        {"filters": [blosc2.Filter.DELTA, blosc2.Filter.SHUFFLE]},
        {"filters": [blosc2.Filter.NOFILTER]},
        {"splitmode": blosc2.SplitMode.ALWAYS_SPLIT},
        {"splitmode": blosc2.SplitMode.NEVER_SPLIT},
    ],
    ids=str,
)
def test_single_blocks_decompress_like_whole_chunks(settings: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    values = (np.arange(64 * 64 * 64) // 50 + rng.integers(0, 3, 64**3)).astype("<i4")
    layout = array_layout((64, 64, 64), (64, 64, 64), (8, 64, 64), "int32")
    chunk = chunk_of(values, blocksize=8 * 64 * 64 * 4, **settings)
    header = check_chunk(chunk, layout, 0)
    assert header.nblocks == 8
    array = values.reshape(64, 64, 64)
    for key in (np.s_[3:5, 10:20, ::3], np.s_[7:9, :, 1], np.s_[63, 63, 63], np.s_[20:30:4, ..., 5:6]):
        selection = select(key, array.shape)
        box = np.empty(selection.box, dtype="<i4")
        for part in selection.parts(layout.chunks):
            read_part(chunk, layout, part, box)
        assert same(box, box_of_plain(array, selection))


def box_of_plain(array: np.ndarray[Any, Any], selection: Any) -> np.ndarray[Any, Any]:
    return array[(*(slice(axis.start, axis.stop, axis.step) for axis in selection.axes), ...)]


@given(st.binary(max_size=5000), st.integers(1, 16))
def test_compression_round_trips(data: bytes, typesize: int) -> None:
    chunk = compress(data, typesize=typesize)
    check_header(chunk, nbytes=len(data))
    assert decompress(chunk) == data
