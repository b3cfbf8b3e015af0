"""URLs that name a dataset and its subscriber at once: ``cat2://HOST[:PORT]/ROOT/sub/name``."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

SCHEMES = {"cat2": "http", "cat2s": "https"}
"""How a subscriber is reached: ``cat2s`` stands for TLS."""


def split_locator(url: str) -> tuple[str, str]:
    """Split a URL into the base of the subscriber's URLs and a path (``""`` for none).

    Raises
    ------
    ValueError
        If it is not such a URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise ValueError(f"'{url[:200]}' is not a URL of the form cat2://HOST:PORT/ROOT/sub/name (or cat2s:// for TLS)")
    if parts.username or parts.password:
        raise ValueError("a cat2:// URL holds no password: use CATERVA2_TOKEN, or give credentials as an argument")
    return f"{SCHEMES[parts.scheme]}://{parts.netloc}", unquote(parts.path).strip("/")
