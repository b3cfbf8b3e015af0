"""Events of published roots: facts about datasets, in the past tense, never their data.

An event says that a path of a root is at a new version. It accelerates; the publisher's manifest is the truth.
``(root, epoch, seq)`` orders the changes of a root, so that applying an event twice, or late, has no effect.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from .wire import Kind

STREAM = "cat2_events"
SUBJECT_PREFIX = "cat2.ev"
BUCKET_ROOTS = "cat2_roots"
BUCKET_ALIVE = "cat2_alive"
ALIVE_TTL_S = 30.0
"""Seconds after the last heartbeat at which a root counts as offline."""
HEARTBEAT_S = 10.0
EVENT_VERSION = 1


class Operation(StrEnum):
    """What happened."""

    CHANGED = "changed"
    """The path was created, or its bytes may have changed."""
    REMOVED = "removed"
    """The path is gone."""
    MANIFEST = "manifest"
    """Many paths changed at once: fetch the manifest. `path` is empty."""


class DatasetEvent(BaseModel):
    """One change of a root."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: int = EVENT_VERSION
    root: str
    epoch: str
    seq: int
    operation: Operation
    path: str = ""
    etag: str | None = None
    kind: Kind | None = None
    nbytes: int | None = None
    mtime: float | None = None
    info: dict[str, Any] | None = None
    """The new ``/api/info``, where it fits into a message; None means: ask the publisher."""

    @property
    def subject(self) -> str:
        """NATS subject. Paths never appear in subjects: their alphabet is too small, and subjects are not secret."""
        return f"{SUBJECT_PREFIX}.{self.root}.{hashlib.sha256(self.path.encode()).hexdigest()[:16]}"

    @property
    def message_id(self) -> str:
        """``Nats-Msg-Id`` by which JetStream drops duplicates."""
        return f"{self.root}:{self.epoch}:{self.seq}"


class RootFact(BaseModel):
    """Value of a key of `BUCKET_ROOTS`: what the broker knows of a root. Its key is the root's name."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    http: str
    publisher: str | None = None
    epoch: str | None = None
    description: str | None = None
    access: str | None = None
    retired: bool = False
    """The root was removed by its owner or an administrator."""


class Heartbeat(BaseModel):
    """Value of a key of `BUCKET_ALIVE`, which expires `ALIVE_TTL_S` after the last one. Its key is the root's name."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    epoch: str
    seq: int
    """The last change of the root: a subscriber that has not seen it is behind."""
    online: bool = True
    """False while the publisher does not see its data (an unmounted directory): keep what you have."""
