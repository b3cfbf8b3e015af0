"""What travels between the parts of Caterva2: JSON models, headers and the framing of chunks.

Requests refuse unknown fields, answers ignore them, and fields are only ever added, so that services and clients of
different ages understand each other. Shapes of ``/api/info`` are those that clients of the original rely on.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from . import errors

# --- headers ---------------------------------------------------------------------
HEADER_SOURCE = "X-Cat2-Source"
"""``cache``, ``link`` or ``mixed``: where the bytes of an answer came from."""
HEADER_STALE = "X-Cat2-Stale"
"""Seconds since the dataset was last known to be current, sent when the publisher cannot be reached."""
HEADER_VERIFIED_AGE = "X-Cat2-Verified-Age"
"""Seconds since the subscriber last knew the dataset's version to be the publisher's."""
HEADER_VERSION = "X-Cat2-Version"
"""Version (etag) of the dataset that was read, unquoted."""
HEADER_CACHE = "X-Cat2-Cache"
"""``full`` or ``broken`` when the cache could not keep what was fetched."""
HEADER_REQUEST_ID = "X-Request-Id"
"""Identity of a request, kept through every service that it touches."""

HEADER_JOIN = "X-Cat2-Join"
"""Secret with which the broker admits services of other machines."""

CHUNKS_MEDIA_TYPE = "application/vnd.caterva2.chunks"


class Request(BaseModel):
    """Base of request bodies."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """Base of answer bodies."""

    model_config = ConfigDict(extra="ignore", frozen=True)


# --- roots ---------------------------------------------------------------------
class RootState(StrEnum):
    """Whether the publisher of a root is alive."""

    ONLINE = "online"
    OFFLINE = "offline"


class RootRegistration(BaseModel):
    """Body of ``POST /api/roots`` at the broker. The original sends `name`, `http` and perhaps `subscribed`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = Field(examples=["foo"])
    http: str = Field(examples=["localhost:8001"])
    """Address where the publisher answers, ``host:port`` or a socket path, echoed verbatim."""
    subscribed: bool | None = None
    publisher: str | None = None
    """Identity (UUID) of the publisher, kept in its state directory."""
    epoch: str | None = None
    """UUID of this life of the root's index."""
    description: str | None = None
    access: str | None = None
    """Default access that the publisher declares: ``public``, ``users`` or ``group:NAME``."""
    ndatasets: int | None = None
    nbytes: int | None = None


class Root(Answer):
    """One root as the broker and the subscriber report it; absent values are left out of the JSON."""

    name: str
    http: str = ""
    subscribed: bool | None = None
    state: RootState | None = None
    offline_since: float | None = None
    """Unix time in seconds."""
    publisher: str | None = None
    epoch: str | None = None
    description: str | None = None
    access: str | None = None
    ndatasets: int | None = None
    nbytes: int | None = None


class Bus(Answer):
    """Answer of ``GET /api/bus``: how to reach NATS. `url` is None while there is none."""

    url: str | None
    user: str | None = None
    password: str | None = Field(default=None, repr=False)


class ServiceKey(Answer):
    """Public key of a service that the broker admitted."""

    kid: str
    """Identity of the service: the thumbprint (RFC 7638) of its key."""
    role: str
    """``publisher`` or ``subscriber``."""
    jwk: dict[str, str]


# --- datasets ---------------------------------------------------------------------
class Kind(StrEnum):
    """What a path holds."""

    ARRAY = "array"
    """An n-dimensional array: a Blosc2 frame with a ``b2nd`` layer, or an HDF5 dataset."""
    FRAME = "frame"
    """A Blosc2 super-chunk of bytes."""
    FILE = "file"
    """Any other file, served as a super-chunk of its bytes."""
    HDF5 = "hdf5"
    """An HDF5 file as a whole."""


class SChunkInfo(Answer):
    """How the chunks of a dataset or file are kept."""

    cbytes: int
    """Compressed bytes of all chunks."""
    chunkshape: int
    """Elements of a chunk."""
    chunksize: int
    """Bytes of a chunk."""
    contiguous: bool
    cparams: dict[str, Any]
    """Compression parameters as Blosc2 names and numbers them."""
    cratio: float
    nbytes: int
    """Uncompressed bytes of all chunks, padding included."""
    urlpath: str | None
    """Always null: the original told a path of its server."""
    vlmeta: dict[str, Any]
    """User attributes."""
    nchunks: int
    mtime: str | None


class FreshnessInfo(Answer):
    """How current a dataset of a published root is known to be."""

    verified_age_s: float
    """Seconds since the version was last known to be the publisher's."""
    stale_s: float | None = None
    """The same while the publisher cannot be reached; null otherwise."""


class ArrayInfo(Answer):
    """``/api/info`` of an array: a Blosc2 array, a dataset of an HDF5 file, or one that was unfolded."""

    shape: list[int]
    chunks: list[int]
    blocks: list[int]
    dtype: str
    """Type as numpy writes it."""
    schunk: SChunkInfo
    mtime: str | None
    """Last change, ISO 8601 in UTC."""
    version: str | None = None
    freshness: FreshnessInfo | None = None


class FrameInfo(SChunkInfo):
    """``/api/info`` of a frame of bytes, or of any file that is none of the others."""

    version: str | None = None
    freshness: FreshnessInfo | None = None


class ExpressionInfo(Answer):
    """``/api/info`` of an expression over datasets."""

    shape: list[int]
    dtype: str
    expression: str
    operands: dict[str, str]
    """API path of the dataset behind each name."""
    mtime: str | None
    version: str | None = None
    freshness: FreshnessInfo | None = None


class MissingOperandsInfo(Answer):
    """``/api/info`` of an expression some of whose datasets are gone."""

    mtime: None
    error: str
    expr: str
    missing_ops: dict[str, str]


class UnreadableInfo(Answer):
    """``/api/info`` of what cannot be read: its bytes are not what its name says, or its expression fits no more."""

    mtime: str | None
    error: str
    reason: str | None = None
    expr: str | None = None


class Hdf5FileInfo(Answer):
    """``/api/info`` of an HDF5 file as a whole."""

    mtime: float
    """Unix time in seconds."""
    size: int
    version: str | None = None
    freshness: FreshnessInfo | None = None


class GroupInfo(Answer):
    """``/api/info`` of a group inside an HDF5 file of a space."""

    kind: Literal["group"] = "group"
    mtime: str
    size: int
    """Bytes of the HDF5 file."""
    nfiles: int
    """Number of datasets in the group and below it."""
    version: str | None = None


Info = GroupInfo | ArrayInfo | FrameInfo | ExpressionInfo | MissingOperandsInfo | UnreadableInfo | Hdf5FileInfo
"""What ``/api/info`` answers. Services make these as dictionaries, which cost less; tests compare the two."""


class ManifestHeader(Answer):
    """First line of a manifest: the state of a root's index that the following lines describe."""

    root: str
    epoch: str
    seq: int
    """Every change up to and including this one is in the manifest."""
    count: int
    """Number of entries that follow."""
    online: bool = True
    """False while the publisher cannot see its data (an unmounted directory): keep what you have."""


class ManifestEntry(Answer):
    """One dataset or file of a root."""

    path: str
    etag: str
    kind: Kind
    nbytes: int
    """Uncompressed size in bytes."""
    mtime: float
    """Unix time in seconds of the source's last change."""
    seq: int
    """Number of the change that brought this entry to its present state."""
    info: dict[str, Any]
    """What ``/api/info`` answers, apart from what the subscriber adds."""


class PartRequest(Request):
    """Some blocks of one chunk."""

    chunk: int
    blocks: list[tuple[int, int]]
    """Half-open ranges of block numbers, ascending."""


class ChunksRequest(Request):
    """Body of ``POST /api/chunks/{path}``. What is at its default is left out: older publishers may not know it."""

    ranges: list[tuple[int, int]] = Field(default_factory=list)
    """Half-open ranges of chunk numbers, in the order in which they are wanted."""
    skeleton: bool = False
    """Also send, first, what of the stored frame is not chunks (`caterva2_formats.base.Skeleton`)."""
    parts: list[PartRequest] = Field(default_factory=list)
    """Chunks of which some blocks will do, sent last. Each is answered by a frame with `INDEX_PART`
    (`caterva2_formats.parts`), or by the whole chunk where that is as good."""


# --- framing of chunks ---------------------------------------------------------------------
_FRAME = struct.Struct("<QI16s")
FRAME_HEADER_SIZE = _FRAME.size
INDEX_END = 2**64 - 1
INDEX_SKELETON = 2**64 - 2
INDEX_ERROR = 2**64 - 3
INDEX_PART = 2**64 - 4
MAX_FRAME_BYTES = 2**31 - 1
NO_DIGEST = bytes(16)


@dataclass(frozen=True, slots=True)
class ChunkFrame:
    """One compressed chunk on the wire.

    Layout, little-endian: chunk number (u64), length in bytes (u32), digest (16 bytes, XXH3-128 of the chunk,
    zeros for none), the chunk. Numbers from 2**64 - 4 have meanings of their own: `INDEX_SKELETON`, `INDEX_PART` (the
    bytes are some blocks of a chunk), `INDEX_ERROR` (the bytes are an error's JSON body; the answer ends there) and
    `INDEX_END` (length holds the number of frames before it, no bytes follow). A body without `INDEX_END` was cut off.
    """

    index: int
    data: bytes
    digest: bytes = NO_DIGEST


def encode_frame_header(index: int, length: int, digest: bytes = NO_DIGEST) -> bytes:
    """Return the header that precedes the `length` bytes of chunk `index`."""
    return _FRAME.pack(index, length, digest)


def encode_end(count: int) -> bytes:
    """Return the closing frame of an answer of `count` frames."""
    return _FRAME.pack(INDEX_END, count, NO_DIGEST)


async def decode_frames(body: AsyncIterable[bytes], *, max_frame: int = MAX_FRAME_BYTES) -> AsyncIterator[ChunkFrame]:
    """Yield the frames of a streamed answer as they arrive, up to its end.

    The body is read to its end, so that the connection can be used again.

    Raises
    ------
    UpstreamInvalid
        If the body is cut off, or holds something that is not a frame.
    Caterva2Error
        The error that the sender reported after it had begun to answer.
    """
    decoder = FrameDecoder(max_frame=max_frame)
    async for piece in body:
        for frame in decoder.feed(piece):
            yield frame
    decoder.close()


class FrameDecoder:
    """Incremental decoder of framed chunks; see `ChunkFrame` for the layout.

    Parameters
    ----------
    max_frame
        Largest length, in bytes, that a frame may declare.
    """

    def __init__(self, *, max_frame: int = MAX_FRAME_BYTES) -> None:
        self._buffer = bytearray()
        self._max_frame = max_frame
        self._count = 0
        self._ended = False

    def feed(self, piece: bytes) -> Iterable[ChunkFrame]:
        """Yield the frames that `piece` completes. Raises as `decode_frames` does."""
        self._buffer += piece
        start = 0
        try:
            while not self._ended and len(self._buffer) - start >= FRAME_HEADER_SIZE:
                index, length, digest = _FRAME.unpack_from(self._buffer, start)
                if index == INDEX_END:
                    start += FRAME_HEADER_SIZE
                    self._end(length)
                    break
                if length > self._max_frame:
                    raise errors.UpstreamInvalid(f"a chunk of {length} bytes was announced, more than can be true")
                if len(self._buffer) - start - FRAME_HEADER_SIZE < length:
                    break
                start += FRAME_HEADER_SIZE
                data = bytes(memoryview(self._buffer)[start : start + length])
                start += length
                self._count += 1
                if index == INDEX_ERROR:
                    raise _decode_error(data)
                yield ChunkFrame(index, data, digest)
        finally:
            del self._buffer[:start]
        if self._ended and self._buffer:
            raise errors.UpstreamInvalid("the answer goes on behind its end")

    def _end(self, count: int) -> None:
        if count != self._count:
            raise errors.UpstreamInvalid(f"the answer holds {self._count} frames, but announced {count}")
        self._ended = True

    def close(self) -> None:
        """Check that the answer was whole. Raises UpstreamInvalid."""
        if not self._ended:
            raise errors.UpstreamInvalid("the answer was cut off")


class ErrorBody(Answer):
    """Body of every error that a service reports."""

    detail: Any
    code: str = "internal"
    status: int = 500

    @classmethod
    def of(cls, error: errors.Caterva2Error) -> Self:
        """Describe `error`."""
        return cls(detail=error.detail, code=error.code, status=error.status)


def encode_error(error: errors.Caterva2Error) -> bytes:
    """Return the frame that ends an answer with an error."""
    body = ErrorBody.of(error).model_dump_json().encode()
    return encode_frame_header(INDEX_ERROR, len(body)) + body


def _decode_error(data: bytes) -> errors.Caterva2Error:
    try:
        body = ErrorBody.model_validate_json(data)
    except ValueError:
        return errors.UpstreamInvalid("the answer was broken off by its sender")
    return errors.from_body(body.status, body.model_dump())
