"""The API of the broker."""

from __future__ import annotations

import hmac
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request

from caterva2 import wire
from caterva2.errors import BadRequest, NotAuthenticated
from caterva2_service.settings import Address

from .context import ContextDep

MAX_DESCRIPTION = 4096

router = APIRouter(prefix="/api", tags=["broker"])


@router.get("/roots", summary="The roots, whether their publishers are alive, and where they answer")
async def roots(context: ContextDep) -> dict[str, dict[str, Any]]:
    """Return the roots in the order of their first registration; absent values are left out."""
    found = context.registry.roots()
    return {name: root.model_dump(mode="json", exclude_none=True) for name, root in found.items()}


@router.get("/roots/{name}", summary="One root")
async def root(name: str, context: ContextDep) -> dict[str, Any]:
    """Return one root."""
    return context.registry.root(name).model_dump(mode="json", exclude_none=True)


@router.post("/roots", summary="Register a root, or renew its lease")
async def register(registration: wire.RootRegistration, context: ContextDep) -> dict[str, Any]:
    """Give a root to its publisher for a while; another one gets 409."""
    _check(registration)
    if context.registry.register(registration):
        context.announcer.changed()
    answer = context.registry.root(registration.name).model_dump(mode="json", exclude_none=True)
    # The original echoes `subscribed` even when it is null, and its clients may look at it.
    return {"name": registration.name, "http": registration.http, "subscribed": registration.subscribed, **answer}


@router.delete("/roots/{name}", summary="Retire a root, as its publisher or as an administrator", status_code=204)
async def retire(
    name: str,
    context: ContextDep,
    publisher: Annotated[str | None, Query(description="Identity of the publisher that gives its root up")] = None,
    authorization: Annotated[str, Header(description="Bearer token of an administrator")] = "",
) -> None:
    """Take a root off the list; what subscribers hold of it stays readable there."""
    is_admin = hmac.compare_digest(authorization.encode(), f"Bearer {context.admin_token}".encode())
    if not is_admin and publisher is None:
        raise NotAuthenticated
    context.registry.retire(name, publisher=None if is_admin else publisher)
    context.announcer.changed()


@router.get("/bus", summary="Where the bus is, for services")
async def bus(request: Request, context: ContextDep) -> wire.Bus:
    """Return where NATS is and how to log in there."""
    return context.bus_address(request.url.hostname)


def _check(registration: wire.RootRegistration) -> None:
    try:
        Address.parse(registration.http)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    if registration.description and len(registration.description) > MAX_DESCRIPTION:
        raise BadRequest(f"a description holds at most {MAX_DESCRIPTION} characters")
