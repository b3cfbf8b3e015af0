"""Conditions of requests on versions: ``If-Match`` and ``If-None-Match``."""

from __future__ import annotations


def tags(header: str | None) -> list[str]:
    """Return the tags of a header, without quotes and marks of weakness; the original sends them unquoted."""
    return [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")] if header else []


def matches(header: str | None, tag: str) -> bool:
    """Tell whether a header names `tag`, or any tag by ``*``."""
    return bool({"*", tag}.intersection(tags(header)))


def wanted(if_match: str | None) -> str | None:
    """Return the version that a request insists on; None for any."""
    found = tags(if_match)
    return None if not found or "*" in found else found[0]
