"""The chunk cache on the subscriber's disk; docs/cache-format.md has its layout."""

from .packs import Bytes, Kept, VersionKey
from .store import BROKEN, FULL, ChunkStore, RootUsage, VerifyReport

__all__ = ["BROKEN", "FULL", "Bytes", "ChunkStore", "Kept", "RootUsage", "VerifyReport", "VersionKey"]
