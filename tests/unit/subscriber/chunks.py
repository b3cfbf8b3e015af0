"""Chunks to put into a cache, made without a codec: the cache does not look inside."""

from __future__ import annotations

import hashlib

from caterva2_formats.chunks import digest
from caterva2_subscriber.cache import Kept, VersionKey

KEY = VersionKey("foo", "epoch", "dir/a.b2nd", "etag1")


def data(key: VersionKey, nchunk: int, size: int = 10_000) -> bytes:
    """Return bytes that no other chunk has."""
    seed = hashlib.sha256(f"{key}{nchunk}{size}".encode()).digest()
    return (seed * (size // len(seed) + 1))[:size]


def kept(key: VersionKey, nchunk: int, size: int = 10_000) -> Kept:
    """Return a chunk as the fetcher hands it to the cache."""
    bytes_ = data(key, nchunk, size)
    return Kept(nchunk, bytes_, digest(bytes_))
