"""Tokens that ``cat2cli login`` keeps: one for each subscriber, in a file that only its owner can read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def store_path() -> Path:
    """Return the file that holds the tokens."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "caterva2" / "tokens.json"


def find(urlbase: str) -> dict[str, Any] | None:
    """Return what is kept for a subscriber: ``token``, ``id`` and ``email``."""
    found = _read().get(urlbase)
    return found if isinstance(found, dict) else None


def keep(urlbase: str, entry: dict[str, Any]) -> Path:
    """Keep a token. Returns the file's path."""
    return _write({**_read(), urlbase: entry})


def drop(urlbase: str) -> None:
    """Forget the token for a subscriber."""
    kept = _read()
    if kept.pop(urlbase, None) is not None:
        _write(kept)


def _read() -> dict[str, Any]:
    try:
        found = json.loads(store_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(kept: dict[str, Any]) -> Path:
    path = store_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(path.name + f".{os.getpid()}")
    # The mode is set at creation: there is no moment at which others could read the file.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(kept, file, indent=2)
    temporary.replace(path)
    return path
