"""Roots and subscriptions: ``/api/roots``, ``/api/subscribe``."""

from __future__ import annotations

from fastapi import APIRouter

from caterva2.paths import PERSONAL, PUBLIC, SHARED

from ..auth.principal import OptionalPrincipal
from ..context import ContextDep

router = APIRouter(tags=["roots"])


@router.get("/api/roots")
async def get_roots(context: ContextDep, principal: OptionalPrincipal) -> dict[str, dict[str, object]]:
    """List the roots that the reader may see, with their state."""
    found: dict[str, dict[str, object]] = {}
    for root in (PUBLIC, PERSONAL, SHARED):
        if await context.rights.readable(principal, root):
            found[root] = {"name": root, "http": "", "subscribed": True}
    return found
