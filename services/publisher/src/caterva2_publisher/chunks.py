"""Reading chunks for an answer: open sources that are kept, and streams of framed chunks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from caterva2.errors import BadRequest, Caterva2Error, ChunkNotFound, DatasetNotFound, TooLarge, VersionChanged
from caterva2.wire import (
    INDEX_PART,
    INDEX_SKELETON,
    ChunksRequest,
    PartRequest,
    encode_end,
    encode_error,
    encode_frame_header,
)
from caterva2_formats.base import DatasetSource, RootSource
from caterva2_formats.chunks import digest
from caterva2_formats.parts import cut_part

from .kept import KeptChunks

PIECE_BYTES = 1024 * 1024
"""A stream is read in pieces of about this size, one ahead of the one that is sent."""
MAX_RANGES = 65_536
MAX_CHUNKS = 1_000_000
MAX_BLOCKS = 1_000_000
MAX_ANSWER_BYTES = 2**30
MAX_IDLE = 64

Count = Callable[[DatasetSource, int, int], None]


class Sources:
    """Open sources of a root, one kept for the next reader of each path. A source is used by one reader at a time.

    A source reads the version that it was opened at, or raises VersionChanged: keeping one never shows old data.
    """

    def __init__(self, root: RootSource, kept: KeptChunks, *, max_idle: int = MAX_IDLE) -> None:
        self._root = root
        self._kept = kept
        self._max_idle = max_idle
        self._lock = threading.Lock()
        self._idle: OrderedDict[str, DatasetSource] = OrderedDict()

    def take(self, path: str, etag: str | None = None) -> DatasetSource:
        """Return a source of `path` for this reader alone, to be given back.

        Raises
        ------
        VersionChanged
            If the present version is not `etag`.
        DatasetNotFound, UnsafeContent, Unavailable
            As `RootSource.open` does.
        """
        found = self._root.find(path)
        if found is None:
            raise DatasetNotFound
        if etag not in (None, found.etag):
            raise VersionChanged(f"{path} is at another version")
        with self._lock:
            idle = self._idle.pop(path, None)
        if idle is not None:
            if idle.etag == found.etag:
                return idle
            idle.close()
        source = self._root.open(path)
        if source.etag != found.etag:
            source.close()
            raise VersionChanged(f"{path} is at another version")
        return source

    def give_back(self, path: str, source: DatasetSource, *, usable: bool) -> None:
        """Let the next reader use a source, unless it went wrong."""
        dropped = [] if usable else [source]
        with self._lock:
            if usable:
                if (other := self._idle.pop(path, None)) is not None:
                    dropped.append(other)
                self._idle[path] = source
                while len(self._idle) > self._max_idle:
                    dropped.append(self._idle.popitem(last=False)[1])
        for each in dropped:
            each.close()

    def chunk(self, path: str, source: DatasetSource, nchunk: int) -> bytes:
        """Return compressed chunk `nchunk` of a source. Raises as `DatasetSource.chunk` does."""
        if not source.compresses:
            return source.chunk(nchunk)
        return self._kept.get(path, source.etag, nchunk, lambda: source.chunk(nchunk))

    def forget(self, paths: Iterable[str]) -> None:
        """Close what is kept of paths that changed, so that the space of deleted files is given back."""
        with self._lock:
            dropped = [source for path in paths if (source := self._idle.pop(path, None)) is not None]
        for source in dropped:
            source.close()

    @contextmanager
    def lend(self, path: str, etag: str | None = None) -> Iterator[DatasetSource]:
        """Give a source for the length of a block. Raises as `take` does."""
        source = self.take(path, etag)
        usable = False
        try:
            yield source
            usable = True
        finally:
            self.give_back(path, source, usable=usable)

    def close(self) -> None:
        """Close everything that nobody uses."""
        self.forget(list(self._idle))


class ChunkStream:
    """The answer to one request for chunks, read piece by piece. Methods block; one thread at a time.

    Parameters
    ----------
    etag
        Version that the reader wants; None for the present one.
    count
        Called with the source, the number of chunks and of bytes of each piece.

    Raises
    ------
    TooLarge
        If more is asked for than one answer may hold.
    BadRequest
        If blocks are not asked for in ascending order.
    """

    def __init__(self, sources: Sources, path: str, etag: str | None, request: ChunksRequest, count: Count) -> None:
        if len(request.ranges) > MAX_RANGES:
            raise TooLarge(f"one request names at most {MAX_RANGES} ranges of chunks")
        if sum(max(0, stop - start) for start, stop in request.ranges) > MAX_CHUNKS:
            raise TooLarge(f"one request asks for at most {MAX_CHUNKS} chunks")
        check_parts(request.parts)
        self._sources = sources
        self._path = path
        self._request = request
        self._count = count
        self._lock = threading.Lock()
        self._source: DatasetSource | None = sources.take(path, etag)
        self.etag = self._source.etag
        self._frames = self._read(self._source)
        self._started = False
        self._usable = True
        self._abandoned = False
        try:
            parts = [(part.chunk, part.chunk + 1) for part in request.parts]
            check_ranges([*request.ranges, *parts], self._source.layout.nchunks)
        except BaseException:
            self.abandon()
            raise

    def piece(self) -> bytes:
        """Return the next part of the body; empty at its end.

        The first piece raises what goes wrong; later ones end the answer with an error frame.
        """
        try:
            with self._lock:
                return self._next_piece()
        finally:
            if self._abandoned:
                self.abandon()

    def _next_piece(self) -> bytes:
        if self._source is None:
            return b""
        try:
            return self._join_frames(self._source)
        except BaseException as error:
            self._usable = False
            if not self._started or not isinstance(error, Caterva2Error):
                raise
            self._frames = iter(())
            return encode_error(error)
        finally:
            self._started = True

    def _join_frames(self, source: DatasetSource) -> bytes:
        parts: list[bytes] = []
        size = chunks = 0
        for frame in self._frames:
            parts += frame
            chunks += len(frame) // 2
            size += sum(map(len, frame))
            if size >= PIECE_BYTES:
                break
        self._count(source, chunks, size)
        return b"".join(parts)

    def _read(self, source: DatasetSource) -> Iterator[Sequence[bytes]]:
        sent = size = 0
        if self._request.skeleton and (skeleton := source.skeleton()) is not None:
            data = skeleton.to_bytes()
            sent += 1
            yield encode_frame_header(INDEX_SKELETON, len(data), digest(data)), data
        for index, data in self._wanted(source):
            size += len(data)
            if size > MAX_ANSWER_BYTES:
                raise TooLarge(f"one answer holds at most {MAX_ANSWER_BYTES} bytes: ask for fewer chunks")
            sent += 1
            yield encode_frame_header(index, len(data), digest(data)), data
        yield (encode_end(sent),)

    def _wanted(self, source: DatasetSource) -> Iterator[tuple[int, bytes]]:
        """Yield the chunks, then the parts of chunks, with the indices of their frames."""
        for start, stop in self._request.ranges:
            for nchunk in range(start, stop):
                yield nchunk, self._sources.chunk(self._path, source, nchunk)
        for part in self._request.parts:
            chunk = self._sources.chunk(self._path, source, part.chunk)
            cut = cut_part(chunk, part.chunk, [n for start, stop in part.blocks for n in range(start, stop)])
            yield (part.chunk, chunk) if cut is None else (INDEX_PART, cut)

    def abandon(self) -> None:
        """Give back the source: at once, or at the end of the piece that a thread is reading. Does not block."""
        self._abandoned = True
        if self._lock.acquire(blocking=False):
            try:
                source, self._source = self._source, None
            finally:
                self._lock.release()
            if source is not None:
                self._sources.give_back(self._path, source, usable=self._usable)


def check_ranges(ranges: Iterable[tuple[int, int]], nchunks: int) -> None:
    """Check that half-open ranges lie within a dataset of `nchunks`. Raises ChunkNotFound."""
    for start, stop in ranges:
        if not 0 <= start <= stop <= nchunks:
            raise ChunkNotFound(f"chunks {start} to {stop} were asked for, there are {nchunks}")


def check_parts(parts: Sequence[PartRequest]) -> None:
    """Check what is asked of single chunks. Raises TooLarge, BadRequest."""
    if sum(len(part.blocks) for part in parts) > MAX_RANGES or len(parts) > MAX_RANGES:
        raise TooLarge(f"one request names at most {MAX_RANGES} ranges of blocks")
    if sum(max(0, stop - start) for part in parts for start, stop in part.blocks) > MAX_BLOCKS:
        raise TooLarge(f"one request asks for at most {MAX_BLOCKS} blocks")
    for part in parts:
        bounds = [bound for range_ in part.blocks for bound in range_]
        if not bounds or bounds[0] < 0 or any(start >= stop for start, stop in part.blocks) or bounds != sorted(bounds):
            raise BadRequest(f"the blocks of chunk {part.chunk} are not ranges in ascending order")
