"""Slices from compressed chunks: the subscriber sends them as it stores them, and they are cut to size here.

That spares the subscriber decompressing and compressing again, and often sends fewer bytes; it pays where most of what
the chunks hold is wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Self

import blosc2
import httpx
import numpy as np

from . import _operations as operations
from . import slices, wire
from ._address import PathLike
from ._dtypes import parse_dtype
from ._transport import Operation
from .errors import UpstreamInvalid

MAX_EXCESS = 1.5
"""How many times more the chunks may hold than is wanted of them."""
MIN_BYTES = 256 * 1024
"""Smallest uncompressed size of a slice, in bytes, for which this pays."""


@dataclass(frozen=True, slots=True)
class ChunkGrid:
    """How a dataset is cut into chunks."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    version: str
    """Version for which this holds."""

    @classmethod
    def of(cls, meta: Mapping[str, Any], version: str | None) -> Self | None:
        """Return the grid that an info describes, or None if there is none, as for lazy expressions."""
        if version is None or not meta.get("chunks") or "schunk" not in meta:
            return None
        dtype = parse_dtype(meta["dtype"])
        # Elements that are arrays themselves have axes of their own in what numpy makes of them.
        return None if dtype.subdtype else cls(tuple(meta["shape"]), tuple(meta["chunks"]), dtype, version)

    @property
    def chunk_nbytes(self) -> int:
        """Uncompressed size of a chunk in bytes."""
        return prod(self.chunks) * self.dtype.itemsize

    def pays_for(self, selection: slices.Selection) -> bool:
        """Tell whether reading a selection from chunks beats having it cut out by the subscriber."""
        wanted = selection.size * self.dtype.itemsize
        if wanted < MIN_BYTES or selection.is_whole or _aligned(selection, self.chunks):
            return False
        held = prod(_touched(axis, chunk) for axis, chunk in zip(selection.axes, self.chunks, strict=True))
        return held * self.chunk_nbytes <= MAX_EXCESS * wanted


def _touched(axis: slices.Axis, chunk: int) -> int:
    """Return the number of chunks between the first and the last that an axis selects."""
    return (axis.stop - 1) // chunk - axis.start // chunk + 1


def _aligned(selection: slices.Selection, chunks: tuple[int, ...]) -> bool:
    """Tell whether a selection is made of whole chunks, which the subscriber passes through as they are."""
    return all(
        axis.step == 1 and axis.start % chunk == 0 and (axis.stop % chunk == 0 or axis.stop == length)
        for axis, chunk, length in zip(selection.axes, chunks, selection.source_shape, strict=True)
    )


def read_chunks(
    path: PathLike, key: Any, selection: slices.Selection, grid: ChunkGrid
) -> Operation[tuple[np.ndarray[Any, Any], httpx.Response]]:
    """Return what a key selects, and the answer that it came with.

    Raises
    ------
    caterva2.errors.VersionChanged
        If the dataset is no longer at the version of `grid`.
    caterva2.errors.UpstreamInvalid
        If the answer is not the chunks that were asked for.
    """
    assembly = _Assembly(selection, grid)
    response = yield from operations.chunks(path, slices.format_key(key), grid.version, assembly)
    return assembly.result(), response


class _Assembly:
    """Puts chunks into place as they arrive."""

    def __init__(self, selection: slices.Selection, grid: ChunkGrid) -> None:
        self.began = False
        self._selection = selection
        self._grid = grid
        self._box = np.empty(selection.box, grid.dtype)
        self._missing = {part.nchunk: part for part in selection.parts(grid.chunks)}
        self._decoder = wire.FrameDecoder()

    def begin(self, response: httpx.Response) -> None:
        """Refuse an answer that is not made of chunks."""
        self.began = True
        if response.headers.get("content-type") != wire.CHUNKS_MEDIA_TYPE:
            raise UpstreamInvalid("the subscriber did not answer with chunks")

    def write(self, piece: bytes) -> None:
        """Put the chunks that a piece of the body completes into place."""
        for frame in self._decoder.feed(piece):
            part = self._missing.pop(frame.index, None)
            if part is None:
                raise UpstreamInvalid(f"the subscriber sent chunk {frame.index}, which was not asked for")
            self._box[part.target] = self._decompress(frame.data)[part.source]

    def _decompress(self, data: bytes) -> np.ndarray[Any, Any]:
        grid = self._grid
        # What a chunk says of its size decides how much memory it takes.
        if len(data) < blosc2.MIN_HEADER_LENGTH or blosc2.get_cbuffer_sizes(data)[0] != grid.chunk_nbytes:
            raise UpstreamInvalid("the subscriber sent a chunk of another size than its grid has")
        return np.frombuffer(blosc2.decompress2(data), grid.dtype).reshape(grid.chunks)

    def result(self) -> np.ndarray[Any, Any]:
        """Return the selected array. Raises UpstreamInvalid if chunks are missing."""
        self._decoder.close()
        if self._missing:
            raise UpstreamInvalid(f"the subscriber left out {len(self._missing)} chunks")
        # The ellipsis keeps single elements arrays: as scalars, texts would lose the width of their type.
        found: np.ndarray[Any, Any] = self._box[(*self._selection.finish, ...)]
        return found
