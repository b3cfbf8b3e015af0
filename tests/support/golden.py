"""Answers that must stay as they are, kept as files. ``CATERVA2_UPDATE_GOLDEN=1`` writes them anew."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx

VOLATILE = frozenset(
    [
        "before",
        "cbytes",
        "cratio",
        "created_at",
        "epoch",
        "etag",
        "expires_at",
        "id",
        "ndatasets",
        "http",
        "limit",
        "link_bytes",
        "mtime",
        "offline_since",
        "publisher",
        "size",
        "since",
        "token",
        "used",
        "used_bytes",
        "site_used_bytes",
        "used_at",
        "verified",
        "verified_age_s",
        "version",
    ]
)
"""Names whose values differ from run to run; their types do not."""


def check_golden(path: Path, found: Any) -> None:
    """Compare something made of what JSON has with the golden file. Fields may have been added since."""
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("CATERVA2_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"there is no {path.name}: CATERVA2_UPDATE_GOLDEN=1 writes it"
    golden = json.loads(path.read_text(encoding="utf-8"))
    assert _without_additions(found, golden) == golden, path.name


def _without_additions(found: Any, golden: Any) -> Any:
    if isinstance(found, dict) and isinstance(golden, dict):
        return {key: _without_additions(item, golden[key]) for key, item in found.items() if key in golden}
    if isinstance(found, list) and isinstance(golden, list) and len(found) == len(golden):
        return [_without_additions(*pair) for pair in zip(found, golden, strict=True)]
    return found


def settled(value: Any, name: str = "") -> Any:
    """Return `value` with the name of the type in place of what differs from run to run."""
    if isinstance(value, dict):
        return {key: settled(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [settled(item, name) for item in value]
    if name in VOLATILE and value is not None:
        return f"<{type(value).__name__}>"
    return value


def shape_of(answer: httpx.Response) -> dict[str, Any]:
    """Return what clients rely on in an answer: status, media type, body."""
    shape: dict[str, Any] = {"status": answer.status_code, "reason": answer.reason_phrase}
    if "content-type" in answer.headers:
        shape["content-type"] = answer.headers["content-type"]
    if answer.content:
        shape["body"] = settled(answer.json())
    return shape
