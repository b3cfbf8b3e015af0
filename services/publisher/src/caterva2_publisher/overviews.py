"""Overviews: a whole plane of an array at an eighth of its resolution, made where the chunks are.

A reader on the other side of a thin link sees a picture of half a gigabyte by moving a few megabytes. An overview is
made once for each version and kept beside the compressed chunks.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import zstandard

from caterva2.errors import BadRequest, TooLarge
from caterva2.slices import Axis, Selection
from caterva2.wire import Kind
from caterva2_formats.base import DatasetSource, Layout
from caterva2_formats.chunks import check_chunk, read_part
from caterva2_formats.dtypes import from_storage, parse_dtype, storage_dtype
from caterva2_formats.pyramid import OVERVIEW_LEVEL, reduce_mean

from .chunks import Sources
from .kept import KeptChunks

MAX_PLANE_BYTES = 64 * 2**30
_BAND_BYTES = 32 * 2**20
_LEVEL = 3  # of zstd


@dataclass(frozen=True, slots=True)
class Plane:
    """Two axes of an array, and where it is cut on the others."""

    rows: int
    columns: int
    at: tuple[int, ...]
    """Index on each of the other axes, in their order."""

    def check(self, layout: Layout) -> None:
        """Raise BadRequest or TooLarge unless an overview of this plane of a dataset can be made."""
        shape = layout.shape
        if layout.kind is not Kind.ARRAY or not 0 <= self.rows < self.columns < len(shape):
            raise BadRequest("an overview is made of two axes of an array, in their order")
        others = [length for i, length in enumerate(shape) if i not in (self.rows, self.columns)]
        if len(self.at) != len(others) or not all(0 <= i < n for i, n in zip(self.at, others, strict=True)):
            raise BadRequest("'at' needs one index within the shape for each of the other axes")
        if parse_dtype(layout.dtype).kind not in "biuf":
            raise BadRequest("an overview is made of real numbers")
        if shape[self.rows] * shape[self.columns] * layout.typesize > MAX_PLANE_BYTES:
            raise TooLarge("the plane is too large for an overview")

    def bands(self, layout: Layout) -> Iterator[Selection]:
        """Yield selections of some rows each that together are the plane, cut at chunks and at squares of pixels."""
        shape = layout.shape
        side = 1 << OVERVIEW_LEVEL
        unit = -(-layout.chunks[self.rows] // side) * side
        row_bytes = max(1, shape[self.columns] * layout.typesize)
        height = max(1, _BAND_BYTES // (row_bytes * unit)) * unit
        for start in range(0, shape[self.rows], height):
            at = iter(self.at)
            axes = []
            for i, length in enumerate(shape):
                if i == self.rows:
                    axes.append(Axis(start, 1, min(height, length - start)))
                elif i == self.columns:
                    axes.append(Axis(0, 1, length))
                else:
                    axes.append(Axis(next(at), 1, 1, dropped=True))
            yield Selection(shape, tuple(axes), ())


class Overviews:
    """Makes and keeps overviews. Methods block, for seconds when a large plane is new."""

    def __init__(self, sources: Sources, kept: KeptChunks) -> None:
        self._sources = sources
        self._kept = kept

    def of(self, path: str, etag: str | None, plane: Plane) -> tuple[str, bytes]:
        """Return the version and the overview: an array in numpy's ``npy`` format, compressed with zstd.

        Raises
        ------
        VersionChanged
            If the present version is not `etag`, or changes meanwhile.
        BadRequest, TooLarge
            As `Plane.check` does.
        """
        with self._sources.lend(path, etag) as source:
            plane.check(source.layout)
            return source.etag, self._kept.get(path, source.etag, plane, lambda: self._make(path, source, plane))

    def _make(self, path: str, source: DatasetSource, plane: Plane) -> bytes:
        layout = source.layout
        dtype = parse_dtype(layout.dtype)
        reduced = []
        for band in plane.bands(layout):
            box = np.empty(band.box, storage_dtype(dtype))
            for part in band.parts(layout.chunks):
                chunk = self._sources.chunk(path, source, part.nchunk)
                read_part(chunk, layout, part, box, header=check_chunk(chunk, layout, part.nchunk))
            reduced.append(reduce_mean(from_storage(box[band.finish], dtype), OVERVIEW_LEVEL))
        file = io.BytesIO()
        np.save(file, np.concatenate(reduced, dtype=reduced[0].dtype), allow_pickle=False)
        return zstandard.ZstdCompressor(level=_LEVEL).compress(file.getvalue())
