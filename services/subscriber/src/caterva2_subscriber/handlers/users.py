"""Administration of users and groups, and the audit trail (reference API 2.9)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from caterva2.errors import Caterva2Error, PermissionDenied, UserNotFound

from ..auth.caller import CallerDep
from ..auth.origin import refuse_navigation
from ..auth.principal import Administrator, Principal, RequiredPrincipal
from ..context import ContextDep
from ..db import Account, Usage
from ..settings import Size
from .auth import AccountsDep, User, shown

router = APIRouter(tags=["users"])

GROUP_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"


class NewUser(BaseModel):
    """A user that an administrator adds."""

    model_config = ConfigDict(extra="forbid")

    username: str = Field(max_length=320, examples=["ada@example.com"])
    password: str | None = None
    superuser: bool = False


class UserChange(BaseModel):
    """What to change of a user; what is absent stays."""

    model_config = ConfigDict(extra="forbid")

    is_active: bool | None = None
    is_superuser: bool | None = None
    quota: Size | None = None
    """Bytes that the user's ``@personal`` may take, or text such as ``10G``; null for no limit of its own."""


class UserUsage(User):
    """An account, and what it takes."""

    used_bytes: int
    """Bytes that the user's ``@personal`` takes."""
    quota_bytes: int | None
    """Bytes that it may take; null for no limit of its own."""


class GroupBody(BaseModel):
    """A group to add."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=GROUP_NAME, examples=["xray"])
    description: str = Field(default="", max_length=500)


class GroupShown(BaseModel):
    """A group and the addresses of its members."""

    name: str
    description: str
    members: list[str]


class AuditShown(BaseModel):
    """One entry of the audit trail. `at` is in seconds since the Unix epoch."""

    id: int
    at: float
    action: str
    actor: str
    target: str
    result: str
    address: str
    request_id: str
    detail: str


def _require_superuser(principal: Principal, action: str) -> None:
    if not principal.is_superuser:
        # The original answers 401 here, and its clients know the sentence.
        raise HTTPException(401, f"Only superusers can {action} users")


# --- as clients of the original know it ---------------------------------------------------------------------
@router.post("/api/adduser/")
async def add_user(accounts: AccountsDep, principal: RequiredPrincipal, caller: CallerDep, body: NewUser) -> str:
    """Add a user (administrators)."""
    _require_superuser(principal, "add")
    try:
        _, generated = await accounts.add_user(
            body.username, body.password, superuser=body.superuser, actor=principal.name, caller=caller
        )
    except Caterva2Error as error:
        if error.status >= 500:
            raise
        known = error.detail.startswith("Only a maximum")
        raise HTTPException(
            400, error.detail if known else f"Error in adding {body.username}: {error.detail}"
        ) from None
    password = generated if generated is not None else body.password
    return f"User added: username={body.username!r} password={password!r} superuser={body.superuser}"


@router.get("/api/deluser/{username}")
async def delete_user(
    request: Request,
    context: ContextDep,
    accounts: AccountsDep,
    principal: RequiredPrincipal,
    caller: CallerDep,
    username: str,
) -> str:
    """Remove a user and the user's files (administrators)."""
    # Clients of the original remove users by GET; a browser that was led to this address must not.
    refuse_navigation(request)
    _require_superuser(principal, "delete")
    try:
        await _remove_user(context, principal, caller, username)
    except UserNotFound:
        raise HTTPException(400, f"Error in deleting {username}: UserNotExists") from None
    return f"User deleted: {username}"


async def _remove_user(context: ContextDep, principal: Principal, caller: CallerDep, username: str) -> None:
    account = await context.accounts.remove_user(username, actor=principal.name, caller=caller)
    await context.spaces.remove_personal(account.id)


@router.get("/api/listusers/")
async def list_users(
    context: ContextDep, accounts: AccountsDep, principal: RequiredPrincipal, username: str | None = None
) -> list[UserUsage]:
    """Users and what their files take; all of them for administrators, oneself for others."""
    users = await accounts.users.list()
    usage = await context.spaces.usage_of_users()
    return [
        _with_usage(user, usage.get(str(user.id)))
        for user in users
        if (principal.is_superuser or user.id == principal.user_id)
        and (username is None or user.email == username.strip().lower())
    ]


def _with_usage(account: Account, usage: Usage | None) -> UserUsage:
    used = usage or Usage(0, None)
    return UserUsage(**dict(shown(account)), used_bytes=used.used_bytes, quota_bytes=used.limit_bytes)


# --- users ---------------------------------------------------------------------
@router.patch("/api/users/{username}")
async def change_user(
    context: ContextDep,
    accounts: AccountsDep,
    principal: Administrator,
    caller: CallerDep,
    username: str,
    body: UserChange,
) -> UserUsage:
    """Enable, disable, promote or demote a user, or set the user's quota (administrators)."""
    account = await accounts.find_user(username)
    if body.is_active is not None or body.is_superuser is not None:
        if account.id == principal.user_id:
            raise PermissionDenied("Administrators cannot disable or demote themselves")
        account = await accounts.change_user(
            username, active=body.is_active, superuser=body.is_superuser, actor=principal.name, caller=caller
        )
    if "quota" in body.model_fields_set:
        await context.spaces.set_user_quota(account.id, body.quota)
        detail = f"quota={body.quota}"
        await accounts.audit.record("change user", principal.name, caller, target=account.email, detail=detail)
    return _with_usage(account, (await context.spaces.usage_of_users()).get(str(account.id)))


@router.delete("/api/users/{username}", status_code=204)
async def remove_user(
    context: ContextDep, accounts: AccountsDep, principal: Administrator, caller: CallerDep, username: str
) -> Response:
    """Remove a user and the user's files (administrators)."""
    await _remove_user(context, principal, caller, username)
    return Response(status_code=204)


# --- groups ---------------------------------------------------------------------
@router.get("/api/groups")
async def list_groups(accounts: AccountsDep, principal: RequiredPrincipal) -> list[GroupShown]:
    """Groups; all of them for administrators, their own for others."""
    return [
        GroupShown(
            name=group.name,
            description=group.description,
            members=list(group.members) if principal.is_superuser else [],
        )
        for group in await accounts.groups.list()
        if principal.is_superuser or group.name in principal.groups
    ]


@router.post("/api/groups", status_code=201)
async def add_group(accounts: AccountsDep, principal: Administrator, caller: CallerDep, body: GroupBody) -> GroupShown:
    """Add a group (administrators)."""
    group = await accounts.groups.add(body.name, body.description)
    await accounts.audit.record("add group", principal.name, caller, target=group.name)
    return GroupShown(name=group.name, description=group.description, members=[])


@router.delete("/api/groups/{name}", status_code=204)
async def remove_group(
    context: ContextDep, accounts: AccountsDep, principal: Administrator, caller: CallerDep, name: str
) -> Response:
    """Remove a group (administrators)."""
    await accounts.groups.remove(name)
    accounts.groups_changed()
    context.rights.forget()
    await accounts.audit.record("remove group", principal.name, caller, target=name)
    return Response(status_code=204)


@router.put("/api/groups/{name}/members/{username}", status_code=204)
async def add_member(
    accounts: AccountsDep, principal: Administrator, caller: CallerDep, name: str, username: str
) -> Response:
    """Put a user into a group."""
    account = await accounts.find_user(username)
    await accounts.groups.add_member(name, account.id)
    accounts.groups_changed()
    await accounts.audit.record("add to group", principal.name, caller, target=account.email, detail=name)
    return Response(status_code=204)


@router.delete("/api/groups/{name}/members/{username}", status_code=204)
async def remove_member(
    accounts: AccountsDep, principal: Administrator, caller: CallerDep, name: str, username: str
) -> Response:
    """Take a user out of a group."""
    account = await accounts.find_user(username)
    await accounts.groups.remove_member(name, account.id)
    accounts.groups_changed()
    await accounts.audit.record("remove from group", principal.name, caller, target=account.email, detail=name)
    return Response(status_code=204)


# --- audit ---------------------------------------------------------------------
@router.get("/api/audit")
async def read_audit(
    accounts: AccountsDep,
    principal: Administrator,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(description="`id` of the last entry already seen")] = None,
    action: Annotated[str | None, Query(description="Only what was done in this way")] = None,
    actor: Annotated[str | None, Query(description="Only what this user did")] = None,
) -> list[AuditShown]:
    """Who did what, the newest first (administrators)."""
    entries = await accounts.audit.read(limit=limit, before=before, action=action, actor=actor)
    return [AuditShown.model_validate(entry, from_attributes=True) for entry in entries]
