"""Compressed chunks: checking their headers, and coding them without holding the interpreter lock.

A Blosc2 chunk is a header of 32 bytes, then blocks that decompress independently of each other. libblosc2 trusts
these headers: a wrong one makes it read or copy memory that is not the chunk's, and an unknown codec number makes
it run ``python`` to look for a plug-in. So nothing here reaches the library before `check_chunk` has accepted it
(requirement U4), and special-value chunks never do.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple, Self

import numpy as np
import xxhash

from caterva2.errors import UnsafeContent
from caterva2.slices import ChunkPart

from .base import MAX_BLOCK_BYTES, MAX_CHUNK_BYTES, Layout
from .dtypes import Dtype, parse_dtype, storage_dtype

HEADER_SIZE = 32
MAX_CHUNK_OVERHEAD = 32
"""Largest number of bytes by which a compressed chunk may exceed its uncompressed size."""

ZSTD = 5
LZ4 = 1
SHUFFLE = 1

# Formats (bits 5-7 of the flags) of the codecs inside libblosc2: blosclz, lz4 and lz4hc, zlib, zstd.
# 6 would be a user-defined codec, for which the library goes looking for Python modules.
_FORMATS = frozenset({0, 1, 3, 4})
# No filter, shuffle, bitshuffle, delta, truncated precision. Numbers from 32 on are plug-ins.
_FILTERS = frozenset(range(5))
_DELTA = 3

_MEMCPYED = 0x02
_EXTENDED = 0x05
_DICTIONARY = 0x01
_SPECIAL = 0x70

Bytes = bytes | bytearray | memoryview
Array = np.ndarray[Any, Any]


class Special(IntEnum):
    """Chunks that hold one value repeated, in bits 4-6 of the last header byte."""

    NONE = 0
    ZEROS = 1
    NANS = 2
    VALUE = 3
    UNINITIALISED = 4


@dataclass(frozen=True, slots=True)
class ChunkHeader:
    """What the header of a chunk says, sizes in bytes."""

    flags: int
    typesize: int
    nbytes: int
    blocksize: int
    cbytes: int
    filters: bytes
    filters_meta: bytes
    flags2: int

    @property
    def special(self) -> int:
        """One of `Special`, or a number that is none of them."""
        return (self.flags2 >> 4) & 0x7

    @property
    def is_stored(self) -> bool:
        """Whether the bytes follow the header uncompressed."""
        return bool(self.flags & _MEMCPYED)

    @property
    def nblocks(self) -> int:
        """Number of blocks."""
        return -(-self.nbytes // self.blocksize) if self.blocksize else 0


def read_header(chunk: Bytes) -> ChunkHeader:
    """Read the header of a chunk. Raises UnsafeContent if there are fewer bytes than that."""
    if len(chunk) < HEADER_SIZE:
        raise UnsafeContent(f"a chunk has at least {HEADER_SIZE} bytes, this one {len(chunk)}")
    flags, typesize = chunk[2], chunk[3]
    nbytes, blocksize, cbytes = struct.unpack_from("<iii", chunk, 4)
    return ChunkHeader(flags, typesize, nbytes, blocksize, cbytes, bytes(chunk[16:22]), bytes(chunk[24:30]), chunk[31])


def typesize_byte(typesize: int) -> int:
    """Return the element size as chunk headers hold it: a single byte, 1 for anything larger than that."""
    return typesize if typesize <= 255 else 1


def check_header(chunk: Bytes, *, nbytes: int | None = None, max_nbytes: int = MAX_CHUNK_BYTES) -> ChunkHeader:
    """Check that a chunk's header is one that libblosc2 may be given (U4).

    Parameters
    ----------
    chunk
        The whole chunk.
    nbytes
        Uncompressed size that it must have; None for any up to `max_nbytes`.
    max_nbytes
        Largest uncompressed size that is accepted.

    Raises
    ------
    UnsafeContent
        With one sentence that says what is wrong.
    """
    header = read_header(chunk)
    if header.cbytes != len(chunk):
        raise UnsafeContent(f"a chunk of {len(chunk)} bytes says that it has {header.cbytes}")
    _check_header(header, chunk, nbytes, max_nbytes)
    return header


def _check_header(header: ChunkHeader, chunk: Bytes, nbytes: int | None, max_nbytes: int) -> None:
    """Check all but that the chunk has the length that it claims."""
    if nbytes is not None and header.nbytes != nbytes:
        raise UnsafeContent(f"a chunk holds {header.nbytes} bytes of data instead of {nbytes}")
    if not 0 <= header.nbytes <= max_nbytes:
        raise UnsafeContent(f"a chunk says that it holds {header.nbytes} bytes of data (at most {max_nbytes})")
    # Other flags: chunks of files that are not read yet, of other byte order, with blocks of varying size.
    if header.flags & _EXTENDED != _EXTENDED or header.flags2 & ~(_DICTIONARY | _SPECIAL) or chunk[30]:
        raise UnsafeContent("a chunk has a header of another kind than Blosc2's")
    if header.special:
        _check_special(header, header.cbytes)
    else:
        _check_coding(header)


def _check_special(header: ChunkHeader, length: int) -> None:
    size = header.typesize if header.typesize > 1 else length - HEADER_SIZE
    expected = HEADER_SIZE + (size if header.special == Special.VALUE else 0)
    if header.special > Special.UNINITIALISED or length != expected:
        raise UnsafeContent("a chunk claims to repeat one value and does not say which")
    if header.special == Special.VALUE and (size < 1 or header.nbytes % size):
        raise UnsafeContent("a chunk repeats a value that does not fit into it")
    if header.special == Special.NANS and header.typesize not in (4, 8):
        raise UnsafeContent("a chunk of NaNs is neither float32 nor float64")


def _check_coding(header: ChunkHeader) -> None:
    if header.flags >> 5 not in _FORMATS:
        raise UnsafeContent("a chunk is compressed with a codec that is not built into Blosc2")
    if not set(header.filters) <= _FILTERS:
        raise UnsafeContent("a chunk uses a filter that is not built into Blosc2")
    if not 1 <= header.blocksize <= MAX_BLOCK_BYTES and header.nbytes:
        raise UnsafeContent(f"a chunk has blocks of {header.blocksize} bytes (at most {MAX_BLOCK_BYTES})")
    if header.blocksize > max(header.nbytes, 1):
        raise UnsafeContent("a chunk has blocks larger than itself")
    if header.typesize < 1:
        raise UnsafeContent("a chunk has elements of no size")
    if header.is_stored and header.cbytes != header.nbytes + HEADER_SIZE:
        raise UnsafeContent("an uncompressed chunk has another length than its data")
    if not header.is_stored and header.cbytes < HEADER_SIZE + 4 * header.nblocks:
        raise UnsafeContent("a chunk is shorter than the table of its blocks")


def chunk_nbytes(layout: Layout, nchunk: int) -> int:
    """Return the uncompressed bytes of chunk `nchunk`: chunks of arrays are padded, the last of bytes is short."""
    if layout.kind == "array" or nchunk < layout.nchunks - 1:
        return layout.chunksize
    return layout.nbytes - (layout.nchunks - 1) * layout.chunksize


def check_chunk(chunk: Bytes, layout: Layout, nchunk: int) -> ChunkHeader:
    """Check that `chunk` is what chunk `nchunk` of a dataset can be (U4). Raises UnsafeContent."""
    header = check_header(chunk, nbytes=chunk_nbytes(layout, nchunk))
    _check_geometry(header, layout)
    return header


def check_head(head: Bytes, layout: Layout, nchunk: int) -> ChunkHeader:
    """Check the first bytes of what claims to be chunk `nchunk` of a dataset, as `check_chunk` does the whole (U4).

    The length that it claims is at most what compressing can make of its data. Raises UnsafeContent.
    """
    header = read_header(head)
    nbytes = chunk_nbytes(layout, nchunk)
    _check_header(header, head, nbytes, MAX_CHUNK_BYTES)
    _check_geometry(header, layout)
    if header.cbytes > nbytes + MAX_CHUNK_OVERHEAD:
        raise UnsafeContent(f"a chunk claims {header.cbytes} bytes, more than its data has")
    return header


def _check_geometry(header: ChunkHeader, layout: Layout) -> None:
    if header.typesize != typesize_byte(layout.typesize):
        raise UnsafeContent(f"a chunk has elements of {header.typesize} bytes instead of {layout.typesize}")
    if layout.kind != "array":
        return
    if not header.special and header.blocksize != prod(layout.blocks) * layout.typesize:
        raise UnsafeContent("a chunk is cut into other blocks than its dataset")
    if header.special == Special.VALUE and layout.typesize % (header.cbytes - HEADER_SIZE):
        raise UnsafeContent("a chunk repeats a value of another size than the elements of its dataset")


def placement(chunk: Bytes) -> int:
    """Return what `caterva2_formats.assemble.plan_frame` needs to know of a checked chunk.

    That is its length in bytes; or, for zeros and NaNs, which a frame notes in its table of chunks and does not
    hold, ``-1 - special``.
    """
    special = (chunk[31] >> 4) & 0x7
    if special in (Special.NONE, Special.VALUE):
        return len(chunk)
    return -1 - (Special.NANS if special == Special.NANS else Special.ZEROS)


def digest(chunk: Bytes) -> bytes:
    """Return the XXH3-128 digest (16 bytes) of a compressed chunk."""
    return xxhash.xxh3_128_digest(chunk)


# --- coding ---------------------------------------------------------------------
@cache
def _library() -> Any:
    import blosc2

    blosc2.set_releasegil(True)
    return blosc2


def decompress(chunk: Bytes) -> bytes:
    """Return the bytes of a checked chunk. See `decompress_into`."""
    header = read_header(chunk)
    out = bytearray(header.nbytes)
    if header.nbytes:
        decompress_into(chunk, memoryview(out))
    return bytes(out)


def decompress_into(chunk: Bytes, out: Any) -> None:
    """Decompress a checked chunk into a writable buffer of exactly its uncompressed size.

    The interpreter lock is released meanwhile, so that threads add up.

    Raises
    ------
    UnsafeContent
        If the chunk is damaged.
    """
    header = read_header(chunk)
    target = np.frombuffer(out, dtype=np.uint8)
    if target.nbytes != header.nbytes:
        raise UnsafeContent(f"a chunk holds {header.nbytes} bytes of data instead of {target.nbytes}")
    if header.special:
        target[:] = _special_pattern(chunk, header, target.nbytes)
    elif header.is_stored:
        target[:] = np.frombuffer(chunk, dtype=np.uint8, offset=HEADER_SIZE)
    elif header.nbytes:
        _decompress(chunk, target)


def _decompress(chunk: Bytes, target: Array) -> None:
    try:
        _library().decompress2(chunk, target, nthreads=1)
    except (RuntimeError, ValueError):
        raise UnsafeContent("a chunk is damaged: it cannot be decompressed") from None


def _special_pattern(chunk: Bytes, header: ChunkHeader, nbytes: int) -> Array:
    # The library leaves "uninitialised" memory as it is, which would serve other people's bytes: zeros instead.
    if header.special == Special.VALUE:
        value = np.frombuffer(chunk, dtype=np.uint8, offset=HEADER_SIZE)
        return np.tile(value, nbytes // value.nbytes)
    if header.special == Special.NANS:
        value = np.array([np.nan], dtype=f"<f{header.typesize}")
        return np.repeat(value, nbytes // header.typesize).view(np.uint8)
    return np.zeros(1, dtype=np.uint8)


def compress(
    data: Any, *, typesize: int, blocksize: int = 0, codec: int = ZSTD, clevel: int = 1, shuffle: bool = True
) -> bytes:
    """Compress one chunk.

    Parameters
    ----------
    data
        Buffer with the uncompressed bytes.
    typesize
        Size in bytes of one element.
    blocksize
        Size in bytes of a block; 0 lets the library choose.
    codec, clevel
        Number of the codec (`ZSTD`, `LZ4`) and its level, 0 (store) to 9.
    shuffle
        Whether to group the bytes of equal significance, which helps numbers and hurts text.
    """
    filters = [0, 0, 0, 0, 0, SHUFFLE if shuffle and 1 < typesize <= 255 else 0]
    blosc2 = _library()
    chunk: bytes = blosc2.compress2(
        data,
        typesize=typesize,
        blocksize=blocksize,
        codec=blosc2.Codec(codec),
        clevel=clevel,
        filters=[blosc2.Filter(number) for number in filters],
        filters_meta=[0] * 6,
        nthreads=1,
    )
    return chunk


def special_chunk(special: Special, nbytes: int, *, typesize: int, blocksize: int = 0, value: bytes = b"") -> bytes:
    """Return the chunk of a few bytes that stands for one value repeated.

    Parameters
    ----------
    special
        Which value; `Special.VALUE` needs `value`.
    nbytes
        Uncompressed size in bytes.
    typesize
        Size in bytes of an element.
    blocksize
        Size in bytes of a block; 0 for a single block.
    value
        Bytes of one element.
    """
    head = bytes((5, 1, _EXTENDED, typesize_byte(typesize)))
    sizes = struct.pack("<iii", nbytes, min(blocksize or nbytes, nbytes), HEADER_SIZE + len(value))
    return head + sizes + bytes(15) + bytes((special << 4,)) + value


def padded_nbytes(chunks: tuple[int, ...], blocks: tuple[int, ...], typesize: int) -> int:
    """Return the uncompressed bytes of an array's chunk, with the padding of its last blocks."""
    return prod(-(-c // b) * b if b else 0 for c, b in zip(chunks, blocks, strict=True)) * typesize


# --- arrays ---------------------------------------------------------------------
class Piece(NamedTuple):
    """What one block contributes along one axis."""

    block: int
    """Index of the block along the axis."""
    inside: slice
    target: slice
    """Where that goes."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How the elements of one chunk lie in its uncompressed bytes: block after block, each in C order."""

    chunks: tuple[int, ...]
    blocks: tuple[int, ...]
    cell: Dtype
    """Type of one element, opaque for sub-array types."""

    @staticmethod
    @lru_cache(maxsize=1024)
    def of(layout: Layout) -> Grid:
        """Return the grid of a dataset's chunks."""
        return Grid(layout.chunks, layout.blocks, storage_dtype(parse_dtype(layout.dtype)))

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of blocks along each axis."""
        return tuple(-(-c // b) if b else 0 for c, b in zip(self.chunks, self.blocks, strict=True))

    @property
    def padded(self) -> tuple[int, ...]:
        """Shape of a chunk with the padding of its last blocks."""
        return tuple(n * b for n, b in zip(self.counts, self.blocks, strict=True))

    @property
    def nbytes(self) -> int:
        """Uncompressed size of a chunk in bytes, padding included."""
        return prod(self.padded) * self.cell.itemsize

    def split(self, flat: Array) -> Array:
        """Return a view of a chunk's bytes with the block counts as first and the block shape as last axes."""
        return flat.view(self.cell).reshape(self.counts + self.blocks)

    def interleaved(self, flat: Array) -> Array:
        """Return a view of a chunk's bytes with axes ``(count, block)`` for each axis of the array."""
        ndim = len(self.chunks)
        return self.split(flat).transpose([axis for pair in ((i, i + ndim) for i in range(ndim)) for axis in pair])

    def pieces(self, source: tuple[slice, ...]) -> list[list[Piece]]:
        """Return what of the blocks along each axis is in a part of the chunk."""
        return [
            [piece for index in _blocks_along(part, length) if (piece := _piece(part, index, length)) is not None]
            for part, length in zip(source, self.blocks, strict=True)
        ]

    def number(self, pieces: Iterable[Piece]) -> int:
        """Return the number of the block that holds the pieces, one along each axis."""
        number = 0
        for piece, count in zip(pieces, self.counts, strict=True):
            number = number * count + piece.block
        return number


def read_part(chunk: Bytes, layout: Layout, part: ChunkPart, box: Array, *, header: ChunkHeader | None = None) -> None:
    """Copy what one checked chunk contributes to a selection, decompressing no more blocks than it takes.

    Parameters
    ----------
    chunk
        Compressed chunk of an array.
    layout
        Layout of the dataset.
    part
        Which elements go where (`caterva2.slices.Selection.parts`).
    box
        Array of `storage_dtype` elements, of shape `caterva2.slices.Selection.box`, that receives them.
    header
        What `check_chunk` returned, where it is at hand.

    Raises
    ------
    UnsafeContent
        If the chunk is damaged.
    """
    header = header or check_chunk(chunk, layout, 0)
    grid = Grid.of(layout)
    source = part.source
    # The ellipsis makes this a view even where there are no axes.
    target: tuple[Any, ...] = (*part.target, ...)
    out = box[target]
    if header.special:
        _fill(chunk, header, grid, out)
        return
    wanted = [_blocks_along(along, b) for along, b in zip(source, grid.blocks, strict=True)]
    few = prod(len(w) for w in wanted) * 2 <= prod(grid.counts)
    if few and (decode := block_decoder(chunk, header)) is not None:
        copy_blocks(decode, grid, source, out)
        return
    flat = _scratch(header.nbytes)
    decompress_into(chunk, flat)
    blocks = grid.interleaved(flat)
    if out.shape == grid.padded:
        # All of a chunk without padding: splitting axes is a view, so that the elements are moved once.
        whole = out.view()
        whole.shape = blocks.shape
        whole[...] = blocks
    else:
        out[...] = blocks.reshape(grid.padded)[source]


_SCRATCH_BYTES = 16 * 2**20
_kept = threading.local()


def _scratch(nbytes: int) -> Array:
    """Return memory for bytes that are copied on before this thread decompresses again.

    Fresh memory costs a page fault for each 4 KiB, which is a third of what decompressing into it takes.
    """
    if nbytes > _SCRATCH_BYTES:
        return np.empty(nbytes, dtype=np.uint8)
    kept: Array | None = getattr(_kept, "buffer", None)
    if kept is None or kept.nbytes < nbytes:
        kept = _kept.buffer = np.empty(max(nbytes, 2**20), dtype=np.uint8)
    return kept[:nbytes]


def bytes_of_part(head: Bytes, layout: Layout, part: ChunkPart) -> list[tuple[int, int]] | None:
    """Return the half-open ranges of a chunk's bytes that `read_part` looks at, beyond its header and block table.

    Parameters
    ----------
    head
        The first bytes of a chunk of an array that was checked before.
    layout, part
        As in `read_part`.

    Returns
    -------
    list of tuple or None
        None if it looks at all of them, or if `head` is too short to tell.
    """
    header = read_header(head)
    grid = Grid.of(layout)
    wanted = [_blocks_along(along, b) for along, b in zip(part.source, grid.blocks, strict=True)]
    if header.special or prod(len(w) for w in wanted) * 2 > prod(grid.counts) or not can_be_taken_apart(header):
        return None
    numbers = [int(np.ravel_multi_index(where, grid.counts)) if where else 0 for where in product(*wanted)]
    if len(head) < BlockTable.size(header):
        return None
    table = BlockTable.read(head, header)
    return [table.bounds(number) for number in numbers]


def nbytes_of_part(layout: Layout, part: ChunkPart) -> int:
    """Return the uncompressed bytes of the blocks that `read_part` decompresses, where it takes chunks apart."""
    grid = Grid.of(layout)
    touched = prod(len(_blocks_along(along, b)) for along, b in zip(part.source, grid.blocks, strict=True))
    whole = touched * 2 > prod(grid.counts)
    return grid.nbytes if whole else touched * prod(grid.blocks) * grid.cell.itemsize


def can_be_taken_apart(header: ChunkHeader) -> bool:
    """Tell whether each block of a chunk, other than special ones, can be decompressed without the others."""
    dependent = header.flags2 & _DICTIONARY or _DELTA in header.filters
    return not dependent and header.nbytes % max(header.blocksize, 1) == 0


def _fill(chunk: Bytes, header: ChunkHeader, grid: Grid, out: Array) -> None:
    size = grid.cell.itemsize
    pattern = np.zeros(size, dtype=np.uint8)
    pattern[:] = _special_pattern(chunk, header, size)
    out[...] = pattern.view(grid.cell)[0]


def _blocks_along(along: slice, block: int) -> range:
    return range(along.start // block, (along.stop - 1) // block + 1)


def copy_blocks(decode: Callable[[int], Array], grid: Grid, source: tuple[slice, ...], out: Array) -> None:
    """Copy a part of a chunk from those of its blocks that hold it.

    Parameters
    ----------
    decode
        Returns the bytes of a block, by its number.
    source, out
        Which elements of the chunk, and where they go.
    """
    for pieces in product(*grid.pieces(source)):
        block = decode(grid.number(pieces)).view(grid.cell).reshape(grid.blocks)
        out[tuple(piece.target for piece in pieces)] = block[tuple(piece.inside for piece in pieces)]


def _piece(part: slice, index: int, length: int) -> Piece | None:
    offset, step = index * length, part.step or 1
    first = part.start if part.start >= offset else part.start + -(-(offset - part.start) // step) * step
    stop = min(part.stop, offset + length)
    if first >= stop:
        return None
    done = (first - part.start) // step
    return Piece(index, slice(first - offset, stop - offset, step), slice(done, done + (stop - first - 1) // step + 1))


def block_decoder(chunk: Bytes, header: ChunkHeader) -> Callable[[int], Array] | None:
    """Return a function that decompresses one block of a checked chunk, given its number.

    What it returns is valid until this thread decompresses the next one. Returns None for chunks whose blocks cannot
    be taken apart: those that share a dictionary, or hold differences to their first block.
    """
    if not can_be_taken_apart(header):
        return None
    if header.is_stored:
        stored = np.frombuffer(chunk, dtype=np.uint8, offset=HEADER_SIZE)
        return lambda number: stored[number * header.blocksize : (number + 1) * header.blocksize]
    table = BlockTable.read(chunk, header)
    view = memoryview(chunk)

    def decode(number: int) -> Array:
        start, stop = table.bounds(number)
        return decode_block(single_block(chunk, header, view[start:stop]), header.blocksize)

    return decode


@dataclass(frozen=True, slots=True)
class BlockTable:
    """Where the blocks of a chunk are in it; threads write them in any order."""

    header: ChunkHeader
    starts: Array
    order: Array
    """The starts ascending, then the end of the chunk: a block ends where the next one begins."""

    @classmethod
    def read(cls, head: Bytes, header: ChunkHeader) -> Self:
        """Read the table of a chunk that can be taken apart, and has blocks.

        Parameters
        ----------
        head
            The first bytes of the chunk, `size` of them at least.

        Raises
        ------
        UnsafeContent
            If it says that blocks lie outside of the chunk.
        """
        if header.is_stored:
            starts = HEADER_SIZE + header.blocksize * np.arange(header.nblocks)
            return cls(header, starts, np.append(starts, header.cbytes))
        starts = np.frombuffer(head, dtype="<i4", offset=HEADER_SIZE, count=header.nblocks)
        order = np.append(np.sort(starts), header.cbytes)
        if order[0] < cls.size(header) or order[-2] >= header.cbytes:
            raise UnsafeContent("a chunk is damaged: its blocks lie outside of it")
        return cls(header, starts, order)

    @staticmethod
    def size(header: ChunkHeader) -> int:
        """Return the bytes that a chunk has before its blocks: the header, and the table if there is one."""
        return HEADER_SIZE + (0 if header.is_stored else 4 * header.nblocks)

    def bounds(self, number: int) -> tuple[int, int]:
        """Return the half-open range of the bytes of a block."""
        start = int(self.starts[number])
        return start, int(self.order[np.searchsorted(self.order, start, side="right")])


def single_block(head: Bytes, header: ChunkHeader, block: Bytes) -> bytes:
    """Return a block as a chunk of its own: the library decompresses nothing less.

    Parameters
    ----------
    head
        The header, at least, of the chunk that the block is from.
    block
        Its bytes there.
    """
    table = b"" if header.is_stored else struct.pack("<i", HEADER_SIZE + 4)
    sizes = struct.pack("<iii", header.blocksize, header.blocksize, HEADER_SIZE + len(table) + len(block))
    view = memoryview(head)
    return b"".join((view[:4], sizes, view[16:HEADER_SIZE], table, block))


def decode_block(single: Bytes, blocksize: int) -> Array:
    """Decompress what `single_block` made. Valid until this thread decompresses the next one. Raises UnsafeContent."""
    out = _scratch(blocksize)
    decompress_into(single, out)
    return out


def pack_chunk(array: Array, layout: Layout, *, codec: int = ZSTD, clevel: int = 1) -> bytes:
    """Compress the elements of one chunk of an array.

    Parameters
    ----------
    array
        At most a full chunk of `storage_dtype` elements; what is missing to it is padded with zeros.
    layout
        Layout of the dataset.
    codec, clevel
        As in `compress`.
    """
    grid = Grid.of(layout)
    flat = np.zeros(grid.nbytes, dtype=np.uint8)
    if flat.nbytes:
        padded = np.zeros(grid.padded, dtype=grid.cell)
        padded[tuple(slice(n) for n in array.shape)] = array
        pairs = tuple(n for pair in zip(grid.counts, grid.blocks, strict=True) for n in pair)
        grid.interleaved(flat)[...] = padded.reshape(pairs)
    return compress(
        flat,
        typesize=layout.typesize,
        blocksize=prod(layout.blocks) * layout.typesize,
        codec=codec,
        clevel=clevel,
        shuffle=grid.cell.kind not in "SV",
    )
