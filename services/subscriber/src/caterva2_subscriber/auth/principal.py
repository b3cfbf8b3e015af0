"""The person or token on whose behalf a request is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import Depends, Request

from caterva2.errors import NotAuthenticated, PermissionDenied, Unavailable

if TYPE_CHECKING:
    from .accounts import Accounts

COOKIE = "c2subauth"
"""Name of the cookie that holds a session, as clients of the original know it."""

KNOWN = "caterva2.principal"
"""Where a request's scope holds its principal, once it was asked for."""

ADMIN = "admin"
READ = "read"
WRITE = "write"
ALL_SCOPES = frozenset({READ, WRITE, ADMIN})


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who reads or writes; `user_id` is None for the anonymous public."""

    user_id: UUID | None = None
    email: str | None = None
    groups: frozenset[str] = field(default_factory=frozenset)
    is_superuser: bool = False
    scopes: frozenset[str] = ALL_SCOPES
    """``read``, ``write``, ``admin``, or one of the first two for one root: ``read:ROOT``."""
    unverified: bool = False
    """Credentials were given, but the database that could confirm them is away: treat as anonymous, except that
    what is refused may be granted later."""

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody is logged in."""
        return self.user_id is None

    @property
    def name(self) -> str:
        """What the audit trail calls the principal."""
        return self.email or "anonymous"

    def in_scope(self, access: str, root: str) -> bool:
        """Tell whether the credentials cover an access (``read`` or ``write``) to a root."""
        return access in self.scopes or f"{access}:{root}" in self.scopes


ANONYMOUS = Principal()
UNVERIFIED = Principal(unverified=True)


async def optional_principal(request: Request) -> Principal:
    """Return who asks; the anonymous principal when nobody is logged in.

    Raises
    ------
    NotAuthenticated
        For a bearer token that is not, or no longer, valid. A session that is over is simply nobody's.
    """
    known: Principal | None = request.scope.get(KNOWN)
    return known if known is not None else await present_principal(request)


async def present_principal(request: Request) -> Principal:
    """Return who asks, as of now: for answers that go on for longer than sessions, tokens and groups may last.

    Raises
    ------
    NotAuthenticated
        As `optional_principal`.
    """
    accounts: Accounts = request.app.state.context.accounts
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return await accounts.of_token(credentials.strip())
    session = request.cookies.get(COOKIE)
    return await accounts.of_session(session) if session else ANONYMOUS


async def required_principal(request: Request) -> Principal:
    """Return who asks. Raises NotAuthenticated when nobody is logged in."""
    return require_user(await optional_principal(request))


async def administrator(request: Request) -> Principal:
    """Return who asks. Raises NotAuthenticated or PermissionDenied unless it is an administrator."""
    principal = await required_principal(request)
    if not principal.is_superuser:
        raise PermissionDenied("Only administrators may do this")
    return principal


def require_user(principal: Principal, detail: str = "Unauthorized") -> Principal:
    """Return `principal` if somebody is logged in. Raises NotAuthenticated, or Unavailable where nobody can know."""
    if principal.unverified:
        raise Unavailable("Who you are cannot be checked now; try again in a few seconds", retry_after_s=5.0)
    if principal.is_anonymous:
        raise NotAuthenticated(detail)
    return principal


OptionalPrincipal = Annotated[Principal, Depends(optional_principal)]
RequiredPrincipal = Annotated[Principal, Depends(required_principal)]
Administrator = Annotated[Principal, Depends(administrator)]
