"""Table classes, private to this package. Times are seconds since the Unix epoch, sizes are bytes."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, LargeBinary, Uuid
from sqlmodel import Field, SQLModel


def _user_id() -> Any:
    return Column(Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True)


class UserRow(SQLModel, table=True):
    """A person. E-mail addresses are unique regardless of case and stored in lower case."""

    __tablename__ = "users"

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    email: str = Field(max_length=320, unique=True, index=True)
    hashed_password: str | None = Field(default=None, max_length=1024)
    is_active: bool = True
    is_superuser: bool = False
    is_verified: bool = False
    created_at: float


class IdentityRow(SQLModel, table=True):
    """A login at an OpenID provider that belongs to a user."""

    __tablename__ = "identities"

    issuer: str = Field(primary_key=True, max_length=500)
    subject: str = Field(primary_key=True, max_length=255)
    user_id: UUID = Field(sa_column=_user_id())


class GroupRow(SQLModel, table=True):
    """A named set of users."""

    __tablename__ = "groups"

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    name: str = Field(max_length=63, unique=True, index=True)
    description: str = Field(default="", max_length=500)
    created_at: float


class MembershipRow(SQLModel, table=True):
    """A user's place in a group. Those of origin ``oidc`` follow the claims of each login."""

    __tablename__ = "memberships"

    group_id: UUID = Field(
        sa_column=Column(Uuid, ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True, nullable=False)
    )
    user_id: UUID = Field(
        sa_column=Column(Uuid, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, nullable=False, index=True)
    )
    origin: str = Field(default="manual", max_length=16)


class GrantRow(SQLModel, table=True):
    """One line of the rights of a root. A root without a line for an access has that access's default."""

    __tablename__ = "rights"

    root: str = Field(primary_key=True, max_length=63)
    access: str = Field(primary_key=True, max_length=8)
    grantee: str = Field(primary_key=True, max_length=340)


class SubscriptionRow(SQLModel, table=True):
    """A root that is to be followed, for a user (the user's id) or for the whole site (``site``)."""

    __tablename__ = "subscriptions"

    root: str = Field(primary_key=True, max_length=63)
    holder: str = Field(primary_key=True, max_length=40)
    created_at: float


class SessionRow(SQLModel, table=True):
    """A login in a browser or client. The cookie's value itself is never stored."""

    __tablename__ = "sessions"

    token_hash: bytes = Field(sa_column=Column(LargeBinary(32), primary_key=True))
    user_id: UUID = Field(sa_column=_user_id())
    created_at: float
    used_at: float
    expires_at: float = Field(index=True)
    address: str = Field(default="", max_length=64)
    agent: str = Field(default="", max_length=200)


class ApiTokenRow(SQLModel, table=True):
    """A token for scripts. The token itself is never stored."""

    __tablename__ = "api_tokens"

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    user_id: UUID = Field(sa_column=_user_id())
    name: str = Field(max_length=100)
    token_hash: bytes = Field(sa_column=Column(LargeBinary(32), unique=True, index=True, nullable=False))
    scopes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    created_at: float
    expires_at: float
    used_at: float | None = None


class OneTimeTokenRow(SQLModel, table=True):
    """What a reset or verification mail carries. The token itself is never stored."""

    __tablename__ = "one_time_tokens"

    token_hash: bytes = Field(sa_column=Column(LargeBinary(32), primary_key=True))
    user_id: UUID = Field(sa_column=_user_id())
    purpose: str = Field(max_length=16)
    expires_at: float = Field(index=True)
    used_at: float | None = None


class UsedFlowRow(SQLModel, table=True):
    """An attempt to sign in by an OpenID provider that has been answered, so that it is not answered again."""

    __tablename__ = "used_flows"

    flow_hash: bytes = Field(sa_column=Column(LargeBinary(32), primary_key=True))
    expires_at: float = Field(index=True)


class AttemptRow(SQLModel, table=True):
    """A login attempt that counts against a limit, shared by all replicas."""

    __tablename__ = "login_attempts"
    __table_args__ = (Index("ix_login_attempts_key_at", "key", "at"),)

    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(max_length=100)
    at: float


class QuotaRow(SQLModel, table=True):
    """Bytes used and allowed, of one user (the user's id) or of the whole site (``site``)."""

    __tablename__ = "quotas"

    scope: str = Field(primary_key=True, max_length=40)
    used_bytes: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    limit_bytes: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))


class AuditRow(SQLModel, table=True):
    """One thing that somebody did. Rows are only ever added."""

    __tablename__ = "audit"

    id: int | None = Field(default=None, primary_key=True)
    at: float = Field(index=True)
    action: str = Field(max_length=40, index=True)
    actor: str = Field(max_length=320, index=True)
    target: str = Field(default="", max_length=1100)
    result: str = Field(max_length=16)
    address: str = Field(default="", max_length=64)
    request_id: str = Field(default="", max_length=64)
    detail: str = Field(default="", max_length=500)
