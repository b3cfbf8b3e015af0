"""Where a subscriber is, and how a path is written into a URL."""

from __future__ import annotations

import os
from pathlib import PurePath, PurePosixPath
from typing import Any
from urllib.parse import quote

from .slices import format_key

DEFAULT_URLBASE = "http://localhost:8002"

PathLike = str | PurePath | os.PathLike[str]
"""A path of a dataset, as text or as an object that stands for one (`File` and `Dataset` do)."""


def check_urlbase(urlbase: Any) -> str:
    """Return the base of a subscriber's URLs without its trailing slashes.

    Raises
    ------
    ValueError
        If it is not an HTTP or HTTPS URL.
    """
    text = str(urlbase)
    if not text.startswith(("http://", "https://")) or not text.partition("://")[2].strip("/"):
        raise ValueError("invalid HTTP(S) URL base", urlbase)
    return text.rstrip("/")


def remote_path(path: PathLike) -> PurePosixPath:
    """Return the normalised path of a root, a directory, a dataset or a file.

    Raises
    ------
    ValueError
        If the path is empty or begins with a slash.
    """
    text = os.fspath(path)
    if text.startswith("/"):
        raise ValueError("path cannot start with a slash")
    normalised = PurePosixPath(text)
    if not normalised.parts:
        raise ValueError("the path is empty")
    return normalised


def quote_path(path: PathLike) -> str:
    """Return a path as it stands in a URL, every unsafe character percent-encoded."""
    return quote(os.fspath(path), safe="/@")


def as_text(key: Any) -> str:
    """Return the text of a slice that is given as text, or as what indexes an array; ``""`` for everything."""
    return key if isinstance(key, str) else format_key(() if key is None else key)
