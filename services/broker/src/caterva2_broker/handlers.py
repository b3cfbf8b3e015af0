"""The API of the broker."""

from __future__ import annotations

import ipaddress
from typing import Any

from fastapi import APIRouter, Depends, Request

from caterva2 import wire
from caterva2.errors import BadRequest, NotAuthenticated
from caterva2_service.outbound import leads_inward
from caterva2_service.settings import Address

from .context import ContextDep, OptionalService, Service, get_service, require_admin

MAX_DESCRIPTION = 4096

# Whatever a service asks first admits it: with an external NATS a subscriber asks for nothing but the roots.
router = APIRouter(prefix="/api", tags=["broker"], dependencies=[Depends(get_service)])


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
async def register(
    registration: wire.RootRegistration, request: Request, caller: OptionalService, context: ContextDep
) -> dict[str, Any]:
    """Give a root to its publisher for a while; another one gets 409."""
    address = _check(registration, local=context.admission.is_local(request))
    if caller is not None:
        context.admission.check_root(caller, registration.name)
        context.admission.check_announcement(caller, await request.body(), address)
    elif not context.admission.may_announce_unsigned(request):
        raise NotAuthenticated("only services that this broker has admitted may publish")
    if context.registry.register(registration, owner=caller.kid if caller else None):
        context.announcer.changed()
    if caller is not None:
        with context.accounts_followed():
            context.admission.give_root(caller, registration.name)
    answer = context.registry.root(registration.name).model_dump(mode="json", exclude_none=True)
    # The original echoes `subscribed` even when it is null, and its clients may look at it.
    return {"name": registration.name, "http": registration.http, "subscribed": registration.subscribed, **answer}


@router.delete("/roots/{name}", summary="Retire a root, as its publisher or as an administrator", status_code=204)
async def retire(name: str, request: Request, caller: OptionalService, context: ContextDep) -> None:
    """Take a root off the list; what subscribers hold of it stays readable there."""
    if caller is None:
        await require_admin(request, context)
    context.registry.retire(name, owner=caller.kid if caller else None)
    context.announcer.changed()


@router.get("/bus", summary="Where the bus is and how to log in there, for services")
async def bus(request: Request, caller: Service, context: ContextDep) -> wire.Bus:
    """Return where NATS is, and the account of the service that asks."""
    return context.bus_address(caller, request.url.hostname)


@router.get("/services", summary="The services that this broker has admitted, with their public keys")
async def services(context: ContextDep) -> list[wire.ServiceKey]:
    """Return the public keys by which services check each other's tokens."""
    return context.admission.keys()


@router.delete("/services/{kid}", summary="Revoke a service", status_code=204, dependencies=[Depends(require_admin)])
async def revoke(kid: str, context: ContextDep) -> None:
    """Forget a service: its tokens and its account on the bus are worth nothing any more."""
    with context.accounts_followed():
        context.admission.revoke(kid)


def _check(registration: wire.RootRegistration, *, local: bool) -> Address:
    try:
        address = Address.parse(registration.http)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    if not local:
        _check_reach(address)
    if registration.description and len(registration.description) > MAX_DESCRIPTION:
        raise BadRequest(f"a description holds at most {MAX_DESCRIPTION} characters")
    return address


def _check_reach(address: Address) -> None:
    """Refuse an address that would lead subscribers to their own machine (U11)."""
    if address.uds is not None:
        raise BadRequest("a publisher on another machine cannot be reached by a socket; set its --advertise HOST:PORT")
    try:
        inward = leads_inward(ipaddress.ip_address(address.host))
    except ValueError:
        inward = address.is_local
    if not inward:
        return
    raise BadRequest(f"{address} does not lead to another machine; set the publisher's --advertise HOST:PORT")
