"""Records, of which packs are made, as bytes of a file. docs/cache-format.md has the layout."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum

from caterva2_formats.chunks import digest

FORMAT_VERSION = 2
_MAGIC = b"C2PK"
_HEADER = struct.Struct("<4sBBxxQQ16s")
_CHECK = struct.Struct("<I")
HEADER_SIZE = _HEADER.size + _CHECK.size
_NO_DIGEST = bytes(16)
_PUNCH_HOLE_KEEP_SIZE = 3
_IDENTITY_STEP = 512
"""Identities take a multiple of so many bytes, so that that of another version fits where this one's is."""

_libc = ctypes.CDLL(None, use_errno=True)


class Record(IntEnum):
    """What a record of a pack holds."""

    IDENTITY = 1
    """Which version of which dataset the pack belongs to, as JSON; the first record of a pack."""
    CHUNK = 2
    DEAD = 3
    """Nothing; its bytes may be a hole."""


@dataclass(frozen=True, slots=True)
class VersionKey:
    """Identity of one version of a dataset."""

    root: str
    epoch: str
    path: str
    etag: str


@dataclass(frozen=True, slots=True)
class Identity:
    """What the first record of a pack says."""

    key: VersionKey
    nchunks: int
    generation: int
    """Changes with every change of the file but for appending."""

    def body(self) -> bytes:
        """Return the bytes of the record, without its header."""
        text = json.dumps({"format": FORMAT_VERSION, "nchunks": self.nchunks, **asdict(self.key)}).encode()
        return text.ljust(-(-(len(text) + HEADER_SIZE) // _IDENTITY_STEP) * _IDENTITY_STEP - HEADER_SIZE)


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a record."""

    record: int
    number: int
    """Number of the chunk; generation of the pack for its identity."""
    length: int
    digest: bytes

    @classmethod
    def read(cls, fd: int, start: int) -> Header | None:
        """Return the header at `start`, or None if there is none."""
        head = os.pread(fd, HEADER_SIZE, start)
        if len(head) < HEADER_SIZE:
            return None
        magic, version, record, number, length, checksum = _HEADER.unpack_from(head)
        (check,) = _CHECK.unpack_from(head, _HEADER.size)
        if magic != _MAGIC or version != FORMAT_VERSION or check != zlib.crc32(head[: _HEADER.size]):
            return None
        return cls(record, number, length, checksum)


def encode_header(record: Record, number: int, length: int, checksum: bytes = _NO_DIGEST) -> bytes:
    """Return the bytes of a header."""
    head = _HEADER.pack(_MAGIC, FORMAT_VERSION, record, number, length, checksum)
    return head + _CHECK.pack(zlib.crc32(head))


def read_records(fd: int, start: int, size: int) -> Iterator[tuple[Header, int]]:
    """Yield header and offset of the bytes of every whole record from `start` on, in a file of `size` bytes."""
    while (header := Header.read(fd, start)) is not None:
        offset = start + HEADER_SIZE
        start = offset + header.length
        if start > size:
            return
        yield header, offset


def read_generation(fd: int) -> int | None:
    """Return the generation of a pack, or None if it does not begin with an identity."""
    header = Header.read(fd, 0)
    return header.number if header is not None and header.record == Record.IDENTITY else None


def read_identity(fd: int) -> tuple[Identity, int] | None:
    """Return the identity of a pack and where it ends, or None if it cannot be read."""
    header = Header.read(fd, 0)
    if header is None or header.record != Record.IDENTITY:
        return None
    body = os.pread(fd, header.length, HEADER_SIZE)
    if digest(body) != header.digest:
        return None
    try:
        facts = json.loads(body)
        key = VersionKey(facts["root"], facts["epoch"], facts["path"], facts["etag"])
        return Identity(key, int(facts["nchunks"]), header.number), HEADER_SIZE + header.length
    except (ValueError, KeyError, TypeError):
        return None


def write_identity(fd: int, identity: Identity) -> int:
    """Write the first record of a pack and return where it ends."""
    body = identity.body()
    write_pieces(fd, (encode_header(Record.IDENTITY, identity.generation, len(body), digest(body)), body), 0)
    return HEADER_SIZE + len(body)


def write_dead(fd: int, start: int, stop: int) -> None:
    """Make the half-open range of a pack, which begins with a header, a dead record, and give its bytes back."""
    length = stop - start - HEADER_SIZE
    write_pieces(fd, (encode_header(Record.DEAD, 0, length),), start)
    if length > 0:
        # Where the file system cannot punch holes, compaction gives the bytes back.
        _libc.fallocate(fd, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_int64(start + HEADER_SIZE), ctypes.c_int64(length))


def write_pieces(fd: int, pieces: Sequence[bytes], offset: int) -> None:
    """Write all of `pieces`, one behind the other. Raises OSError."""
    left = [memoryview(piece) for piece in pieces if piece]
    while left:
        done = os.pwritev(fd, left, offset)
        if done == 0:
            raise OSError(errno.EIO, "nothing was written")
        offset += done
        while left and done >= len(left[0]):
            done -= len(left.pop(0))
        if done:
            left[0] = left[0][done:]


def disk_bytes(fd: int) -> int:
    """Return the bytes that a file takes on disk."""
    return os.fstat(fd).st_blocks * 512
