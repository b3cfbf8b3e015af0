"""Answers with data: which bytes say what a reader asked for, at the lowest cost.

In this order (docs/performance.md has the figures): a whole dataset is its stored file; a slice that lies on chunk
boundaries is made of stored chunks; any other is an exact frame, with a cheap codec when it is small enough to be
held, and in uncompressed pieces of known size, streamed, when it is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import product
from math import prod
from typing import Any
from urllib.parse import quote

import msgpack
import numpy as np

from caterva2.errors import BadRequest, InvalidField, InvalidSlice
from caterva2.slices import Key, Selection, parse_slice, select
from caterva2.wire import (
    HEADER_CACHE,
    HEADER_SOURCE,
    HEADER_STALE,
    HEADER_VERIFIED_AGE,
    HEADER_VERSION,
    Kind,
)
from caterva2_formats.assemble import (
    answer_layout,
    array_to_frame,
    bytes_to_frame,
    from_array,
    plan_frame,
    stored_chunk,
    stored_header,
)
from caterva2_formats.base import Layout, Skeleton
from caterva2_formats.chunks import LZ4, ZSTD, chunk_nbytes, decompress, placement
from caterva2_formats.dtypes import parse_dtype
from caterva2_formats.frames import array_layout, bytes_layout
from caterva2_formats.info import coding_of
from caterva2_service.threads import Threads

from .library import Resource
from .memory import HERE, SMALL_BYTES, Memory, Share
from .reading import cell_dtype, part_of

OCTETS = "application/octet-stream"
HELD_BYTES = 16 * 2**20
"""Answers up to this many uncompressed bytes are made at once; larger ones are streamed."""
_GROUP_BYTES = 24 * 2**20
"""Uncompressed bytes that a streamed answer reads at a time."""
_PIECE_BYTES = 4 * 2**20
_OVERFETCH = 1.5
"""Stored chunks may hold this many times the elements of a slice before an exact frame is made instead."""
_CHUNK_HEADER = 32
_INLINE_BYTES = 256 * 2**10
"""Arrays up to this size are encoded on the event loop, which costs less than a thread would."""

Body = bytes | list[bytes] | AsyncGenerator[bytes, None]


@dataclass(slots=True)
class Answer:
    """What is sent: a body of known length, and what is said about it."""

    body: Body
    length: int
    media_type: str | None = OCTETS
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Codec:
    """How exact frames are compressed: `codec` by its number, level 0 for not at all."""

    codec: int
    clevel: int


CODECS = {"zstd": Codec(ZSTD, 1), "lz4": Codec(LZ4, 1), "none": Codec(LZ4, 0)}


# --- what is asked ---------------------------------------------------------------------
def selection_of(resource: Resource, text: str | None) -> Selection | None:
    """Apply the text of a slice to a resource; None for a resource that is answered whole.

    Raises
    ------
    InvalidSlice
        If the slice does not fit, or the resource cannot be sliced.
    """
    layout = sliceable(resource)
    key = parse_slice(text)
    if not key:
        return None
    if resource.kind is Kind.HDF5:
        raise InvalidSlice(f"{resource.path} is an HDF5 file: it can be fetched as a whole, or a dataset inside of it")
    selection = select(_byte_key(key, layout) if layout.kind is not Kind.ARRAY else key, layout.shape)
    return None if selection.is_whole else selection


def sliceable(resource: Resource) -> Layout:
    """Return the layout of a resource. Raises BadRequest if its bytes are not what its name says."""
    if resource.layout is None:
        raise BadRequest(f"{resource.path} cannot be read: {resource.info.get('error', 'it is not a dataset')}")
    return resource.layout


def _byte_key(key: Key, layout: Layout) -> Key:
    # The original answers the index just behind the end of a frame with no bytes.
    return (slice(0, 0),) if key == (layout.nbytes,) else key


# --- whole ---------------------------------------------------------------------
async def whole(resource: Resource, threads: Threads, memory: Memory, *, plain: bool = False) -> Answer:
    """Answer with the stored file; for what is not stored as a frame, with the frame that it would be.

    Parameters
    ----------
    plain
        Whether a frame that has to be made gets uncompressed chunks, as `would_wait` advises.
    """
    layout = sliceable(resource)
    if resource.kind is Kind.HDF5:
        return Answer(file_bytes(resource, layout, 0, layout.nbytes, threads), layout.nbytes)
    skeleton = await resource.skeleton()
    if skeleton is not None:
        return Answer(_frame_bytes(resource, skeleton), skeleton.size)
    if "(" in layout.dtype and layout.kind is Kind.ARRAY and not layout.dtype.startswith("["):
        # Readers of frames show sub-array types in their own ways: send the axes that they stand for.
        return await exact(resource, select((), layout.shape), CODECS["lz4"], threads, memory)
    vlmeta = _vlmeta(resource.info)
    if plain:
        return _uncompressed(resource, layout, threads, vlmeta)
    return await assembled(resource, layout, range(layout.nchunks), memory, vlmeta=vlmeta)


async def would_wait(resource: Resource) -> bool:
    """Tell whether the first byte of a whole dataset would wait for its last chunk to come over the link.

    A frame begins with its size. That of a stored frame is known, and that of small ones or of what is in the cache is
    known soon. For others, as are large HDF5 datasets, only a frame of uncompressed chunks has a size that is known
    before they are here.
    """
    layout = sliceable(resource)
    if resource.kind is Kind.HDF5 or layout.nchunks * layout.chunksize <= HELD_BYTES:
        return False
    return bool(resource.missing(range(layout.nchunks))) and await resource.skeleton() is None


def _uncompressed(resource: Resource, layout: Layout, threads: Threads, vlmeta: Mapping[str, bytes]) -> Answer:
    sizes = [chunk_nbytes(layout, nchunk) + _CHUNK_HEADER for nchunk in range(layout.nchunks)]
    plan = plan_frame(layout, sizes, coding=coding_of(dict(resource.info)), vlmeta=vlmeta)
    blocksize = prod(layout.blocks) * layout.typesize if layout.kind is Kind.ARRAY else 0

    def stored(chunk: bytes) -> bytes:
        return stored_chunk(decompress(chunk), typesize=layout.typesize, blocksize=blocksize)

    async def stream() -> AsyncGenerator[bytes, None]:
        yield plan.head
        async with aclosing(closable(resource.chunks(range(layout.nchunks)))) as chunks:
            async for _, chunk in chunks:
                yield await threads.run(stored, chunk)
        yield plan.tail

    return Answer(stream(), plan.size)


def _vlmeta(info: Mapping[str, Any]) -> dict[str, bytes]:
    found = info.get("schunk", info).get("vlmeta") or {}
    return {name: msgpack.packb(value) for name, value in found.items()}


async def _frame_bytes(resource: Resource, skeleton: Skeleton) -> AsyncGenerator[bytes, None]:
    numbers = [part for part in skeleton.parts if isinstance(part, int)]
    async with aclosing(closable(resource.chunks(numbers))) as chunks:
        for part in skeleton.parts:
            yield (await anext(chunks))[1] if isinstance(part, int) else part


async def file_bytes(
    resource: Resource, layout: Layout, start: int, stop: int, threads: Threads
) -> AsyncGenerator[bytes, None]:
    """Yield the half-open range of a file's own bytes."""
    if stop <= start:
        return
    size = layout.chunksize
    numbers = range(start // size, -(-stop // size))
    async with aclosing(closable(resource.chunks(numbers))) as chunks:
        async for nchunk, chunk in chunks:
            data = memoryview(await threads.run(decompress, chunk))
            offset = nchunk * size
            data = data[max(start - offset, 0) : stop - offset]
            for first in range(0, len(data), 2**20):
                yield bytes(data[first : first + 2**20])


# --- stored chunks ---------------------------------------------------------------------
def aligned(layout: Layout, selection: Selection) -> tuple[Layout, list[int]] | None:
    """Return the layout of a slice that is made of stored chunks, and their numbers; None if it is not worth it."""
    if layout.kind is not Kind.ARRAY or selection.newaxes or not selection.size:
        return None
    for axis, chunk, length in zip(selection.axes, layout.chunks, layout.shape, strict=True):
        if axis.dropped or axis.flipped or axis.step != 1 or axis.start % chunk:
            return None
        if axis.count < chunk and axis.count != length:
            return None
    shape = selection.box
    grid = [-(-n // c) for n, c in zip(shape, layout.chunks, strict=True)]
    if prod(grid) * prod(layout.chunks) > _OVERFETCH * prod(shape) and shape != layout.shape:
        return None
    sliced = array_layout(shape, layout.chunks, layout.blocks, layout.dtype)
    return sliced, selection.chunk_numbers(layout.chunks)


async def assembled(
    resource: Resource,
    layout: Layout,
    numbers: Iterable[int],
    memory: Memory,
    *,
    vlmeta: Mapping[str, bytes] | None = None,
) -> Answer:
    """Answer with a frame of stored chunks.

    A frame begins with its size, so every chunk is brought in before the first byte is sent; small ones are held,
    large ones are in the cache by then.
    """
    wanted = list(numbers)
    places: list[int] = []
    expected = len(wanted) * resource.chunk_cbytes
    held: list[bytes] | None = [] if expected <= 2 * HELD_BYTES else None
    share = await _share(memory, resource, expected if held is not None else 0, wanted)
    size = 0
    async with aclosing(closable(resource.chunks(wanted))) as chunks:
        async for _, chunk in chunks:
            places.append(placement(chunk))
            size += len(chunk)
            if held is not None:
                held.append(chunk)
                held = held if size <= 2 * HELD_BYTES else None
    plan = plan_frame(layout, places, coding=coding_of(dict(resource.info)), vlmeta=vlmeta or {})
    if held is not None:
        return _held(memory, share, list(plan.stream(held)))
    share.close()

    async def stream() -> AsyncGenerator[bytes, None]:
        yield plan.head
        async with aclosing(closable(resource.chunks(wanted))) as chunks:
            async for _, chunk in chunks:
                if placement(chunk) > 0:
                    yield chunk
        yield plan.tail

    return Answer(stream(), plan.size)


# --- exact frames ---------------------------------------------------------------------
def is_held(layout: Layout, selection: Selection) -> bool:
    """Tell whether an exact frame of a selection is made at once, rather than streamed."""
    return selection.size * cell_dtype(layout).itemsize <= HELD_BYTES


async def exact(resource: Resource, selection: Selection, codec: Codec, threads: Threads, memory: Memory) -> Answer:
    """Answer with a frame of exactly the selected elements."""
    layout = sliceable(resource)
    if not is_held(layout, selection):
        return _streamed(resource, selection, layout, memory)
    share = await _share_of_read(memory, resource, selection)
    found = await resource.read(selection, alone=True)
    if layout.kind is not Kind.ARRAY:
        data = found.tobytes()
        pieces = bytes_to_frame(data, codec=codec.codec, clevel=codec.clevel, typesize=layout.typesize)
        return _held(memory, share, pieces)
    return await of_array(found, codec, threads, memory, share)


async def _share(memory: Memory, resource: Resource, nbytes: int, numbers: Sequence[int]) -> Share:
    """Return a share of `nbytes` for an answer of these chunks."""
    waits = nbytes > SMALL_BYTES and resource.missing(numbers)
    return await memory.share(nbytes, resource.path.partition("/")[0] if waits else HERE)


async def _share_of_read(memory: Memory, resource: Resource, selection: Selection) -> Share:
    """Return a share for the elements of a selection and the frame that is made of them."""
    layout = sliceable(resource)
    nbytes = 2 * selection.size * cell_dtype(layout).itemsize
    numbers = selection.chunk_numbers(layout.chunks) if nbytes > SMALL_BYTES else ()
    return await _share(memory, resource, nbytes, numbers)


async def share_of_rows(memory: Memory, resource: Resource) -> Share:
    """Return a share for what a filter, or lists of indices, select: how much that is shows only when it is read."""
    layout = sliceable(resource)
    return await _share(memory, resource, min(layout.nbytes, HELD_BYTES), range(layout.nchunks))


def _held(memory: Memory, share: Share, pieces: list[bytes]) -> Answer:
    """Answer with what is in memory."""
    length = sum(map(len, pieces))
    if length <= SMALL_BYTES:
        share.close()
        return Answer(pieces, length)
    share.shrink(length)
    return Answer(memory.send(share, iter(pieces)), length)


async def of_field(
    resource: Resource, field: str, selection: Selection | None, codec: Codec, threads: Threads, memory: Memory
) -> Answer:
    """Answer with one field of a structured array, or of a slice of it.

    Raises
    ------
    InvalidField
        If the array has no such field.
    """
    layout = sliceable(resource)
    names = parse_dtype(layout.dtype).names if layout.kind is Kind.ARRAY else None
    if not names:
        raise InvalidField(f"{resource.path} has no fields")
    if field not in names:
        raise InvalidField(f"{resource.path} has no field '{field[:80]}'; its fields are {', '.join(names)}")
    selection = selection or select((), layout.shape)
    share = await _share_of_read(memory, resource, selection)
    found = await resource.read(selection, alone=True)
    return await of_array(np.ascontiguousarray(found[field]), codec, threads, memory, share)


async def of_array(found: np.ndarray[Any, Any], codec: Codec, threads: Threads, memory: Memory, share: Share) -> Answer:
    """Answer with the frame of an array that is at hand, for which there is a share of the memory."""

    def encode() -> list[bytes]:
        cells, dtype = from_array(found)
        return array_to_frame(cells, dtype, codec=codec.codec, clevel=codec.clevel)

    return _held(memory, share, encode() if found.nbytes < _INLINE_BYTES else await threads.run(encode))


def _streamed(resource: Resource, selection: Selection, layout: Layout, memory: Memory) -> Answer:
    """Send uncompressed pieces: their sizes are known, so that the frame can begin before its end is read."""
    if layout.kind is Kind.ARRAY:
        sent = _sent_layout(layout, selection)
    else:
        sent = bytes_layout(Kind.FRAME, selection.size, _PIECE_BYTES)
    sizes = [sent.chunksize + _CHUNK_HEADER] * sent.nchunks
    if layout.kind is not Kind.ARRAY:
        sizes[-1] = sent.nbytes - (sent.nchunks - 1) * sent.chunksize + _CHUNK_HEADER
    plan = plan_frame(sent, sizes)

    async def stream() -> AsyncGenerator[bytes, None]:
        yield plan.head
        blocksize = prod(sent.blocks) * sent.typesize if layout.kind is Kind.ARRAY else 0
        for group in _groups(sent):
            part = part_of(selection, *_bounds(group, sent.shape))
            numbers = part.chunk_numbers(layout.chunks)
            share = await _share(memory, resource, part.size * cell_dtype(layout).itemsize, numbers)
            pieces = _pieces(await resource.read(part), group, sent, blocksize)
            async with aclosing(memory.send(share, pieces)) as sending:
                del pieces  # whoever sends them forgets them early
                async for piece in sending:
                    yield piece
        yield plan.tail

    return Answer(stream(), plan.size)


def _sent_layout(layout: Layout, selection: Selection) -> Layout:
    dtype = parse_dtype(layout.dtype)
    if dtype.subdtype is None:
        return answer_layout(selection.shape, dtype)
    base, inner = dtype.subdtype
    return answer_layout(selection.shape + inner, base)


Bounds = tuple[tuple[int, ...], tuple[int, ...]]


def _groups(sent: Layout) -> Iterator[list[Bounds]]:
    """Yield runs of chunks that lie along one axis and are read together, in the order of the frame."""
    along = next((axis for axis, c in enumerate(sent.chunks) if c > 1), len(sent.shape) - 1)
    per_group = max(1, _GROUP_BYTES // max(1, sent.chunksize))
    grid = [range(0, n, c) for n, c in zip(sent.shape, sent.chunks, strict=True)]
    # Slabs are whole on every axis behind `along`, so the last axis that varies in a frame's order is `along`.
    for outer in product(*grid[:along]):
        starts = [(*outer, start, *(0 for _ in grid[along + 1 :])) for start in grid[along]]
        for first in range(0, len(starts), per_group):
            yield [
                (start, tuple(min(a + c, n) for a, c, n in zip(start, sent.chunks, sent.shape, strict=True)))
                for start in starts[first : first + per_group]
            ]


def _bounds(group: list[Bounds], shape: tuple[int, ...]) -> Bounds:
    return group[0][0], group[-1][1]


def _pieces(
    found: np.ndarray[Any, Any], group: list[Bounds], sent: Layout, blocksize: int
) -> Iterator[bytes | memoryview]:
    """Yield a group of uncompressed chunks."""
    for start, stop in group:
        inside = tuple(slice(a - o, b - o) for a, b, o in zip(start, stop, group[0][0], strict=True))
        flat = np.ascontiguousarray(found[inside]).reshape(-1).view(np.uint8)
        nbytes = sent.chunksize if sent.kind is Kind.ARRAY else flat.nbytes
        yield stored_header(nbytes, typesize=sent.typesize, blocksize=blocksize)
        yield flat.data
        yield bytes(nbytes - flat.nbytes)


# --- what is said ---------------------------------------------------------------------
def data_headers(resource: Resource, *, source: str | None = None) -> dict[str, str]:
    """Return the headers that say which version was read, how fresh it is and where it came from."""
    freshness, usage = resource.freshness, resource.usage
    headers = {
        HEADER_VERSION: resource.etag,
        HEADER_VERIFIED_AGE: f"{freshness.verified_age_s:.3f}",
        HEADER_SOURCE: source or usage.source,
    }
    if freshness.stale_s is not None:
        headers[HEADER_STALE] = f"{freshness.stale_s:.3f}"
    if usage.cache_state is not None:
        headers[HEADER_CACHE] = usage.cache_state
    if resource.mtime is not None:
        headers["Last-Modified"] = formatdate(resource.mtime, usegmt=True)
    return headers


def entity_tag(resource: Resource, *parts: object) -> str:
    """Return the ``ETag`` of an answer: the version's own for the stored bytes, another for each other view."""
    if not any(part is not None for part in parts):
        return f'"{resource.etag}"'
    view = hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
    return f'"{resource.etag}-{view}"'


def disposition(filename: str) -> str:
    """Return ``Content-Disposition`` for a download: quoted ASCII that every client reads, and the true name.

    Clients of the original unpack a body whose quoted name ends in ``.b2``.
    """
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in filename)
    header = f'attachment; filename="{plain}"'
    return header if plain == filename else f"{header}; filename*=utf-8''{quote(filename, safe='')}"


async def closable(chunks: AsyncIterator[tuple[int, bytes]]) -> AsyncGenerator[tuple[int, bytes], None]:
    """Return a generator over `chunks` that also closes them, whatever kind of iterator they are."""
    try:
        async for numbered in chunks:
            yield numbered
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
