"""Signing in by the site's OpenID provider (A9). Browsers are sent there and come back with a code."""

from __future__ import annotations

from html import escape
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, Field

from caterva2.errors import Caterva2Error, NotFound, PermissionDenied
from caterva2_service.errors import answer

from ..auth.caller import CallerDep
from ..auth.oidc.flow import LIFETIME_S
from ..auth.oidc.signin import Begun, OidcSignIn
from ..auth.principal import WRITE, OptionalPrincipal, RequiredPrincipal
from ..context import Context, ContextDep
from .auth import AccountsDep, set_session_cookie, without_cookie

router = APIRouter(tags=["accounts"])

_FAILED = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Signing in did not work</title>
<h1>Signing in did not work</h1>
<p>{reason}</p>
<p><a href="{login}">Back to the sign-in page</a></p>
</html>
"""


class LinkBegun(BaseModel):
    """Where the browser has to go to prove the identity that shall be linked."""

    url: str


class LinkWanted(BaseModel):
    """Where to go afterwards: a path of this site."""

    next: str = Field(default="account", max_length=2000)


class IdentityShown(BaseModel):
    """An identity at an OpenID provider by which the user signs in."""

    id: str
    issuer: str
    subject: str
    """How the provider calls the user."""
    current: bool
    """Whether it is one of the provider by which people sign in here now."""


async def sign_in_of_site(context: ContextDep) -> OidcSignIn:
    """Return what signs people in. Raises NotFound where there is no provider."""
    if context.oidc is None:
        raise NotFound
    return context.oidc


SignInDep = Annotated[OidcSignIn, Depends(sign_in_of_site)]


@router.get("/auth/oidc/login", status_code=303, response_class=RedirectResponse)
async def begin(
    context: ContextDep,
    sign_in: SignInDep,
    request: Request,
    next_path: Annotated[str, Query(alias="next", max_length=2000)] = "",
) -> Response:
    """Send a browser to the OpenID provider."""
    try:
        begun = await sign_in.begin(next_path.removeprefix(context.bundle.prefix))
    except Caterva2Error as error:
        return _failed(context, request, error)
    response = RedirectResponse(begun.url, status_code=303)
    _bind(context, response, begun)
    return response


@router.post("/auth/oidc/link")
async def link(
    context: ContextDep,
    sign_in: SignInDep,
    principal: RequiredPrincipal,
    request: Request,
    body: LinkWanted,
    response: Response,
) -> LinkBegun:
    """Begin to link an identity at the provider to the account of whoever is logged in."""
    if request.headers.get("authorization"):
        raise PermissionDenied("An identity is linked in a browser; an API token cannot do that")
    begun = await sign_in.begin(body.next.removeprefix(context.bundle.prefix), principal=principal)
    _bind(context, response, begun)
    return LinkBegun(url=begun.url)


@router.get("/api/identities")
async def list_identities(
    context: ContextDep, accounts: AccountsDep, principal: RequiredPrincipal
) -> list[IdentityShown]:
    """Identities at an OpenID provider that are linked to the user's account."""
    assert principal.user_id is not None
    issuer = context.oidc.issuer if context.oidc is not None else None
    return [
        IdentityShown(id=found.id, issuer=found.issuer, subject=found.subject, current=found.issuer == issuer)
        for found in await accounts.identities.list(principal.user_id)
    ]


@router.delete("/api/identities/{identity_id}", status_code=204)
async def unlink(
    context: ContextDep, accounts: AccountsDep, principal: RequiredPrincipal, caller: CallerDep, identity_id: str
) -> Response:
    """Unlink an identity from the user's account; all sessions end. Refused (409) if it is the only way in."""
    if WRITE not in principal.scopes:
        raise PermissionDenied("This token may not change the account")
    issuer = context.oidc.issuer if context.oidc is not None else None
    await accounts.unlink(principal, identity_id, caller, issuer=issuer)
    return without_cookie(accounts)


@router.get("/auth/oidc/callback", status_code=303, response_class=RedirectResponse)
async def callback(
    context: ContextDep, sign_in: SignInDep, principal: OptionalPrincipal, caller: CallerDep, request: Request
) -> Response:
    """Begin a session for whoever comes back from the provider with a good answer; any other is 400."""
    try:
        done = await sign_in.finish(request.cookies.get(_cookie(context)), request.query_params, principal, caller)
    except Caterva2Error as error:
        response = _failed(context, request, error)
    else:
        response = RedirectResponse(f"{context.bundle.prefix}/{done.next}", status_code=303)
        set_session_cookie(response, done.session, secure=context.accounts.policy.secure_cookie)
    response.delete_cookie(_cookie(context), path="/", httponly=True, secure=_secure(context), samesite="lax")
    return response


def _bind(context: Context, response: Response, begun: Begun) -> None:
    # Lax: the way back from the provider is a navigation from another site.
    name, secure = _cookie(context), _secure(context)
    response.set_cookie(name, begun.cookie, max_age=LIFETIME_S, path="/", httponly=True, secure=secure, samesite="lax")


def _cookie(context: Context) -> str:
    # Behind TLS no other host of the domain can plant this cookie.
    return "__Host-c2oidc" if _secure(context) else "c2oidc"


def _secure(context: Context) -> bool:
    return context.accounts.policy.secure_cookie


def _failed(context: Context, request: Request, error: Caterva2Error) -> Response:
    """Say in a browser what was wrong; programs get the answer that they get everywhere."""
    if "text/html" not in request.headers.get("accept", ""):
        return answer(error)
    page = _FAILED.format(reason=escape(error.detail), login=escape(f"{context.bundle.prefix}/login"))
    return HTMLResponse(page, error.status)
