"""Conditional and partial requests: ``If-None-Match``, ``If-Match``, ``Range``, and how long an answer may be kept."""

from __future__ import annotations

import re
from collections.abc import Callable

from caterva2.errors import RangeInvalid, VersionChanged

from ..library import Resource

_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})\Z")


def _tags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")]


def etag_matches(header: str | None, etag: str) -> bool:
    """Tell whether ``If-None-Match`` or ``If-Match`` names `etag`; quotes may be missing, as in the original."""
    return header is not None and bool({"*", etag.strip('"')}.intersection(_tags(header)))


def version_check(header: str | None, wanted: str | None) -> Callable[[Resource], None]:
    """Return a function that raises VersionChanged unless ``If-Match`` and the query's ``v`` allow the version."""

    def check(resource: Resource) -> None:
        version = resource.etag
        if (header is not None and not etag_matches(header, version)) or (wanted is not None and wanted != version):
            raise VersionChanged("The dataset is at another version than the one asked for")

    return check


def cache_control(wanted: str | None) -> str:
    """Return ``Cache-Control``: what was asked for by version never changes, anything else is to be checked."""
    return "private, no-cache" if wanted is None else "private, max-age=31536000, immutable"


def still_applies(range_: str | None, if_range: str | None, etag: str) -> str | None:
    """Return ``Range``, unless ``If-Range`` says that it is a part of something else: then everything is wanted."""
    return range_ if if_range is None or if_range == etag else None


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the half-open range that ``Range`` asks for, or None for everything.

    Several ranges at once are answered with everything, as RFC 9110 allows.

    Raises
    ------
    RangeInvalid
        If it lies behind the end.
    """
    match = _RANGE.match(header.replace(" ", "")) if header else None
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        length = min(int(match[2]), size)
        if not length:
            raise RangeInvalid(f"there are no bytes in this range of {size}")
        return size - length, size
    start = int(match[1])
    stop = min(int(match[2]) + 1, size) if match[2] else size
    if match[2] and int(match[2]) < start:
        return None
    if start >= size:
        raise RangeInvalid(f"the range begins behind the end of {size} bytes")
    return start, stop
