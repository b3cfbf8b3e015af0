"""Who may read and write which root."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from caterva2.errors import RootNotFound
from caterva2.paths import PUBLIC, SHARED, SPECIAL_ROOTS, check_root

from ..auth.caller import CallerDep
from ..auth.principal import READ, WRITE, Administrator, OptionalPrincipal
from ..context import ContextDep
from ..rights import RootRights

router = APIRouter(tags=["rights"])


class RightsShown(BaseModel):
    """Who may read and write a root: ``public``, ``users``, ``nobody``, ``group:NAME``, ``user:EMAIL``."""

    root: str
    read: list[str]
    write: list[str]
    read_is_default: bool
    write_is_default: bool


class RightsChange(BaseModel):
    """New grantees of a root. An access that is absent stays; null brings back its default."""

    model_config = ConfigDict(extra="forbid")

    read: list[str] | None = Field(default=None, max_length=1000, examples=[["group:xray", "user:ada@example.com"]])
    write: list[str] | None = Field(default=None, max_length=1000)


class Permissions(BaseModel):
    """What the caller may do with a root."""

    root: str
    read: bool
    write: bool


def _shown(rights: RootRights) -> RightsShown:
    return RightsShown.model_validate(rights, from_attributes=True)


@router.get("/api/rights")
async def list_rights(context: ContextDep, principal: Administrator) -> list[RightsShown]:
    """Rights of all roots (administrators)."""
    roots = {PUBLIC, SHARED, *context.published_roots(), *await context.rights.named()}
    return [_shown(await context.rights.describe(root)) for root in sorted(roots)]


@router.get("/api/rights/{root}")
async def get_rights(context: ContextDep, principal: Administrator, root: str) -> RightsShown:
    """Rights of one root (administrators)."""
    return _shown(await context.rights.describe(_known(root)))


@router.put("/api/rights/{root}")
async def set_rights(
    context: ContextDep, principal: Administrator, caller: CallerDep, root: str, body: RightsChange
) -> RightsShown:
    """Change who may read or write a root (administrators)."""
    _known(root)
    for access in (READ, WRITE):
        if access not in body.model_fields_set:
            continue
        grantees = body.read if access == READ else body.write
        await context.rights.set(root, access, grantees)
        detail = f"{access}: {'default' if grantees is None else ' '.join(sorted(grantees))}"
        await context.accounts.audit.record("set rights", principal.name, caller, target=root, detail=detail)
    return _shown(await context.rights.describe(root))


@router.get("/api/permissions/{root}")
async def permissions(context: ContextDep, principal: OptionalPrincipal, root: str) -> Permissions:
    """What the caller may do with a root."""
    check_root(root)
    return Permissions(
        root=root,
        read=await context.rights.readable(principal, root),
        write=await context.rights.writable(principal, root),
    )


def _known(root: str) -> str:
    # Rights may be set before a root is published for the first time.
    if root in SPECIAL_ROOTS and root not in (PUBLIC, SHARED):
        raise RootNotFound(f"{root} belongs to its owner")
    return check_root(root)
