"""Roots and subscriptions: ``/api/roots``, ``/api/subscriptions``, ``/api/subscribe``, ``/api/unsubscribe``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from caterva2.errors import NotAuthenticated, RootNotFound
from caterva2.paths import PERSONAL, PUBLIC, SHARED, SPECIAL_ROOTS, check_root

from ..auth.caller import CallerDep
from ..auth.principal import OptionalPrincipal, RequiredPrincipal
from ..context import ContextDep
from ..subscriptions import Who

router = APIRouter(tags=["roots"])

WhoQuery = Annotated[Who, Query(description="Whose subscription: the user's own, the site's, or everybody's")]


class SubscriptionShown(BaseModel):
    """Who is subscribed to one root."""

    root: str
    followed: bool
    """Whether the site follows the root."""
    site: bool
    """Whether the site itself is subscribed."""
    mine: bool
    """Whether the user who asks is subscribed."""
    users: int | None
    """How many users are subscribed; null for all but administrators."""


@router.get("/api/roots", summary="Roots that the reader may see")
async def roots(context: ContextDep, principal: OptionalPrincipal) -> dict[str, dict[str, Any]]:
    """Answer with name, address and state of each root.

    ``subscribed`` is null for roots that the site does not follow, ``mine`` tells users whether they
    are subscribed.
    """
    found: dict[str, dict[str, Any]] = {}
    mine = context.subscriptions.of(principal)
    for root in context.tracking.roots():
        if await context.rights.readable(principal, root.name):
            found[root.name] = {"subscribed": None, **root.model_dump(exclude_none=True)}
            if not principal.is_anonymous:
                found[root.name]["mine"] = root.name in mine
    for name in (PUBLIC, PERSONAL, SHARED):
        if (name != PERSONAL or not principal.is_anonymous) and await context.rights.readable(principal, name):
            found[name] = {"name": name, "http": "", "subscribed": True}
    return found


@router.get("/api/subscriptions", summary="Who is subscribed to which root")
async def subscriptions(context: ContextDep, principal: OptionalPrincipal) -> list[SubscriptionShown]:
    """Answer with the roots that the site follows, or somebody is subscribed to, as far as the reader may see them."""
    return [
        SubscriptionShown(
            root=each.root,
            followed=each.followed,
            site=each.site,
            mine=each.mine,
            users=each.users if principal.is_superuser else None,
        )
        for each in await context.subscriptions.describe(principal)
        if await context.rights.readable(principal, each.root)
    ]


@router.post("/api/subscribe/{name}", summary="Subscribe to a root")
async def subscribe(
    name: str, context: ContextDep, principal: OptionalPrincipal, caller: CallerDep, who: WhoQuery = Who.ME
) -> str:
    """Begin to follow a root, whether its publisher can be reached or not. Repeating it changes nothing.

    The subscription is the user's own; the site's with ``who=site`` (administrators), or if nobody is logged in.
    """
    check_root(name)
    if not await context.rights.readable(principal, name):
        if name in SPECIAL_ROOTS:
            raise NotAuthenticated(f"Subscribing to {name} requires authentication")
        raise RootNotFound(f"{name} not known by the broker")
    if name not in SPECIAL_ROOTS:
        await context.subscriptions.subscribe(principal, name, who)
        if who is not Who.ME:
            await context.accounts.audit.record("subscribe", principal.name, caller, target=name, detail=who)
    return "Ok"


@router.post("/api/unsubscribe/{name}", summary="Give up a subscription")
async def unsubscribe(
    name: str,
    context: ContextDep,
    principal: RequiredPrincipal,
    caller: CallerDep,
    who: WhoQuery = Who.ME,
    free: Annotated[bool, Query(description="Also forget the cached chunks if nobody follows the root now")] = True,
) -> str:
    """Remove the user's subscription; administrators may remove that of the site, or everybody's (``who``).

    The site follows a root while anybody is subscribed to it.
    """
    check_root(name)
    if not await context.rights.readable(principal, name):
        raise RootNotFound(f"{name} not known by the broker")
    await context.subscriptions.unsubscribe(principal, name, who, free=free)
    if who is not Who.ME:
        await context.accounts.audit.record("unsubscribe", principal.name, caller, target=name, detail=who)
    return "Ok"
