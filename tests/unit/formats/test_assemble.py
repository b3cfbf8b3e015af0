"""Frames made by hand: blosc2 reads them, and so does our own reader."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import blosc2
import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caterva2.wire import Kind
from caterva2_formats import assemble
from caterva2_formats.assemble import array_to_frame, bytes_to_frame, from_array, plan_frame
from caterva2_formats.chunks import LZ4, ZSTD, Special, compress, placement, special_chunk
from caterva2_formats.dtypes import from_storage
from caterva2_formats.frames import array_layout, bytes_layout
from tests.unit.formats.arrays import arrays, same
from tests.unit.formats.test_frames import frame_of, rebuilt, whole


@given(arrays(), st.sampled_from([(ZSTD, 1), (LZ4, 1), (ZSTD, 0)]))
def test_answers_are_read_by_blosc2(drawn: tuple[Any, Any], coding: tuple[int, int]) -> None:
    array, dtype = drawn
    frame = b"".join(array_to_frame(array, dtype, codec=coding[0], clevel=coding[1]))
    assert same(whole(frame), array)
    assert rebuilt(frame) == frame
    read = blosc2.ndarray_from_cframe(frame)
    assert read.shape == array.shape
    assert read.dtype == dtype
    if array.size and dtype.subdtype is None:
        assert same(read[...], array)


@pytest.mark.parametrize(
    "shape", [(3_000_000,), (1300, 1400), (3, 2_000_000), (70, 130, 190), (2, 3, 900_000), (1, 1, 5)]
)
@pytest.mark.parametrize("dtype", ["<f4", "<i8", "S3"])
def test_large_answers_are_cut_into_pieces(shape: tuple[int, ...], dtype: str) -> None:
    size = int(np.prod(shape))
    array = (np.arange(size) % 251).astype(dtype).reshape(shape)
    with ThreadPoolExecutor(2) as pool:
        pieces = array_to_frame(array, array.dtype, run=pool.map)
    read = blosc2.ndarray_from_cframe(b"".join(pieces))
    assert same(read[...], array)
    assert (len(pieces) > 3) == (array.nbytes > assemble.PIECE_BYTES)


def test_answers_of_arrays_that_are_not_contiguous() -> None:
    array = np.arange(2_400_000, dtype="<i4").reshape(1200, 2000)[::-2, ::3].T
    frame = b"".join(array_to_frame(array, array.dtype))
    assert same(blosc2.ndarray_from_cframe(frame)[...], array)


def test_sub_array_types_round_trip() -> None:
    values = np.arange(40, dtype="<f8").reshape(10, 4)
    dtype = np.dtype(("<f8", (4,)))
    cells = values.view("V32").reshape(10)
    frame = b"".join(array_to_frame(cells, dtype))
    assert same(from_storage(whole(frame), dtype), values)


@pytest.mark.parametrize("data", [b"", b"x", b"Hello world!", b"abc" * 100_000])
@pytest.mark.parametrize("clevel", [0, 1])
def test_bytes_become_frames(data: bytes, clevel: int) -> None:
    frame = b"".join(bytes_to_frame(data, clevel=clevel))
    read = blosc2.schunk_from_cframe(frame)
    assert "b2nd" not in read.meta
    assert read.nbytes == len(data)
    assert (read[:] if data else b"") == data
    assert rebuilt(frame) == frame


@pytest.mark.parametrize("nchunks", [1, 64, 65, 3000])
def test_frames_are_streamed_around_their_chunks(nchunks: int, tmp_path: Path) -> None:
    layout = array_layout((nchunks * 10 - 3,), (10,), (10,), "float64")
    chunks = [_chunk(i) for i in range(nchunks)]
    attributes = {"unit": "m", "n": 3, "x" * 31: [1, 2], "too long a name to fit into a frame": 1}
    packed = {name: msgpack.packb(value) for name, value in attributes.items()}
    plan = plan_frame(layout, [placement(chunk) for chunk in chunks], vlmeta=packed)
    frame = b"".join(plan.stream(chunks))
    assert len(frame) == plan.size
    path = tmp_path / "made.b2nd"
    path.write_bytes(frame)
    read = blosc2.open(str(path), mode="r")
    expected = np.concatenate([_values(i) for i in range(nchunks)])[: nchunks * 10 - 3]
    assert same(read[...], expected)
    assert read.schunk.vlmeta[:] == {"unit": "m", "n": 3, "x" * 31: [1, 2]}
    assert same(whole(frame), expected)
    assert rebuilt(frame) == frame


def _values(i: int) -> np.ndarray[Any, Any]:
    special = {0: 0.0, 1: np.nan, 2: 7.0}.get(i % 5)
    return np.arange(10) * float(i) + 1 if special is None else np.full(10, special)


def _chunk(i: int) -> bytes:
    if i % 5 == 0:
        return special_chunk(Special.ZEROS, 80, typesize=8, blocksize=80)
    if i % 5 == 1:
        return special_chunk(Special.NANS, 80, typesize=8, blocksize=80)
    if i % 5 == 2:
        return special_chunk(Special.VALUE, 80, typesize=8, blocksize=80, value=np.float64(7).tobytes())
    return compress(_values(i), typesize=8, blocksize=80)


def test_plain_files_become_frames_of_bytes() -> None:
    layout = bytes_layout(Kind.FILE, 2500, 1000)
    chunks = [compress(bytes([i]) * n, typesize=1) for i, n in enumerate((1000, 1000, 500))]
    frame = b"".join(plan_frame(layout, [placement(chunk) for chunk in chunks]).stream(chunks))
    assert blosc2.schunk_from_cframe(frame)[:] == b"\0" * 1000 + b"\1" * 1000 + b"\2" * 500


def test_plans_need_every_chunk() -> None:
    with pytest.raises(ValueError, match="3 chunks"):
        plan_frame(bytes_layout(Kind.FILE, 2500, 1000), [40])


def test_the_library_makes_frames_where_ours_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "frames_are_read", lambda: False)
    array, dtype = from_array(np.arange(60.0).reshape(3, 4, 5))
    (frame,) = array_to_frame(array, dtype)
    assert same(blosc2.ndarray_from_cframe(frame)[...], array)


def test_a_frame_declares_its_chunks_and_coding() -> None:
    frame = frame_of(b"".join(array_to_frame(np.arange(100_000), np.dtype("<i8"), codec=LZ4)))
    assert frame.coding.codec == LZ4
    assert frame.coding.filters[-1] == 1
    assert frame.layout.chunks == (100_000,)
