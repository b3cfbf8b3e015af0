"""How fresh an answer is, in the words of the subscriber that gave it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from . import wire


@dataclass(frozen=True, slots=True)
class Freshness:
    """What a subscriber said about the version that it answered from."""

    version: str | None = None
    """Opaque version (etag) of the dataset; equal versions hold equal data."""
    source: str | None = None
    """``cache``, ``link`` or ``mixed``: where the bytes came from."""
    age: float | None = None
    """Seconds since the subscriber last knew this version to be the publisher's."""
    stale: bool = False
    """The publisher could not be reached, so there may be a newer version."""

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Self:
        """Read the headers of an answer; what a server does not say stays None."""
        stale_s = _seconds(headers.get(wire.HEADER_STALE))
        age = _seconds(headers.get(wire.HEADER_VERIFIED_AGE))
        etag = headers.get("etag", "").removeprefix("W/").strip('"') or None
        return cls(
            version=headers.get(wire.HEADER_VERSION) or etag,
            source=headers.get(wire.HEADER_SOURCE),
            age=stale_s if age is None else age,
            stale=stale_s is not None,
        )


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
