"""Groups inside HDF5 files of a space, which can be listed and described without an unfold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from caterva2_formats.base import Found
from caterva2_formats.info import timestamp
from caterva2_formats.unfold import ATTRIBUTES_NAME, Unfolded


@dataclass(frozen=True, slots=True)
class Group:
    """One group."""

    names: list[str]
    """Sorted paths of the datasets below it, as an unfold would name them."""
    file: Found

    @property
    def info(self) -> Mapping[str, Any]:
        """What ``/api/info`` answers."""
        stamp = self.file.stamp
        return {
            "kind": "group",
            "mtime": timestamp(stamp.mtime_ns / 1e9),
            "size": stamp.size,
            "nfiles": len(self.names),
            "version": self.file.etag,
        }


def group_of(entries: Iterable[Unfolded], prefix: str, file: Found) -> Group | None:
    """Return the group `prefix` (which ends with a slash) of an HDF5 file; None if the file has no such group."""
    below = [entry for entry in entries if entry.path.startswith(prefix)]
    if not any(entry.path == prefix + ATTRIBUTES_NAME for entry in below):
        return None
    return Group(sorted(entry.path.removeprefix(prefix) for entry in below if entry.member is not None), file)
