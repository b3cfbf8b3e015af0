"""Who is answered (requirement A12)."""

from __future__ import annotations

from fastapi import Request

from caterva2_service.trust import Role, audience_of, bearer

from ..context import ContextDep


async def refuse_strangers(request: Request, context: ContextDep) -> None:
    """Refuse whoever is not a subscriber that the broker has admitted, unless the publisher is open to all.

    Raises
    ------
    NotAuthenticated
    Unavailable
        If the caller is not known yet and the broker cannot be asked.
    """
    if not context.settings.open_access:
        token = bearer(request.headers.get("authorization"))
        await context.keyring.verify(token, audience=audience_of(context.settings.address), role=Role.SUBSCRIBER)
