"""Health of a service, part by part: degraded is not dead."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field


@dataclass(frozen=True, slots=True)
class Part:
    """State of one thing that a service depends on."""

    ok: bool
    detail: str = ""
    required: bool = False
    since: float = 0.0
    """Unix time in seconds since which `ok` has its value."""


class PartShown(BaseModel):
    """State of one part in ``/readyz``."""

    ok: bool
    since: float = Field(description="Unix time in seconds.")
    detail: str | None = None


class Readiness(BaseModel):
    """What ``/readyz`` answers."""

    status: Literal["starting", "ready", "degraded", "failed"]
    parts: dict[str, PartShown]


class Health:
    """What a service knows about its parts. Parts report by `set`; ``/readyz`` shows them."""

    def __init__(self) -> None:
        self._parts: dict[str, Part] = {}
        self.starting = True

    def set(self, name: str, ok: bool, detail: str = "", *, required: bool = False) -> None:
        """Record the state of a part. A service is out of order only while a `required` part is."""
        old = self._parts.get(name)
        since = old.since if old is not None and old.ok == ok else time.time()
        self._parts[name] = Part(ok, detail, required, since)

    def ok(self, name: str) -> bool:
        """Tell whether a part works; one that never reported does not."""
        part = self._parts.get(name)
        return part is not None and part.ok

    def snapshot(self) -> dict[str, Part]:
        """Return the parts by name."""
        return dict(self._parts)

    def readiness(self) -> tuple[int, dict[str, Any]]:
        """Return status and body of ``/readyz``."""
        parts = {name: _shown(part) for name, part in sorted(self._parts.items())}
        failed = any(part.required and not part.ok for part in self._parts.values())
        degraded = any(not part.ok for part in self._parts.values())
        if self.starting:
            return 503, {"status": "starting", "parts": parts}
        if failed:
            return 503, {"status": "failed", "parts": parts}
        return 200, {"status": "degraded" if degraded else "ready", "parts": parts}


def _shown(part: Part) -> dict[str, Any]:
    shown: dict[str, Any] = {"ok": part.ok, "since": round(part.since, 3)}
    return {**shown, "detail": part.detail} if part.detail else shown
