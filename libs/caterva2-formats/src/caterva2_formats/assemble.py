"""Building contiguous frames by hand: a header, chunks that exist already, a trailer.

Making a frame with blosc2 costs some 400 us and holds the interpreter lock; the bytes around the chunks can be
written in a few microseconds, and chunks can be streamed without ever being in memory together. Every frame opens
in blosc2 3.5 and 4.14, and holds no metalayer but ``b2nd``.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from math import prod
from typing import Any

import msgpack
import numpy as np

from caterva2.errors import UnsafeContent
from caterva2.wire import Kind

from .base import Layout
from .chunks import HEADER_SIZE, LZ4, ZSTD, compress, placement, typesize_byte
from .dtypes import Dtype, check_dtype, parse_dtype, storage_dtype, to_storage
from .frames import MAGIC, Coding, array_layout

logger = logging.getLogger(__name__)

PIECE_BYTES = 4 * 2**20
"""Size in bytes of the chunks of an answer: they fit into the processor's cache, and several threads can share."""
BLOCK_BYTES = 512 * 2**10
STORE_BELOW = 16 * 2**10
"""Answers of fewer bytes are not compressed: that would cost more than it saves."""
MAX_NAME_BYTES = 31
"""Longest name, in bytes, that a frame's attribute can have."""

Array = np.ndarray[Any, Any]
Map = Callable[[Callable[[Any], bytes], Iterable[Any]], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class FramePlan:
    """A frame whose chunks are yet to come: it is `head`, the chunks in order, `tail`."""

    head: bytes = field(repr=False)
    tail: bytes = field(repr=False)
    size: int
    """Bytes of the whole frame."""

    def stream(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the frame piece by piece, given all chunks in order."""
        yield self.head
        # Zeros and NaNs stand in the table of chunks alone; blosc2 cannot read them elsewhere in a file.
        yield from (chunk for chunk in chunks if placement(chunk) > 0)
        yield self.tail


def plan_frame(
    layout: Layout, placements: Sequence[int] | Array, *, coding: Coding | None = None, vlmeta: Mapping[str, bytes] = {}
) -> FramePlan:
    """Plan the frame of a dataset, given what its compressed chunks will occupy.

    Parameters
    ----------
    layout
        Layout of the dataset. Plain files and HDF5 files become frames of bytes.
    placements
        `caterva2_formats.chunks.placement` of each chunk.
    coding
        Compression parameters that the frame shall declare.
    vlmeta
        User attributes, each packed by msgpack. Names of more than 31 bytes do not fit into a frame: left out.
    """
    if len(placements) != layout.nchunks:
        raise ValueError(f"{layout.nchunks} chunks need as many placements, not {len(placements)}")
    places = np.asarray(placements, dtype="<i8")
    ends = np.cumsum(np.maximum(places, 0))
    cbytes = int(ends[-1]) if layout.nchunks else 0
    offsets = np.where(places < 0, (0x80 - 256 - 1 - places) << 56, ends - places)
    kept = {name: value for name, value in vlmeta.items() if len(name.encode()) <= MAX_NAME_BYTES}
    tail = (_offsets_chunk(offsets) if layout.nchunks else b"") + _trailer(kept)
    metalayers = _metalayers({"b2nd": _geometry(layout)} if layout.kind is Kind.ARRAY else {})
    size = _HEAD_SIZE + len(metalayers) + cbytes + len(tail)
    head = _head(layout, coding or Coding(), len(metalayers), size=size, cbytes=cbytes, has_vlmeta=bool(kept))
    return FramePlan(head + metalayers, tail, size)


_HEAD_SIZE = 87
_NAME_ENTRY = 6


def _head(layout: Layout, coding: Coding, extra: int, *, size: int, cbytes: int, has_vlmeta: bool) -> bytes:
    nbytes = layout.nchunks * layout.chunksize if layout.kind is Kind.ARRAY else layout.nbytes
    blocksize = prod(layout.blocks) * layout.typesize if layout.kind is Kind.ARRAY else coding.blocksize
    return b"".join(
        (
            MAGIC,
            struct.pack(">BiBQ", 0xD2, _HEAD_SIZE + extra, 0xCF, size),
            bytes((0xA4, 0x12, 0, coding.clevel << 4 | coding.codec, coding.splitmode - 1)),
            struct.pack(">BqBq", 0xD3, nbytes, 0xD3, cbytes),
            struct.pack(">BiBiBi", 0xD2, layout.typesize, 0xD2, blocksize, 0xD2, layout.chunksize),
            struct.pack(">BhBhB", 0xD1, 0, 0xD1, 1, 0xC3 if has_vlmeta else 0xC2),
            bytes((0xD8, 6, *coding.filters, 0, coding.codec_meta, *coding.filters_meta, 0, 0)),
        )
    )


def _geometry(layout: Layout) -> bytes:
    ndim = len(layout.shape)
    dtype = parse_dtype(layout.dtype)
    text = (str(dtype) if dtype.fields is not None or dtype.subdtype is not None else dtype.str).encode()
    return b"".join(
        (
            bytes((0x97, 0, ndim, 0x90 + ndim)),
            *(struct.pack(">Bq", 0xD3, n) for n in layout.shape),
            bytes((0x90 + ndim,)),
            *(struct.pack(">Bi", 0xD2, n) for n in layout.chunks),
            bytes((0x90 + ndim,)),
            *(struct.pack(">Bi", 0xD2, n) for n in layout.blocks),
            struct.pack(">BBI", 0, 0xDB, len(text)),
            text,
        )
    )


def _metalayers(contents: Mapping[str, bytes]) -> bytes:
    return _layers(contents, start=_HEAD_SIZE, index_extra=1)


def _layers(contents: Mapping[str, bytes], *, start: int, index_extra: int) -> bytes:
    """Encode named contents; `start` is where the encoding begins in its header or trailer."""
    names = [name.encode() for name in contents]
    index = sum(len(name) + _NAME_ENTRY for name in names)
    position = start + 1 + 3 + 3 + index + 3
    entries, bodies = [], []
    for name, content in zip(names, contents.values(), strict=True):
        entries.append(bytes((0xA0 + len(name),)) + name + struct.pack(">Bi", 0xD2, position))
        bodies.append(struct.pack(">BI", 0xC6, len(content)) + content)
        position += 5 + len(content)
    head = struct.pack(">BBHBH", 0x93, 0xCD, 6 + index_extra + index, 0xDE, len(names))
    return b"".join((head, *entries, struct.pack(">BH", 0xDC, len(names)), *bodies))


def _trailer(vlmeta: Mapping[str, bytes]) -> bytes:
    contents = {name: stored_chunk(value, typesize=1) for name, value in vlmeta.items()}
    body = bytes((0x94, 1)) + _layers(contents, start=2, index_extra=0)
    return body + struct.pack(">BI", 0xCE, len(body) + 23) + bytes((0xD8, 0)) + bytes(16)


def _offsets_chunk(offsets: Array) -> bytes:
    if len(offsets) <= 64:
        return stored_chunk(offsets.tobytes(), typesize=8)
    return compress(offsets, typesize=8, codec=ZSTD, clevel=1)


def stored_chunk(data: Any, *, typesize: int, blocksize: int = 0) -> bytes:
    """Return an uncompressed chunk of the bytes of `data`; sizes in bytes."""
    raw = memoryview(data).cast("B")
    return stored_header(raw.nbytes, typesize=typesize, blocksize=blocksize) + raw


def stored_header(nbytes: int, *, typesize: int, blocksize: int = 0) -> bytes:
    """Return what comes before the `nbytes` bytes of an uncompressed chunk; sizes in bytes."""
    sizes = struct.pack("<iii", nbytes, min(blocksize or nbytes, nbytes), nbytes + HEADER_SIZE)
    return b"".join((bytes((5, 1, 0x07, typesize_byte(typesize))), sizes, bytes(16)))


# --- answers ---------------------------------------------------------------------
def partition(shape: tuple[int, ...], typesize: int, *, target: int) -> tuple[int, ...]:
    """Return the shape of slabs of about `target` bytes, contiguous in C order: ones, one part of an axis, full axes.

    Parameters
    ----------
    shape
        Lengths of the axes.
    typesize
        Bytes of one element.
    target
        Size in bytes that a slab shall not exceed, unless a single element does.
    """
    slab = list(shape)
    for axis, length in enumerate(shape):
        inner = prod(shape[axis + 1 :]) * typesize
        if inner * length <= target:
            break
        slab[axis] = max(1, min(length, target // inner if inner else length))
        if slab[axis] > 1:
            break
    return tuple(slab)


def answer_layout(shape: tuple[int, ...], dtype: Dtype) -> Layout:
    """Return the layout of an array that is made only to be sent: slabs that need no rearranging."""
    return _answer_layout(shape, str(dtype), dtype.itemsize, PIECE_BYTES)


@lru_cache(maxsize=256)
def _answer_layout(shape: tuple[int, ...], dtype: str, itemsize: int, piece_bytes: int) -> Layout:
    chunks = partition(shape, itemsize, target=piece_bytes)
    blocks = partition(chunks, itemsize, target=BLOCK_BYTES)
    return array_layout(shape, chunks, even_blocks(chunks, blocks), dtype)


def even_blocks(chunks: tuple[int, ...], blocks: tuple[int, ...]) -> tuple[int, ...]:
    """Shrink blocks so that they divide the chunk, where that costs little: padding would mean a copy."""
    return tuple(
        next((n for n in range(block, max(block // 2, 1) - 1, -1) if chunk % n == 0), block) if block else 0
        for chunk, block in zip(chunks, blocks, strict=True)
    )


def array_to_frame(array: Array, dtype: Dtype, *, codec: int = ZSTD, clevel: int = 1, run: Map = map) -> list[bytes]:
    """Encode an array as a frame, as answers to slices need it.

    Parameters
    ----------
    array
        Elements of `storage_dtype` of `dtype`.
    dtype
        Type that the frame declares.
    codec, clevel
        `ZSTD` over a network, `LZ4` near by; level 0 stores. Small arrays are stored in any case.
    run
        Replaces `map` to compress the chunks in several threads: ``executor.map``.

    Returns
    -------
    list of bytes
        The frame in pieces; joined they are the frame.
    """
    check_dtype(dtype)
    if not frames_are_read():
        return [_library_frame(array, dtype)]
    layout = answer_layout(array.shape, dtype)
    stored = clevel == 0 or array.nbytes <= STORE_BELOW
    contiguous = np.ascontiguousarray(array).reshape(array.shape)

    def encode(start: tuple[int, ...]) -> bytes:
        return _encode_piece(contiguous, layout, start, codec, 0 if stored else clevel)

    chunks = list(run(encode, list(_starts(layout)))) if layout.nchunks else []
    shuffled = not stored and _shuffles(layout)
    coding = Coding(codec, 0, clevel, (0, 0, 0, 0, 0, 1 if shuffled else 0))
    plan = _plan_of_answer(layout, tuple(placement(chunk) for chunk in chunks), coding)
    return list(plan.stream(chunks))


@lru_cache(maxsize=256)
def _plan_of_answer(layout: Layout, placements: tuple[int, ...], coding: Coding) -> FramePlan:
    # Small windows of the same shape, as readers ask for them one after another, differ in their data alone.
    return plan_frame(layout, placements, coding=coding)


def _shuffles(layout: Layout) -> bool:
    return 1 < layout.typesize <= 255 and parse_dtype(layout.dtype).kind not in "SV"


def _starts(layout: Layout) -> Iterator[tuple[int, ...]]:
    grid = tuple(-(-n // c) for n, c in zip(layout.shape, layout.chunks, strict=True))
    for index in np.ndindex(*grid):
        yield tuple(i * c for i, c in zip(index, layout.chunks, strict=True))


def _encode_piece(array: Array, layout: Layout, start: tuple[int, ...], codec: int, clevel: int) -> bytes:
    # The ellipsis keeps arrays without dimensions arrays, in their byte order.
    where: tuple[Any, ...] = tuple(slice(i, i + c) for i, c in zip(start, layout.chunks, strict=True))
    piece = array[(*where, ...)]
    # Pieces are slabs: their bytes lie in the order in which a chunk wants them, but for padding at the end.
    flat = np.frombuffer(piece.tobytes() if not piece.flags.c_contiguous else piece, dtype=np.uint8)
    if flat.nbytes < layout.chunksize:
        padded = np.zeros(layout.chunksize, dtype=np.uint8)
        padded[: flat.nbytes] = flat
        flat = padded
    blocksize = prod(layout.blocks) * layout.typesize
    if not clevel:
        return stored_chunk(flat, typesize=layout.typesize, blocksize=blocksize)
    return compress(
        flat, typesize=layout.typesize, blocksize=blocksize, codec=codec, clevel=clevel, shuffle=_shuffles(layout)
    )


def bytes_to_frame(data: bytes, *, codec: int = ZSTD, clevel: int = 1, typesize: int = 1) -> list[bytes]:
    """Encode bytes as a frame of one chunk (none if there are no bytes), in pieces that joined are the frame."""
    layout = Layout(
        Kind.FRAME, (len(data),), (len(data),), (0,), "|u1", typesize, len(data), 1 if data else 0, len(data)
    )
    coding = Coding(codec, 0, clevel, (0, 0, 0, 0, 0, 0))
    chunks = []
    if data:
        stored = clevel == 0 or len(data) <= STORE_BELOW
        chunks.append(
            stored_chunk(data, typesize=typesize)
            if stored
            else compress(data, typesize=typesize, codec=codec, clevel=clevel, shuffle=False)
        )
    plan = plan_frame(layout, [placement(chunk) for chunk in chunks], coding=coding)
    return list(plan.stream(chunks))


@cache
def frames_are_read() -> bool:
    """Tell whether the installed blosc2 reads what this module writes; tried once, at first use."""
    import blosc2

    array = np.arange(35, dtype="<i4").reshape(5, 7)
    layout = array_layout((5, 7), (3, 7), (2, 7), "int32")
    chunks = [_encode_piece(array, layout, (0, 0), LZ4, 1), _encode_piece(array, layout, (3, 0), LZ4, 0)]
    plan = plan_frame(layout, [placement(chunk) for chunk in chunks], vlmeta={"a": msgpack.packb(1)})
    frame = b"".join(plan.stream(chunks))
    try:
        read = blosc2.ndarray_from_cframe(frame)
        good = bool((read[...] == array).all())
    except (RuntimeError, ValueError):
        good = False
    if not good:
        logger.warning("blosc2 %s does not read our frames: it makes them itself, slowly", blosc2.__version__)
    return good


def _library_frame(array: Array, dtype: Dtype) -> bytes:
    import blosc2

    made: bytes = blosc2.asarray(np.ascontiguousarray(array).view(dtype)).to_cframe()
    return made


def from_array(value: Any) -> tuple[Array, Dtype]:
    """Return an array of anything as `array_to_frame` wants it: storage elements and their type.

    Raises
    ------
    UnsafeContent
        If the elements are Python objects.
    """
    array = np.asarray(value)
    return to_storage(array, check_dtype(array.dtype)), array.dtype


__all__ = [
    "FramePlan",
    "UnsafeContent",
    "array_to_frame",
    "bytes_to_frame",
    "from_array",
    "plan_frame",
    "storage_dtype",
    "stored_chunk",
]
