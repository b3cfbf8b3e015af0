"""Blosc2 contiguous frames: ``.b2nd``, ``.b2frame`` and ``.b2`` files, read without libblosc2's own reader.

Opening a foreign file with `blosc2.open` may execute code, follow references to other files, or crash; this module
therefore parses frames itself, with bounded reads, and hands nothing but checked chunks to the library. Format:
https://github.com/Blosc/c-blosc2/blob/main/README_CFRAME_FORMAT.rst

A frame is a header (sizes, compression parameters, metalayers), the chunks, a compressed table of the chunks'
offsets, and a trailer with the user's attributes (``vlmeta``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import prod
from typing import Any

import msgpack
import numpy as np

from caterva2.errors import ChunkNotFound, UnsafeContent
from caterva2.wire import Kind

from .base import MAX_BLOCK_BYTES, MAX_CHUNK_BYTES, MAX_NDIM, Layout, Skeleton
from .chunks import (
    HEADER_SIZE,
    Special,
    check_chunk,
    check_header,
    chunk_nbytes,
    decompress,
    padded_nbytes,
    special_chunk,
)
from .dtypes import named_dtype, parse_dtype

__all__ = ["Coding", "Frame", "decode_skeleton", "encode_skeleton", "parse_dtype", "read_frame"]

MAGIC = b"\x9e\xa8b2frame\0"
HEADER_MIN = 94
MAX_HEADER_BYTES = 2**20
MAX_TRAILER_BYTES = 64 * 2**20
MAX_VLMETA = 10_000
MAX_VLMETA_BYTES = 16 * 2**20
MAX_CHUNKS = 2**22
_SMALL_META_BYTES = 256
MAX_GAP_BYTES = 16 * 2**20
"""Unused bytes in a frame up to which the stored file can be rebuilt from its chunks."""

# Everything else (LazyArray, b2o, proxy-source, b2embed ...) makes blosc2 run code or open other files.
_METALAYERS = frozenset({"b2nd", "caterva"})
_TRAILER_END = 23
_VERSION_MAX = 2

ReadAt = Callable[[int, int], bytes]
"""Function of (offset, length) that returns exactly that many bytes of the file or raises UnsafeContent."""


@dataclass(frozen=True, slots=True)
class Coding:
    """Compression parameters, with the numbers that Blosc2 gives to codecs, filters and split modes."""

    codec: int = 5
    codec_meta: int = 0
    clevel: int = 1
    filters: tuple[int, ...] = (0, 0, 0, 0, 0, 1)
    filters_meta: tuple[int, ...] = (0, 0, 0, 0, 0, 0)
    splitmode: int = 3
    blocksize: int = 0
    """Bytes of a block, 0 where each chunk has its own."""


@dataclass(frozen=True)
class Frame:
    """A contiguous frame. Its numbers were checked; its table and its chunks are, when they are first needed."""

    read_at: ReadAt = field(repr=False)
    layout: Layout
    coding: Coding
    vlmeta: dict[str, Any]
    """User attributes as Python values."""
    vlmeta_raw: dict[str, bytes] = field(repr=False)
    """User attributes as msgpack, verbatim."""
    cbytes: int
    """Compressed size of all chunks in bytes."""
    nbytes: int
    """Uncompressed size of all chunks in bytes, padding included."""
    size: int
    """Bytes of the whole frame."""
    header_size: int

    @cached_property
    def offsets(self) -> np.ndarray[Any, Any]:
        """Position of each chunk from the start of the file; negative for special values: -1 - special.

        Raises
        ------
        UnsafeContent
            If the table is damaged.
        """
        return _read_offsets(self)

    def chunk(self, nchunk: int) -> bytes:
        """Read compressed chunk `nchunk` and check it (U4).

        Raises
        ------
        ChunkNotFound
            If there is no such chunk.
        UnsafeContent
            If its bytes are not a chunk of this frame.
        """
        if not 0 <= nchunk < self.layout.nchunks:
            raise ChunkNotFound(f"there is no chunk {nchunk}: the dataset has {self.layout.nchunks}")
        offset = int(self.offsets[nchunk])
        if offset < 0:
            return self._special(nchunk, Special(-1 - offset))
        head = self.read_at(offset, HEADER_SIZE)
        (length,) = struct.unpack_from("<i", head, 12)
        if not HEADER_SIZE <= length <= self.size - offset:
            raise UnsafeContent(f"chunk {nchunk} reaches beyond its file")
        chunk = head + self.read_at(offset + HEADER_SIZE, length - HEADER_SIZE) if length > HEADER_SIZE else head
        check_chunk(chunk, self.layout, nchunk)
        return chunk

    def _special(self, nchunk: int, special: Special) -> bytes:
        layout = self.layout
        nbytes = chunk_nbytes(layout, nchunk)
        if special is Special.UNINITIALISED:
            # Readers that use blosc2 would show whatever is in their memory.
            special = Special.ZEROS
        return special_chunk(special, nbytes, typesize=layout.typesize, blocksize=self.coding.blocksize)

    def skeleton(self) -> Skeleton | None:
        """Return what of the file is not chunks, or None if that is too much to keep. Raises UnsafeContent."""
        stored = np.flatnonzero(self.offsets >= 0)
        order = stored[np.argsort(self.offsets[stored], kind="stable")]
        parts: list[bytes | int] = []
        position = gaps = 0
        for nchunk in order:
            offset = int(self.offsets[nchunk])
            if offset < position:
                return None
            if offset > position:
                gaps += offset - position
                if gaps > MAX_GAP_BYTES:
                    return None
                parts.append(self.read_at(position, offset - position))
            parts.append(int(nchunk))
            (length,) = struct.unpack("<i", self.read_at(offset + 12, 4))
            if length < HEADER_SIZE:
                raise UnsafeContent(f"chunk {int(nchunk)} says that it has {length} bytes")
            position = offset + length
        if not position <= self.size <= position + MAX_TRAILER_BYTES + MAX_GAP_BYTES:
            return None
        parts.append(self.read_at(position, self.size - position))
        return Skeleton(self.size, tuple(parts))


def read_frame(read_at: ReadAt, size: int, *, kind: Kind | None = None) -> Frame:
    """Read and check what a frame says of itself (requirement U3, reliability-security.md 1.2).

    Parameters
    ----------
    read_at
        Reader of the file's bytes.
    size
        Size of the file in bytes.
    kind
        What the frame must be: `Kind.ARRAY` needs a ``b2nd`` layer; the others ignore one. None: whatever it is.

    Raises
    ------
    UnsafeContent
        If the file is no contiguous frame, or one that asks for something which foreign bytes may not.
    """
    head = _read_header(read_at, size)
    metalayers = _read_metalayers(head.raw)
    unknown = sorted(set(metalayers) - _METALAYERS)
    if unknown:
        raise UnsafeContent(f"the frame holds a '{unknown[0][:40]}', which may refer to other files or hold code")
    if kind is None:
        kind = Kind.ARRAY if metalayers else Kind.FRAME
    if kind is Kind.ARRAY:
        if not metalayers:
            raise UnsafeContent("the file holds a frame of bytes, not an n-dimensional array")
        meta = metalayers.get("b2nd", metalayers.get("caterva", b""))
        parse = _known_layout if len(meta) <= _SMALL_META_BYTES else _array_layout
        layout = parse(meta, head.typesize, head.chunksize, head.nbytes)
    else:
        layout = _bytes_layout(kind, head)
    vlmeta_raw = _read_vlmeta(read_at, head)
    coding = head.coding if layout.kind is Kind.ARRAY or head.coding.blocksize <= MAX_BLOCK_BYTES else Coding()
    vlmeta = {name: unpack_value(name, value) for name, value in vlmeta_raw.items()}
    return Frame(read_at, layout, coding, vlmeta, vlmeta_raw, head.cbytes, head.nbytes, size, head.size)


@dataclass(frozen=True, slots=True)
class _Head:
    raw: bytes
    size: int
    frame_size: int
    nbytes: int
    cbytes: int
    typesize: int
    chunksize: int
    coding: Coding
    has_vlmeta: bool


def _read_header(read_at: ReadAt, size: int) -> _Head:
    if size < HEADER_MIN + _TRAILER_END:
        raise UnsafeContent("the file is not a Blosc2 frame: it is too short")
    # One read serves nearly every file: the header is followed by chunks or the trailer anyway.
    first = read_at(0, min(size, 4096))
    if first[: len(MAGIC)] != MAGIC:
        raise UnsafeContent("the file is not a Blosc2 frame")
    header_size, frame_size = struct.unpack_from(">i", first, 11)[0], struct.unpack_from(">Q", first, 16)[0]
    if frame_size != size:
        raise UnsafeContent(f"the frame says that it has {frame_size} bytes, but the file has {size}")
    if not HEADER_MIN <= header_size <= min(size, MAX_HEADER_BYTES):
        raise UnsafeContent("the header of the frame has an impossible size")
    nbytes, cbytes = (struct.unpack_from(">q", first, at)[0] for at in (30, 39))
    version = first[25] & 0x0F
    # Version 3 has chunks of varying size, as which newer versions of Blosc2 also see a frame without any.
    if first[24] != 0xA4 or first[26] != 0 or (version > _VERSION_MAX and (nbytes or version != 3)):
        raise UnsafeContent("the frame is of a version or kind that is not supported")
    typesize, blocksize, chunksize = (struct.unpack_from(">i", first, at)[0] for at in (48, 53, 58))
    if chunksize == -1 and not nbytes:
        chunksize = 0  # how blosc2 writes a frame that never had a chunk
    if not 1 <= typesize <= MAX_CHUNK_BYTES:
        raise UnsafeContent("the elements of the frame have an impossible size")
    if not (0 <= chunksize <= MAX_CHUNK_BYTES and 0 <= blocksize <= MAX_BLOCK_BYTES):
        raise UnsafeContent(
            f"chunks of {chunksize} bytes in blocks of {blocksize} are not supported"
            f" (at most {MAX_CHUNK_BYTES} and {MAX_BLOCK_BYTES})"
        )
    if nbytes < 0 or not 0 <= cbytes <= size or (nbytes and not chunksize):
        raise UnsafeContent("the frame has impossible sizes")
    codec = first[27] & 0x0F
    if codec > 5:
        raise UnsafeContent("the frame uses a codec that is not built into Blosc2")
    coding = Coding(
        codec, first[78], first[27] >> 4, tuple(first[71:77]), tuple(first[79:85]), first[28] + 1, blocksize
    )
    raw = first[:header_size] if header_size <= len(first) else read_at(0, header_size)
    return _Head(raw, header_size, size, nbytes, cbytes, typesize, chunksize, coding, first[68] == 0xC3)


def _read_metalayers(raw: bytes) -> dict[str, bytes]:
    try:
        _, places, _ = msgpack.unpackb(raw[87:], strict_map_key=False, raw=False, max_ext_len=0)
        if len(places) > 16:
            raise UnsafeContent("the frame has too many metalayers")
        return {_text(name): _bin32(raw, offset) for name, offset in places.items()}
    except UnsafeContent:
        raise
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException, struct.error):
        raise UnsafeContent("the metalayers of the frame are damaged") from None


def _text(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(name)
    return name


def _bin32(raw: bytes, offset: int) -> bytes:
    if not 0 <= offset <= len(raw) - 5 or raw[offset] != 0xC6:
        raise ValueError(offset)
    (length,) = struct.unpack_from(">I", raw, offset + 1)
    if length > len(raw) - offset - 5:
        raise ValueError(length)
    return raw[offset + 5 : offset + 5 + length]


def _array_layout(meta: bytes, typesize: int, chunksize: int, nbytes: int) -> Layout:
    try:
        fields = msgpack.unpackb(meta, raw=False, max_ext_len=0)
        ndim, shape, chunks, blocks = fields[1], tuple(fields[2]), tuple(fields[3]), tuple(fields[4])
        text = fields[6] if len(fields) > 6 else ""
        numbers = (*shape, *chunks, *blocks)
        if any(type(n) is not int or n < 0 for n in numbers) or not isinstance(text, str):
            raise ValueError(fields)
    except (ValueError, TypeError, IndexError, msgpack.UnpackException):
        raise UnsafeContent("the geometry of the array is damaged") from None
    if not (ndim == len(shape) == len(chunks) == len(blocks) <= MAX_NDIM):
        raise UnsafeContent(f"arrays of more than {MAX_NDIM} dimensions are not supported")
    dtype, name = named_dtype(text or f"|S{typesize}")
    # Blosc2 takes elements of more than 255 bytes for single bytes in some of its functions.
    if dtype.itemsize != typesize and not (dtype.itemsize > 255 and typesize == 1):
        raise UnsafeContent(f"the type '{text[:80]}' does not fit elements of {typesize} bytes")
    return array_layout(shape, chunks, blocks, name, chunksize=chunksize, nbytes=nbytes)


# In a root of many thousands of datasets most are of a few shapes.
_known_layout = lru_cache(maxsize=512)(_array_layout)


def array_layout(
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    blocks: tuple[int, ...],
    dtype: str,
    *,
    chunksize: int | None = None,
    nbytes: int | None = None,
) -> Layout:
    """Return the layout of an array, computed from its geometry and compared with what a frame declares.

    Raises
    ------
    UnsafeContent
        If the numbers contradict each other or are too large.
    """
    typesize = parse_dtype(dtype).itemsize
    size = prod(shape) * typesize
    if not size:
        return Layout(Kind.ARRAY, shape, chunks, blocks, dtype, typesize, 0, 0, 0)
    if any(c < 1 or b < 1 for c, b in zip(chunks, blocks, strict=True)):
        raise UnsafeContent("the chunks or blocks of the array have no elements")
    padded = padded_nbytes(chunks, blocks, typesize)
    nchunks = prod(-(-n // c) for n, c in zip(shape, chunks, strict=True))
    if padded > MAX_CHUNK_BYTES or prod(blocks) * typesize > MAX_BLOCK_BYTES or nchunks > MAX_CHUNKS:
        raise UnsafeContent("the chunks of the array are too large or too many")
    if size > 2**62:
        raise UnsafeContent("the array is too large")
    if (chunksize is not None and chunksize != padded) or (nbytes is not None and nbytes != nchunks * padded):
        raise UnsafeContent("the geometry of the array contradicts the sizes of its frame")
    return Layout(Kind.ARRAY, shape, chunks, blocks, dtype, typesize, padded, nchunks, size)


def bytes_layout(kind: Kind, nbytes: int, chunksize: int, *, typesize: int = 1) -> Layout:
    """Return the layout of a frame of bytes, of a plain file, or of an HDF5 file as a whole."""
    nchunks = -(-nbytes // chunksize) if nbytes else 0
    return Layout(kind, (nbytes,), (chunksize,), (0,), "|u1", typesize, chunksize, nchunks, nbytes)


def _bytes_layout(kind: Kind, head: _Head) -> Layout:
    if head.nbytes and -(-head.nbytes // head.chunksize) > MAX_CHUNKS:
        raise UnsafeContent("the frame has too many chunks")
    return bytes_layout(kind, head.nbytes, head.chunksize, typesize=head.typesize)


def _read_offsets(frame: Frame) -> np.ndarray[Any, Any]:
    nchunks = frame.layout.nchunks
    if not nchunks:
        return np.empty(0, dtype="<i8")
    position = frame.header_size + frame.cbytes
    end = frame.size - _TRAILER_END
    if position + HEADER_SIZE > end:
        raise UnsafeContent("the frame has no table of its chunks")
    (length,) = struct.unpack("<i", frame.read_at(position + 12, 4))
    if not HEADER_SIZE <= length <= end - position:
        raise UnsafeContent("the table of the frame's chunks is damaged")
    chunk = frame.read_at(position, length)
    check_header(chunk, nbytes=nchunks * 8, max_nbytes=MAX_CHUNKS * 8)
    values = np.frombuffer(decompress(chunk), dtype="<i8")
    special = values < 0
    offsets = np.where(special, -1 - ((values >> 56) & 0x7F), values + frame.header_size)
    kinds = -1 - offsets[special]
    allowed = (Special.ZEROS, Special.NANS, Special.UNINITIALISED)
    if not np.isin(kinds, allowed).all():
        raise UnsafeContent("the frame has special chunks of an unknown kind")
    if (offsets[~special] > position - HEADER_SIZE).any():
        raise UnsafeContent("chunks of the frame lie outside of it")
    return offsets


def _read_vlmeta(read_at: ReadAt, head: _Head) -> dict[str, bytes]:
    if not head.has_vlmeta:
        return {}
    tail = read_at(head.frame_size - _TRAILER_END, 5)
    (length,) = struct.unpack_from(">I", tail, 1)
    if tail[0] != 0xCE or not _TRAILER_END <= length <= min(MAX_TRAILER_BYTES, head.frame_size - head.size):
        raise UnsafeContent("the trailer of the frame is damaged")
    trailer = read_at(head.frame_size - length, length)
    try:
        unpacker = msgpack.Unpacker(strict_map_key=False, raw=False, max_buffer_size=len(trailer), max_ext_len=16)
        unpacker.feed(trailer)
        if unpacker.read_array_header() < 2:
            raise ValueError(trailer)
        unpacker.skip()
        _, places, _ = unpacker.unpack()
        if len(places) > MAX_VLMETA:
            raise UnsafeContent(f"the frame has more than {MAX_VLMETA} attributes")
        packed = {_text(name): _bin32(trailer, offset) for name, offset in places.items()}
    except UnsafeContent:
        raise
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException, struct.error):
        raise UnsafeContent("the attributes of the frame are damaged") from None
    values: dict[str, bytes] = {}
    total = 0
    for name, chunk in packed.items():
        total += check_header(chunk, max_nbytes=MAX_VLMETA_BYTES).nbytes
        if total > MAX_VLMETA_BYTES:
            raise UnsafeContent(f"the attributes of the frame hold more than {MAX_VLMETA_BYTES} bytes")
        values[name] = decompress(chunk)
    return values


def unpack_value(name: str, packed: bytes) -> Any:
    """Decode the value of an attribute, which must be plain data; undecodable bytes are returned as they are.

    Raises
    ------
    UnsafeContent
        If the value holds an object that only blosc2 could bring to life (functions, lazy arrays, other frames).
    """

    def refuse(code: int, _data: bytes) -> Any:
        raise UnsafeContent(f"the attribute '{name[:40]}' holds an object (type {code}) that is not plain data")

    try:
        return msgpack.unpackb(packed, ext_hook=refuse, strict_map_key=False, raw=False)
    except UnsafeContent:
        raise
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError):
        return packed


# --- skeletons ---------------------------------------------------------------------
def encode_skeleton(skeleton: Skeleton) -> bytes:
    """Encode for the wire: msgpack of the size, then literal bytes and ``[start, stop]`` runs of chunk numbers."""
    packed: bytes = msgpack.packb([skeleton.size, list(_runs(skeleton.parts))])
    return packed


def _runs(parts: tuple[bytes | int, ...]) -> Iterator[bytes | list[int]]:
    run: list[int] | None = None
    for part in parts:
        if isinstance(part, int) and run and run[1] == part:
            run[1] += 1
            continue
        if run:
            yield run
        run = [part, part + 1] if isinstance(part, int) else None
        if isinstance(part, bytes):
            yield part
    if run:
        yield run


def decode_skeleton(data: bytes) -> tuple[int, tuple[bytes | int, ...]]:
    """Decode what `encode_skeleton` made: the size of the file and its parts. Raises UnsafeContent."""
    parts: list[bytes | int] = []
    try:
        size, runs = msgpack.unpackb(data, ext_hook=_no_extension, raw=False)
        for run in runs:
            if isinstance(run, bytes):
                parts.append(run)
                continue
            start, stop = run
            if not 0 <= start < stop <= MAX_CHUNKS or len(parts) + stop - start > MAX_CHUNKS:
                raise ValueError(run)
            parts.extend(range(start, stop))
        if type(size) is not int or not 0 <= size < 2**63:
            raise ValueError(size)
    except (ValueError, TypeError, msgpack.UnpackException):
        raise UnsafeContent("the description of a stored file is damaged") from None
    return size, tuple(parts)


def _no_extension(code: int, _data: bytes) -> Any:
    raise ValueError(code)
