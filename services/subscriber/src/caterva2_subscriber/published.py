"""Published roots: their datasets as resources, from the catalogue, the cache and the link."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from itertools import islice
from math import prod
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from caterva2.errors import (
    Caterva2Error,
    ChunkNotFound,
    DatasetNotFound,
    UnsafeContent,
    UpstreamInvalid,
    VersionChanged,
)
from caterva2.paths import is_hdf5, printable
from caterva2.slices import Axis, ChunkPart, Selection, select
from caterva2.wire import Kind
from caterva2_formats.base import Layout, Skeleton
from caterva2_formats.chunks import nbytes_of_part
from caterva2_formats.envelope import Line
from caterva2_formats.info import layout_of, timestamp
from caterva2_formats.pyramid import BASE_LEVEL, Plane
from caterva2_service.log import get_logger
from caterva2_service.threads import Threads

from .auth.principal import Principal
from .cache import VersionKey
from .catalog import Catalog, Entry
from .fetching import Fetcher, Target
from .library import Freshness, Usage
from .reading import Array, cell_dtype, check_size, copy_part, gather, shown
from .tracking import Tracking
from .upstream import Upstream

log = get_logger(__name__)

_FEW = 4
"""Cached chunks that are read in one go."""
_LOOKED_AT = 20_000
"""Chunks under a view that are looked for in the cache; where there are more, the publisher makes the view."""
_INLINE_BYTES = 64 * 2**10
_INLINE_CHUNKS = 512 * 2**10
_INLINE_BLOCKS = 2**20
"""Selections of up to so many bytes, from chunks of up to so many compressed bytes, or from blocks of up to so many
uncompressed ones, are read on the event loop: a thread would cost more, and it takes a fraction of a millisecond."""


class PublishedRoots:
    """Provider of every root that has a publisher."""

    def __init__(
        self, *, catalog: Catalog, tracking: Tracking, upstream: Upstream, fetcher: Fetcher, threads: Threads
    ) -> None:
        self._catalog = catalog
        self._tracking = tracking
        self._upstream = upstream
        self._fetcher = fetcher
        self._threads = threads

    async def open(self, principal: Principal, root: str, rel: str) -> PublishedResource:
        """Open the version that the publisher has now, as far as is known. Raises DatasetNotFound, RootNotFound."""
        freshness = await self._tracking.ensure_fresh(root)
        entry = self._catalog.entry(root, rel)
        if entry is None:
            self._refuse_members(root, rel)
            raise DatasetNotFound
        if entry.info is None:
            entry = await self._completed(entry)
        return PublishedResource(entry, freshness, self._target(entry), self._fetcher, self._threads, principal.name)

    def _refuse_members(self, root: str, rel: str) -> None:
        """Say why there is no ``x.h5/dataset`` where there is ``x.h5``. Raises DatasetNotFound."""
        for parent in PurePosixPath(rel).parents:
            file = parent.as_posix()
            if is_hdf5(file) and self._catalog.entry(root, file) is not None:
                raise DatasetNotFound(
                    f"{printable(file)} is published as one file; copy it to @personal to read its datasets one by one"
                )

    async def list(self, principal: Principal, root: str, rel: str) -> list[str]:
        """Return the sorted paths below ``root/rel``; nothing for a root that is not followed."""
        state = self._catalog.roots.get(root)
        if state is None or not state.subscribed:
            if state is None:
                await self._tracking.require_known(root)
            return []
        await self._tracking.ensure_fresh(root)
        found = await self._threads.run(self._catalog.paths, root, rel)
        if found == [rel]:
            return [rel.rpartition("/")[2]]
        return [path[len(rel) + 1 :] if rel else path for path in found if path != rel]

    async def info(self, principal: Principal, root: str, rel: str) -> Mapping[str, Any]:
        """Return the info of the version that the publisher has now. Raises as `open` does."""
        return (await self.open(principal, root, rel)).info

    async def renew(self, root: str) -> None:
        """Look at the publisher of a root now: a reader met another version than the catalogue's."""
        await self._tracking.sync(root)

    async def _completed(self, entry: Entry) -> Entry:
        """Ask for the info that did not fit into an event."""
        publisher = self._upstream.publisher(self._catalog.roots[entry.root].root.http)
        info = await publisher.info(entry.path, etag=entry.etag)
        await self._threads.run(self._catalog.complete, entry, info)
        return Entry(
            entry.root, entry.path, entry.epoch, entry.etag, entry.kind, entry.nbytes, entry.mtime, entry.seq, info
        )

    def _target(self, entry: Entry) -> Target | None:
        info = entry.info or {}
        if "error" in info:
            return None
        try:
            layout = layout_of(entry.kind, info)
        except UnsafeContent as error:
            raise UpstreamInvalid(f"The publisher describes {entry.root}/{entry.path} wrongly: {error}") from None
        cbytes = info.get("schunk", info).get("cbytes") or layout.nbytes
        return Target(
            key=VersionKey(entry.root, entry.epoch, entry.path, entry.etag),
            layout=layout,
            publisher=self._upstream.publisher(self._catalog.roots[entry.root].root.http),
            chunk_cbytes=max(1, int(cbytes) // max(1, layout.nchunks)),
            changed=partial(self._tracking.suspect, entry.root),
            lost=partial(self._tracking.lost, entry.root),
        )


class PublishedResource:
    """One version of a published dataset or file; see `library.Resource`."""

    def __init__(
        self,
        entry: Entry,
        freshness: Freshness,
        target: Target | None,
        fetcher: Fetcher,
        threads: Threads,
        reader: str,
    ) -> None:
        self.path = f"{entry.root}/{entry.path}"
        self.kind: Kind = entry.kind
        self.etag = entry.etag
        self.mtime = entry.mtime
        self.freshness = freshness
        self.usage = Usage(reader)
        self.layout: Layout | None = target.layout if target is not None else None
        self._info = entry.info or {}
        self._target = target
        self._fetcher = fetcher
        self._threads = threads

    @property
    def info(self) -> Mapping[str, Any]:
        """What ``/api/info`` answers: the publisher's info, and which version of what age it is."""
        freshness = {"verified_age_s": round(self.freshness.verified_age_s, 3), "stale_s": self.freshness.stale_s}
        mtime = self._info.get("mtime")
        if self.mtime is not None:
            # The original tells seconds of HDF5 files, and a date of anything else.
            mtime = self.mtime if self.kind is Kind.HDF5 else timestamp(self.mtime)
        return {**self._info, "mtime": mtime, "version": self.etag, "freshness": freshness}

    async def chunk(self, nchunk: int) -> bytes:
        """Return a compressed chunk as stored. Raises ChunkNotFound."""
        target = self._wanted()
        if not 0 <= nchunk < target.layout.nchunks:
            raise ChunkNotFound(f"there is no chunk {nchunk}: the dataset has {target.layout.nchunks}")
        return await self._fetcher.one(target, nchunk, self.usage)

    async def chunks(self, numbers: Iterable[int]) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield compressed chunks in the order asked for."""
        target = self._wanted()
        async with aclosing(self._fetcher.arrivals(target, numbers, self.usage)) as arrivals:
            async for nchunk, data in arrivals:
                if data is None:
                    data = await self._threads.run(self._fetcher.cached, target, nchunk, self.usage)
                yield nchunk, data if data is not None else await self._fetcher.one(target, nchunk, self.usage)

    async def skeleton(self) -> Skeleton | None:
        """Return what of the stored frame is not chunks; None if it is not stored as one."""
        return await self._fetcher.skeleton(self._wanted(), self.usage)

    async def read(self, selection: Selection, *, alone: bool = False) -> Array:
        """Return the selected elements. See `Resource.read`."""
        target, usage, fetcher = self._wanted(), self.usage, self._fetcher
        few = list(islice(selection.parts(target.layout.chunks), _FEW + 1))
        if len(few) <= _FEW and not fetcher.missing(target, [part.nchunk for part in few]):
            found = await self._read_cached(target, selection, few)
            if found is not None:
                return shown(found, target.layout)
        parts = selection.parts(target.layout.chunks)
        found = await gather(
            target.layout,
            selection,
            fetcher.pieces(target, parts, usage)
            if alone
            else fetcher.arrivals(target, (part.nchunk for part in parts), usage),
            lambda nchunk: fetcher.cached(target, nchunk, usage),
            self._threads,
            lambda nchunk: fetcher.one(target, nchunk, usage),
        )
        return shown(found, target.layout)

    async def _read_cached(self, target: Target, selection: Selection, parts: list[ChunkPart]) -> Array | None:
        """Assemble a small selection in one go; None if a chunk has left the cache meanwhile."""
        check_size(target.layout, selection)
        box: Array = np.empty(selection.box, cell_dtype(target.layout))

        def assemble() -> bool:
            for part in parts:
                chunk = self._fetcher.cached_part(target, part, self.usage)
                if chunk is None:
                    return False
                copy_part(target.layout, chunk, part, box)
            return True

        inline = box.nbytes <= _INLINE_BYTES and self._takes_little(target, parts)
        whole = assemble() if inline else await self._threads.run(assemble)
        return box[(*selection.finish, ...)] if whole else None

    def _takes_little(self, target: Target, parts: list[ChunkPart]) -> bool:
        if target.chunk_cbytes * len(parts) <= _INLINE_CHUNKS:
            return True
        return (
            target.layout.kind is Kind.ARRAY
            and target.chunk_cbytes * len(parts) <= 16 * _INLINE_CHUNKS  # should all of it be read after all
            and all(self._fetcher.was_checked(target, part.nchunk) for part in parts)
            and sum(nbytes_of_part(target.layout, part) for part in parts) <= _INLINE_BLOCKS
        )

    async def tile(self, plane: Plane, level: int, window: Selection) -> Array | None:
        """Return a part of a level of the mean pyramid of a plane, as the publisher makes it.

        Parameters
        ----------
        window
            Applied to the shape of the level.

        Returns
        -------
        numpy.ndarray or None
            None if it costs less to make it here from the chunks, or if the publisher makes none.
        """
        target, usage, fetcher = self._wanted(), self.usage, self._fetcher
        tiles = target.level(plane, level)
        layout = tiles.layout
        missing = fetcher.missing(tiles, window.chunk_numbers(layout.chunks))
        if missing and not self._pays(len(missing) * tiles.chunk_cbytes, plane, level, window):
            return None

        async def read() -> Array:
            return await gather(
                layout,
                window,
                fetcher.arrivals(tiles, window.chunk_numbers(layout.chunks), usage),
                lambda nchunk: fetcher.cached(tiles, nchunk, usage),
                self._threads,
                lambda nchunk: fetcher.one(tiles, nchunk, usage),
            )

        return await self._as_offered(read)

    def _pays(self, nbytes: int, plane: Plane, level: int, window: Selection) -> bool:
        """Tell whether moving tiles of `nbytes` costs less than moving the chunks that are missing to make them here.

        From `BASE_LEVEL` on, that is all chunks of the plane.
        """
        target = self._wanted()
        layout = target.layout
        rows, columns = plane.shape(layout)
        whole = plane.part(layout, Axis(0, 1, rows), Axis(0, 1, columns))
        under = whole if level >= BASE_LEVEL else plane.under(layout, window, level)
        if prod(-(-axis.count // chunk) for axis, chunk in zip(under.axes, layout.chunks, strict=True)) > _LOOKED_AT:
            return True
        return len(self._fetcher.missing(target, under.chunk_numbers(layout.chunks))) * target.chunk_cbytes > nbytes

    async def envelope(self, line: Line) -> Array | None:
        """Return minimum and maximum of the groups of a line, as the publisher makes them.

        Returns
        -------
        numpy.ndarray or None
            Shape ``(pairs, 2)``. None if it costs less to make it here from the chunks, or if the publisher makes none.
        """
        target = self._wanted()
        made = line.layout(target.layout)
        parts = line.selection(target.layout)
        missing = len(self._fetcher.missing(target, parts.chunk_numbers(target.layout.chunks)))
        if missing * target.chunk_cbytes <= made.nbytes:
            return None

        async def read() -> Array:
            chunk = await self._fetcher.envelope(target, line, self.usage)
            box: Array = np.empty(made.shape, cell_dtype(made))
            part = next(select((), made.shape).parts(made.chunks))
            await self._threads.run(copy_part, made, chunk, part, box)
            return box

        return await self._as_offered(read)

    async def _as_offered(self, read: Callable[[], Awaitable[Array]]) -> Array | None:
        """Return what the publisher makes; None if it does not."""
        try:
            return await read()
        except VersionChanged:
            self._wanted().changed()
            raise
        except Caterva2Error as error:
            log.info("made here from chunks", path=self.path, reason=str(error))
            return None

    def missing(self, numbers: Sequence[int]) -> list[int]:
        """Return those of the chunks that would have to come over the link."""
        return self._fetcher.missing(self._wanted(), numbers)

    @property
    def chunk_cbytes(self) -> int:
        """Compressed bytes of a chunk, about."""
        return self._wanted().chunk_cbytes

    def link_bytes(self, selection: Selection) -> int:
        """Return the compressed bytes that reading a selection alone would bring over the link, about."""
        target = self._wanted()
        return self._fetcher.link_bytes(target, selection.parts(target.layout.chunks))

    def _wanted(self) -> Target:
        if self._target is None:
            reason = self._info.get("error", "it cannot be read")
            raise UnsafeContent(f"{self.path} cannot be read: {reason}")
        return self._target
