"""Frames as files bring them: read without libblosc2, refused where they ask for too much."""

from __future__ import annotations

import struct
from typing import Any

import blosc2
import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caterva2.errors import UnsafeContent
from caterva2.slices import select
from caterva2.wire import Kind
from caterva2_formats.base import Skeleton
from caterva2_formats.chunks import decompress, read_part
from caterva2_formats.dtypes import parse_dtype, storage_dtype
from caterva2_formats.frames import Frame, ReadAt, read_frame
from tests.unit.formats.arrays import arrays, partitions, same


def reader(data: bytes) -> ReadAt:
    def read_at(offset: int, length: int) -> bytes:
        assert offset >= 0
        assert length >= 0
        if offset + length > len(data):
            raise UnsafeContent("the file ends before its content does")
        return data[offset : offset + length]

    return read_at


def frame_of(data: bytes, kind: Kind | None = None) -> Frame:
    return read_frame(reader(data), len(data), kind=kind)


def whole(data: bytes) -> np.ndarray[Any, Any]:
    frame = frame_of(data)
    layout = frame.layout
    box = np.empty(layout.shape, dtype=storage_dtype(parse_dtype(layout.dtype)))
    for part in select((), layout.shape).parts(layout.chunks):
        read_part(frame.chunk(part.nchunk), layout, part, box)
    return box


def rebuilt(data: bytes) -> bytes:
    frame = frame_of(data)
    skeleton = frame.skeleton()
    assert skeleton is not None
    skeleton = Skeleton.from_bytes(skeleton.to_bytes())
    assert skeleton.size == len(data)
    return b"".join(part if isinstance(part, bytes) else frame.chunk(part) for part in skeleton.parts)


@given(st.data())
def test_frames_made_by_blosc2_read_back_and_rebuild(data: st.DataObject) -> None:
    array, dtype = data.draw(arrays(max_side=6, max_ndim=3))
    chunks, blocks = data.draw(partitions(array.shape))
    # blosc2 itself cannot assign every kind of scalar, nor sub-arrays.
    filled = array.size and array.ndim and dtype.subdtype is None
    # What blosc2 leaves uninitialised may be any memory of this process: only what is filled may start that way.
    make = blosc2.empty if filled else blosc2.zeros
    made = make(array.shape, dtype=dtype, **({"chunks": chunks, "blocks": blocks} if array.size else {}))
    if filled:
        made[...] = array
    frame = made.to_cframe()
    assert frame_of(frame).layout.shape == array.shape
    assert parse_dtype(frame_of(frame).layout.dtype) == dtype
    assert same(whole(frame), array if filled else np.zeros_like(array))
    assert rebuilt(frame) == frame


def test_frames_with_gaps_specials_and_attributes_rebuild() -> None:
    rng = np.random.default_rng(4)
    schunk = blosc2.SChunk(chunksize=4000, cparams={"typesize": 4})
    for i in range(6):
        schunk.append_data(np.arange(1000, dtype="<i4") * i)
    schunk.append_data(np.full(1000, 3, dtype="<i4"))
    schunk.append_data(np.arange(7, dtype="<i4"))
    schunk.update_data(1, rng.integers(0, 2**30, 1000, dtype="<i4"), copy=True)
    schunk.update_data(3, np.zeros(1000, dtype="<i4"), copy=True)
    schunk.delete_chunk(2)
    schunk.vlmeta["note"] = {"a": [1, 2.5, None, "ü"], "b": b"\0\xff"}
    data = schunk.to_cframe()
    frame = frame_of(data)
    assert frame.layout.kind is Kind.FRAME
    assert b"".join(decompress(frame.chunk(i)) for i in range(frame.layout.nchunks)) == schunk[:]
    assert frame.vlmeta == {"note": {"a": [1, 2.5, None, "ü"], "b": b"\0\xff"}}
    assert rebuilt(data) == data


def test_numbers_are_those_of_blosc2() -> None:
    data = blosc2.asarray(np.arange(1000), chunks=(100,), blocks=(10,), cparams={"clevel": 3}).to_cframe()
    frame, made = frame_of(data), blosc2.ndarray_from_cframe(data)
    assert (frame.cbytes, frame.nbytes) == (made.schunk.cbytes, made.schunk.nbytes)
    assert frame.coding.codec == made.schunk.cparams.codec.value
    assert frame.coding.clevel == 3
    assert frame.coding.splitmode == made.schunk.cparams.splitmode.value
    assert frame.coding.filters == tuple(f.value for f in made.schunk.cparams.filters)
    assert frame.coding.blocksize == 80


def test_uninitialised_chunks_are_zeros_for_everybody() -> None:
    data = blosc2.uninit((1000,), dtype="<i4").to_cframe()
    assert not whole(data).any()


@pytest.mark.parametrize("name", ["LazyArray", "b2o", "proxy-source", "b2embed", "b2dict", "listarray", "anything"])
def test_u3_metalayers_that_make_blosc2_act_are_refused(name: str) -> None:
    data = blosc2.SChunk(data=b"x" * 100, meta={name: {"expression": "a"}}).to_cframe()
    with pytest.raises(UnsafeContent, match=name):
        frame_of(data)


@pytest.mark.parametrize("code", [1, 42, 43, 127])
def test_u3_attributes_that_are_objects_are_refused(code: int) -> None:
    schunk = blosc2.SChunk(data=b"x" * 100)
    schunk.vlmeta.set_vlmeta("key", msgpack.packb({"a": [msgpack.ExtType(code, b"x")]}))
    with pytest.raises(UnsafeContent, match="object"):
        frame_of(schunk.to_cframe())


def retyped(text: bytes) -> bytes:
    """Return a frame of one 8-byte element whose dtype text is replaced."""
    data = blosc2.zeros((3,), dtype="<i8").to_cframe()
    old = struct.pack(">BI", 0xDB, 3) + b"<i8"
    assert data.count(old) == 1
    new = struct.pack(">BI", 0xDB, len(text)) + text
    grown = len(new) - len(old)
    data = data.replace(old, new)
    (header,) = struct.unpack(">i", data[11:15])
    (meta,) = struct.unpack(">I", data[108:112])
    data = data[:108] + struct.pack(">I", meta + grown) + data[112:]
    return data[:11] + struct.pack(">i", header + grown) + data[15:16] + struct.pack(">Q", len(data)) + data[24:]


HOSTILE_TYPES = [
    b"|O",
    b"O8",
    b"[('a', 'O')]",
    b"('O', (1,))",
    b"V2000000000",
    b"<i4",
    b"import os",
    b"[" * 3000,
    b"x" * 5000,
    b"__import__('os').system('x')",
    b"[('a', '<i8', (100000, 100000))]",
    b"\xff\xfe",
]


@pytest.mark.parametrize("text", HOSTILE_TYPES, ids=lambda text: text[:20].decode("latin-1"))
def test_u3_types_that_are_not_plain_are_refused(text: bytes) -> None:
    assert frame_of(retyped(b"<u8")).layout.dtype == "uint64"
    with pytest.raises(UnsafeContent):
        frame_of(retyped(text))


@pytest.mark.parametrize("data", [b"", b"x", b"PK\x03\x04" + bytes(200), b"\x89HDF\r\n\x1a\n" + bytes(300)])
def test_u3_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(UnsafeContent, match="not a Blosc2 frame"):
        frame_of(data)


def test_u3_every_cut_of_a_frame_is_refused() -> None:
    data = blosc2.asarray(np.arange(500), chunks=(100,), blocks=(10,)).to_cframe()
    for length in range(len(data)):
        with pytest.raises(UnsafeContent):
            frame_of(data[:length])


def patched(offset: int, value: bytes) -> bytes:
    data = blosc2.asarray(np.arange(500), chunks=(100,), blocks=(10,)).to_cframe()
    return data[:offset] + value + data[offset + len(value) :]


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (11, struct.pack(">i", 2**30)),
        (11, struct.pack(">i", -1)),
        (16, struct.pack(">Q", 2**60)),
        (25, b"\x19"),
        (26, b"\x01"),
        (27, b"\x16"),
        (30, struct.pack(">q", 2**50)),
        (30, struct.pack(">q", -1)),
        (39, struct.pack(">q", 2**50)),
        (48, struct.pack(">i", 4)),
        (53, struct.pack(">i", 2**30)),
        (58, struct.pack(">i", 2**30)),
        (87, b"\x00"),
        (107, b"\x00"),
    ],
)
def test_u3_headers_that_lie_are_refused(offset: int, value: bytes) -> None:
    with pytest.raises(UnsafeContent):
        frame_of(patched(offset, value))


def test_an_array_is_not_a_frame_of_bytes() -> None:
    with pytest.raises(UnsafeContent, match="not an n-dimensional array"):
        frame_of(blosc2.SChunk(data=b"x" * 100).to_cframe(), Kind.ARRAY)


def test_skeletons_that_lie_are_refused() -> None:
    for data in (b"", b"\x01", msgpack.packb([5, [[0, 2**40]]]), msgpack.packb([-1, []]), msgpack.packb([5, [[3, 1]]])):
        with pytest.raises(UnsafeContent):
            Skeleton.from_bytes(data)
