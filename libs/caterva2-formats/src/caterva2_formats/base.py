"""What a format offers to the services: roots to walk and datasets to read, whatever the bytes on disk look like.

Methods block (files, codecs); callers run them in a thread. Implementations are in `directory`, `hdf5`; every one
passes the conformance tests of ``tests/conformance``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from caterva2.wire import Kind

MAX_CHUNK_BYTES = 256 * 2**20
"""Largest uncompressed chunk that is accepted."""
MAX_BLOCK_BYTES = 32 * 2**20
MAX_NDIM = 8
FILE_CHUNK_BYTES = 16 * 2**20
"""Chunk size in bytes of plain files, which are served as super-chunks of bytes."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Identity of a file's state: any write changes it. Times are nanoseconds since the Unix epoch."""

    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class Found:
    """One dataset or file that a scan of a root met."""

    path: str
    """Listed path below the root, checked by `caterva2.paths.check_path`."""
    etag: str
    """Version: from the stamp of the file that holds the bytes, and the dataset's name inside an HDF5 file."""
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Layout:
    """Geometry and coding of a dataset: all that is needed to read its chunks.

    For `Kind.FRAME` and `Kind.FILE` the dataset is one axis of `nbytes` bytes: ``shape=(nbytes,)``,
    ``chunks=(chunksize,)``, dtype ``|u1``.
    """

    kind: Kind
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    blocks: tuple[int, ...]
    """Blocks as the chunks declare them; may be padded beyond `chunks`."""
    dtype: str
    """``str(numpy.dtype)``, as ``/api/info`` shows it; `caterva2_formats.frames.parse_dtype` reads it."""
    typesize: int
    chunksize: int
    """Uncompressed bytes of a full chunk, padding included."""
    nchunks: int
    nbytes: int
    """Uncompressed bytes of the dataset, without padding for arrays."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """The bytes of a stored frame that are not chunks, so that ``skeleton + chunks`` is the file, byte for byte.

    The file is: for each part in order, its literal bytes, or the chunk that it names.
    """

    size: int
    """Size in bytes of the whole file."""
    parts: tuple[bytes | int, ...] = field(repr=False)
    """Literal bytes, or the number of a chunk whose compressed bytes stand here."""

    def to_bytes(self) -> bytes:
        """Encode for the wire and the cache (msgpack)."""
        from .frames import encode_skeleton

        return encode_skeleton(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode what `to_bytes` made. Raises UnsafeContent."""
        from .frames import decode_skeleton

        size, parts = decode_skeleton(data)
        return cls(size, parts)


class DatasetSource(Protocol):
    """One open version of a dataset or file. Use as a context manager, or call `close`."""

    etag: str
    layout: Layout
    info: dict[str, Any]
    """What ``/api/info`` answers (reference API section 2.4); ``urlpath`` is None."""

    @property
    def compresses(self) -> bool:
        """Whether chunks are compressed when they are read, so that it pays to keep them."""
        ...

    def chunk(self, nchunk: int) -> bytes:
        """Return compressed chunk `nchunk` as stored, counted row-major over the chunk grid.

        A special-value chunk is returned as the 32-byte (or repeated-value) chunk that says so.

        Raises
        ------
        ChunkNotFound
            If there is no such chunk.
        VersionChanged
            If the source is no longer at `etag`; checked before and after the bytes were read.
        """
        ...

    def skeleton(self) -> Skeleton | None:
        """Return the rest of the stored frame, or None if the dataset is not stored as one (HDF5, plain files)."""
        ...

    def close(self) -> None:
        """Give back descriptors. The source cannot be read afterwards."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class RootSource(Protocol):
    """A published tree: a directory, or one HDF5 file."""

    def available(self) -> bool:
        """Tell whether the tree can be seen at all; False (an unmounted directory) never means "all deleted"."""
        ...

    def scan(self) -> Iterator[Found]:
        """Yield every dataset and file. Names that `check_path` refuses are skipped with one log line.

        Raises
        ------
        Unavailable
            If the tree cannot be read (now); `retry_after_s` says when to try again.
        """
        ...

    def find(self, path: str) -> Found | None:
        """Return the present state of one listed path, or None if there is none."""
        ...

    def below(self, path: str) -> Iterator[Found]:
        """Yield what a scan would find at or below one path of the file system, relative to the root."""
        ...

    def open(self, path: str) -> DatasetSource:
        """Open the present version of a dataset or file after the checks of foreign bytes.

        Raises
        ------
        DatasetNotFound
            If there is nothing under this path.
        UnsafeContent
            If the bytes fail a check.
        Unavailable
            If the file is locked by a writer or incomplete; `retry_after_s` is set.
        """
        ...

    def watch_paths(self) -> list[str]:
        """Return the paths of the file system whose changes concern this root, for a watcher."""
        ...

    def close(self) -> None:
        """Give back what the root holds open."""
        ...
