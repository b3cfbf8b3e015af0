"""Roots and subscriptions: ``/api/roots``, ``/api/subscribe``, ``/api/unsubscribe``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from caterva2.errors import NotAuthenticated, RootNotFound
from caterva2.paths import PERSONAL, PUBLIC, SHARED, SPECIAL_ROOTS, check_root

from ..auth.principal import Administrator, OptionalPrincipal
from ..context import ContextDep

router = APIRouter(tags=["roots"])


@router.get("/api/roots", summary="Roots that the reader may see")
async def roots(context: ContextDep, principal: OptionalPrincipal) -> dict[str, dict[str, Any]]:
    """Answer with name, address and state of each root; ``subscribed`` is null for roots that are not followed."""
    found: dict[str, dict[str, Any]] = {}
    for root in context.tracking.roots():
        if await context.rights.readable(principal, root.name):
            found[root.name] = {"subscribed": None, **root.model_dump(exclude_none=True)}
    for name in (PUBLIC, PERSONAL, SHARED):
        if (name != PERSONAL or not principal.is_anonymous) and await context.rights.readable(principal, name):
            found[name] = {"name": name, "http": "", "subscribed": True}
    return found


@router.post("/api/subscribe/{name}", summary="Follow a root")
async def subscribe(name: str, context: ContextDep, principal: OptionalPrincipal) -> str:
    """Begin to follow a root, whether its publisher can be reached or not. Repeating it changes nothing."""
    check_root(name)
    if not await context.rights.readable(principal, name):
        if name in SPECIAL_ROOTS:
            raise NotAuthenticated(f"Subscribing to {name} requires authentication")
        raise RootNotFound(f"{name} not known by the broker")
    if name not in SPECIAL_ROOTS:
        await context.tracking.subscribe(name)
    return "Ok"


@router.post("/api/unsubscribe/{name}", summary="Follow a root no longer")
async def unsubscribe(
    name: str,
    context: ContextDep,
    administrator: Administrator,
    free: Annotated[bool, Query(description="Also forget its cached chunks")] = True,
) -> str:
    """Stop to follow a root, and forget its cached chunks unless ``free=false``."""
    check_root(name)
    await context.tracking.unsubscribe(name)
    if free:
        await context.threads.run(context.store.free, name)
    return "Ok"
