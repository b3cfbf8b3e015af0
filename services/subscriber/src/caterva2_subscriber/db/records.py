"""What the repositories hand out: facts, apart from the database. Times are seconds since the Unix epoch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Account:
    """A user, with the names of the groups that the user is in."""

    id: UUID
    email: str
    is_active: bool
    is_superuser: bool
    is_verified: bool
    created_at: float
    groups: frozenset[str] = frozenset()
    hashed_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of users, with their e-mail addresses."""

    name: str
    description: str
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """A login at an OpenID provider that belongs to a user."""

    issuer: str
    subject: str

    @property
    def id(self) -> str:
        """What names it in paths, where neither of the two may stand as it is."""
        return hashlib.sha256(f"{self.issuer}\n{self.subject}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Login:
    """A session, without its secret."""

    account: Account
    created_at: float
    used_at: float
    expires_at: float
    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token for scripts, without its secret."""

    id: UUID
    account: Account
    name: str
    scopes: tuple[str, ...]
    created_at: float
    expires_at: float
    used_at: float | None


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes used and allowed (None: unlimited) by a user or by the site."""

    used_bytes: int
    limit_bytes: int | None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, when, from where, and what came of it."""

    at: float
    action: str
    actor: str
    target: str
    result: str
    address: str
    request_id: str
    detail: str
    id: int | None = None
