"""The person or token on whose behalf a request is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from caterva2.errors import NotAuthenticated


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who reads or writes; `user_id` is None for the anonymous public."""

    user_id: UUID | None = None
    email: str | None = None
    groups: frozenset[str] = field(default_factory=frozenset)
    is_superuser: bool = False
    scopes: frozenset[str] = field(default_factory=frozenset)

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody is logged in."""
        return self.user_id is None


ANONYMOUS = Principal()


async def optional_principal(request: Request) -> Principal:
    """Return who asks; the anonymous principal when nobody is logged in."""
    return ANONYMOUS


async def required_principal(request: Request) -> Principal:
    """Return who asks. Raises NotAuthenticated when nobody is logged in."""
    principal = await optional_principal(request)
    if principal.is_anonymous:
        raise NotAuthenticated
    return principal


OptionalPrincipal = Annotated[Principal, Depends(optional_principal)]
RequiredPrincipal = Annotated[Principal, Depends(required_principal)]
