"""Files of a space as resources that readers can open; see `library.Resource`."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from caterva2.errors import UnsafeContent
from caterva2.slices import Selection
from caterva2.wire import Kind
from caterva2_formats.base import DatasetSource, Layout, Skeleton
from caterva2_formats.info import timestamp
from caterva2_service.threads import Threads

from ..library import Freshness, Usage
from ..reading import Array, gather, shown

BATCH_CHUNKS = 8
"""Chunks that are read in one go at most."""
BATCH_BYTES = 8 * 2**20
"""Bytes that are read in one go, about: chunks of plain files are large."""


class SpaceResource:
    """One version of a file or dataset in a space.

    Parameters
    ----------
    path
        API path.
    source
        The open dataset; it is closed when nobody holds the resource any more.
    mtime
        Unix time in seconds of its last change.
    """

    def __init__(self, path: str, source: DatasetSource, mtime: float, threads: Threads) -> None:
        self.path = path
        self.kind: Kind = source.layout.kind
        self.etag = source.etag
        self.mtime = mtime
        self.layout: Layout | None = source.layout
        self.freshness = Freshness()
        self.usage = Usage()
        self.info: Mapping[str, Any] = {**source.info, "version": source.etag}
        self._layout = source.layout
        self.source = source
        self._threads = threads
        weakref.finalize(self, source.close)

    async def chunk(self, nchunk: int) -> bytes:
        """Return a compressed chunk as stored. Raises ChunkNotFound."""
        return await self._threads.run(self.source.chunk, nchunk)

    async def chunks(self, numbers: Iterable[int]) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield compressed chunks in the order asked for."""
        remaining = iter(numbers)
        count = max(1, min(BATCH_CHUNKS, BATCH_BYTES // max(1, self.chunk_cbytes)))
        while batch := list(islice(remaining, count)):
            for nchunk, data in zip(batch, await self._threads.run(self._read_batch, batch), strict=True):
                yield nchunk, data

    def _read_batch(self, numbers: list[int]) -> list[bytes]:
        return [self.source.chunk(nchunk) for nchunk in numbers]

    async def skeleton(self) -> Skeleton | None:
        """Return what of the stored frame is not chunks; None if it is not stored as one."""
        return await self._threads.run(self.source.skeleton)

    def missing(self, numbers: Sequence[int]) -> list[int]:
        """Return nothing: everything is here."""
        return []

    @property
    def chunk_cbytes(self) -> int:
        """Compressed bytes of a chunk, about."""
        cbytes = self.info.get("schunk", self.info).get("cbytes", self._layout.nbytes)
        return int(cbytes) // max(1, self._layout.nchunks)

    def link_bytes(self, selection: Selection) -> int:
        """Return 0: everything is here."""
        return 0

    async def read(self, selection: Selection, *, alone: bool = False) -> Array:
        """Return the selected elements."""
        found = await gather(
            self._layout, selection, self._unread(selection), self.source.chunk, self._threads, self.chunk
        )
        return shown(found, self._layout)

    async def _unread(self, selection: Selection) -> AsyncGenerator[tuple[int, bytes | None], None]:
        # Nothing is read ahead: each chunk is read by the thread that decompresses it.
        for nchunk in selection.chunk_numbers(self._layout.chunks):
            yield nchunk, None


class UnreadableResource:
    """A file whose bytes failed a check: it is listed and described, and cannot be read."""

    layout: Layout | None = None

    def __init__(self, path: str, kind: Kind, etag: str, mtime: float, reason: str) -> None:
        self.path = path
        self.kind = kind
        self.etag = etag
        self.mtime = mtime
        self.freshness = Freshness()
        self.usage = Usage()
        self.info: Mapping[str, Any] = {"mtime": timestamp(mtime), "error": "Unrecognized format", "reason": reason}
        self._reason = reason

    async def chunk(self, nchunk: int) -> bytes:
        """Raise UnsafeContent."""
        raise UnsafeContent(f"{self.path} cannot be read: {self._reason}")

    async def chunks(self, numbers: Iterable[int]) -> AsyncGenerator[tuple[int, bytes], None]:
        """Raise UnsafeContent."""
        for nchunk in numbers:
            yield nchunk, await self.chunk(nchunk)

    def missing(self, numbers: Sequence[int]) -> list[int]:
        """Return nothing: everything is here."""
        return []

    @property
    def chunk_cbytes(self) -> int:
        """There are no chunks."""
        return 0

    async def skeleton(self) -> Skeleton | None:
        """Raise UnsafeContent."""
        raise UnsafeContent(f"{self.path} cannot be read: {self._reason}")

    def link_bytes(self, selection: Selection) -> int:
        """Return 0: everything is here."""
        return 0

    async def read(self, selection: Selection, *, alone: bool = False) -> Array:
        """Raise UnsafeContent."""
        raise UnsafeContent(f"{self.path} cannot be read: {self._reason}")


class MemberSource:
    """A dataset inside an HDF5 file, described as clients know the result of an unfold."""

    def __init__(self, source: DatasetSource, member: str) -> None:
        self._source = source
        self.etag = source.etag
        self.layout = source.layout
        schunk = source.info["schunk"]
        vlmeta = {"_ftype": "hdf5", "_dsetname": member, **schunk["vlmeta"]}
        self.info = {**source.info, "schunk": {**schunk, "cbytes": 0, "cratio": 0.0, "vlmeta": vlmeta}}

    @property
    def compresses(self) -> bool:
        """Whether chunks are compressed when they are read. See `DatasetSource.compresses`."""
        return self._source.compresses

    def chunk(self, nchunk: int) -> bytes:
        """Return compressed chunk `nchunk`. Raises ChunkNotFound."""
        return self._source.chunk(nchunk)

    def skeleton(self) -> Skeleton | None:
        """Return None: the dataset is not stored as a frame."""
        return None

    def close(self) -> None:
        """Give back the file."""
        self._source.close()

    def __enter__(self) -> MemberSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
