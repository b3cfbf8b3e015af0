"""Compression of answers as the browser understands it: zstd where it may be, gzip otherwise."""

from __future__ import annotations

import zlib

import zstandard

MIN_BYTES = 512
"""Smaller answers are sent as they are."""


def compress(data: bytes, accept_encoding: str) -> tuple[bytes, dict[str, str]]:
    """Compress the body of an answer if that makes it smaller.

    Returns
    -------
    tuple[bytes, dict[str, str]]
        The body, and the headers that say how it is coded.
    """
    headers = {"Vary": "Accept-Encoding"}
    if len(data) < MIN_BYTES:
        return data, headers
    accepted = {part.split(";")[0].strip() for part in accept_encoding.lower().split(",") if "q=0" not in part}
    if "zstd" in accepted:
        coded, name = zstandard.ZstdCompressor(level=1).compress(data), "zstd"
    elif "gzip" in accepted:
        coder = zlib.compressobj(1, zlib.DEFLATED, 31)
        coded, name = coder.compress(data) + coder.flush(), "gzip"
    else:
        return data, headers
    if len(coded) >= len(data):
        return data, headers
    return coded, {**headers, "Content-Encoding": name}
