"""Pictures and lines at the resolution of a screen, made where the chunks are.

A reader on the other side of a thin link sees a picture of half a gigabyte by moving a few tiles, and a line of
millions of values by moving kilobytes. Tiles and envelopes are chunks of derived arrays (`caterva2_formats.pyramid`,
`caterva2_formats.envelope`). Of a plane, all levels that need a walk over the whole of it are made together, once for
each version, into a file; tiles of the lower levels are made of the pixels under them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np

from caterva2.errors import ChunkNotFound, TooLarge, Unavailable
from caterva2.slices import Selection
from caterva2_formats.base import DatasetSource
from caterva2_formats.chunks import check_chunk, pack_chunk, read_part
from caterva2_formats.dtypes import parse_dtype, storage_dtype
from caterva2_formats.envelope import Envelope, Line
from caterva2_formats.pyramid import (
    BASE_LEVEL,
    Array,
    Plane,
    Sums,
    level_layout,
    reduce_mean,
    square_sums,
    tile_window,
    tiles,
    top_level,
)

from .chunks import Sources
from .kept import KeptChunks
from .pyramid_files import PyramidFiles, PyramidKey

_CLEVEL = 3  # of zstd
_REFUSED = 1000
"""Pyramids that are known to be too large; the oldest are forgotten."""


class Stopped(Unavailable):
    """Nobody waits for the pyramid any more."""


class Pyramids:
    """Makes and keeps pyramids, and makes envelopes. Methods block, for minutes when the largest planes are new."""

    def __init__(self, sources: Sources, kept: KeptChunks, files: PyramidFiles) -> None:
        self._sources = sources
        self._kept = kept
        self._files = files
        self._refused: dict[PyramidKey, str] = {}

    def check(self, path: str, etag: str | None, plane: Plane, level: int) -> PyramidKey:
        """Return the pyramid to which a level of a plane belongs.

        Raises
        ------
        VersionChanged
            If the present version is not `etag`.
        BadRequest, TooLarge
            If there is no such level; see `level_layout`.
        """
        with self._sources.lend(path, etag) as source:
            level_layout(source.layout, plane, level)
            return PyramidKey(path, source.etag, plane)

    def is_made(self, key: PyramidKey) -> bool:
        """Tell whether the levels of the whole plane are there. Does not block. Raises TooLarge if they never will."""
        if key in self._refused:
            raise TooLarge(self._refused[key])
        return self._files.has(key)

    def make(self, key: PyramidKey, stop: threading.Event) -> None:
        """Make the levels of a whole plane, unless they are there.

        Raises
        ------
        VersionChanged
            If the dataset is at another version, or becomes it meanwhile.
        Stopped
            If `stop` is set meanwhile.
        TooLarge
            If they would take more room than there may be for all.
        """
        if self.is_made(key):
            return
        try:
            with self._sources.lend(key.path, key.etag) as source, self._files.writing(key) as file:
                layout, plane = source.layout, key.plane
                dtype = parse_dtype(layout.dtype)
                shape = plane.shape(layout)
                layouts = {
                    level: level_layout(layout, plane, level) for level in range(BASE_LEVEL, top_level(shape) + 1)
                }
                for level, number, pixels in tiles(shape, dtype, self._bands(key, source, stop)):
                    if level in layouts:
                        file.add(level, number, pack_chunk(pixels, layouts[level], clevel=_CLEVEL))
        except TooLarge as error:
            self._refused[key] = error.detail
            while len(self._refused) > _REFUSED:
                del self._refused[next(iter(self._refused))]
            raise

    def _bands(self, key: PyramidKey, source: DatasetSource, stop: threading.Event) -> Iterator[Sums]:
        for band in key.plane.bands(source.layout):
            found = [square_sums(self._read(key.path, source, part, stop), BASE_LEVEL) for part in band]
            yield np.concatenate([sums for sums, _ in found], axis=1), np.concatenate([n for _, n in found], axis=1)

    def tile(self, key: PyramidKey, level: int, number: int, stop: threading.Event) -> bytes | None:
        """Return a tile as a compressed chunk of its level; None if the levels of the whole plane have to be made.

        Raises
        ------
        ChunkNotFound
            If the level has no such tile.
        VersionChanged, Stopped
            As `make` does.
        """
        if level >= BASE_LEVEL:
            return self._files.tile(key, level, number)

        def make() -> bytes:
            with self._sources.lend(key.path, key.etag) as source:
                layout = level_layout(source.layout, key.plane, level)
                if not 0 <= number < layout.nchunks:
                    raise ChunkNotFound(f"level {level} has {layout.nchunks} tiles")
                under = key.plane.under(source.layout, tile_window(layout, number), level)
                return pack_chunk(reduce_mean(self._read(key.path, source, under, stop), level), layout, clevel=_CLEVEL)

        return self._kept.get(key.path, key.etag, (key.plane, level, number), make)

    def envelope(self, path: str, etag: str | None, line: Line, stop: threading.Event) -> tuple[str, bytes]:
        """Return the version, and minimum and maximum of every group of a line as a compressed chunk.

        Raises
        ------
        BadRequest
            If there is no such line.
        VersionChanged, Stopped
            As `make` does.
        """
        with self._sources.lend(path, etag) as source:
            layout = line.layout(source.layout)

            def make() -> bytes:
                found = Envelope(line, parse_dtype(source.layout.dtype))
                for first, piece in line.blocks(source.layout):
                    found.add(first, self._read(path, source, piece, stop))
                return pack_chunk(found.pairs, layout, clevel=_CLEVEL)

            return source.etag, self._kept.get(path, source.etag, line, make)

    def _read(self, path: str, source: DatasetSource, selection: Selection, stop: threading.Event) -> Array:
        layout = source.layout
        box = np.empty(selection.box, storage_dtype(parse_dtype(layout.dtype)))
        for part in selection.parts(layout.chunks):
            if stop.is_set():
                raise Stopped("nobody waits for this any more")
            chunk = self._sources.chunk(path, source, part.nchunk)
            read_part(chunk, layout, part, box, header=check_chunk(chunk, layout, part.nchunk))
        found: Array = box[selection.finish]
        return found
