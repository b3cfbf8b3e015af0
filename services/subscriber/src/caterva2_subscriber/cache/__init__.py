"""The chunk cache on the subscriber's disk; docs/cache-format.md has its layout."""

from .claims import Claims
from .packs import Bytes, Kept
from .records import VersionKey
from .store import BROKEN, FULL, ChunkStore, RootUsage, VerifyReport

__all__ = ["BROKEN", "FULL", "Bytes", "ChunkStore", "Claims", "Kept", "RootUsage", "VerifyReport", "VersionKey"]
