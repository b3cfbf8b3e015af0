"""Logging in and out, making an account, forgotten passwords (reference API 2.3), and what users do with their own."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Form, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from caterva2.errors import Conflict, NotFound, Unavailable, WeakPassword

from ..auth.accounts import Accounts, check_email
from ..auth.caller import CallerDep
from ..auth.principal import COOKIE, OptionalPrincipal, Principal, RequiredPrincipal, require_user
from ..context import Context, ContextDep
from ..db import Account


async def accounts_of_site(context: ContextDep) -> Accounts:
    """Return the accounts. Raises NotFound where nobody can log in, as if there were no such route."""
    if not context.accounts.policy.login:
        raise NotFound
    return context.accounts


AccountsDep = Annotated[Accounts, Depends(accounts_of_site)]

router = APIRouter(tags=["accounts"])


BROWSER = "c2browser"
"""Name of the cookie by which failed logins of others do not delay those in a browser that has logged in before."""
BROWSER_S = 180 * 86400


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Registration(_Body):
    """A new account. Other fields that clients of the original send are ignored."""

    email: str = Field(max_length=320, examples=["ada@example.com"])
    password: str = Field(examples=["correct horse battery"])


class Mailbox(_Body):
    """An e-mail address."""

    email: str = Field(max_length=320, examples=["ada@example.com"])


class NewPassword(_Body):
    """What the page behind a reset link sends."""

    token: str = Field(examples=["the end of the link in the mail"])
    password: str = Field(examples=["correct horse battery"])


class PasswordChange(_Body):
    """A user's own password, old and new."""

    old_password: str = Field(examples=["correct horse battery"])
    new_password: str = Field(examples=["staple of another horse"])


class User(BaseModel):
    """An account as the API shows it."""

    id: UUID
    email: str
    is_active: bool
    is_superuser: bool
    is_verified: bool


class Me(BaseModel):
    """Who the service thinks is asking."""

    email: str | None
    is_superuser: bool
    groups: list[str]
    scopes: list[str]
    login: bool
    """Whether this site knows users at all."""
    register_: bool = Field(serialization_alias="register")
    """Whether visitors may make accounts."""
    min_password: int
    """Characters that a new password must have."""
    oidc: bool
    """Whether people can sign in by an OpenID provider, at ``/auth/oidc/login?next=PATH``."""
    oidc_name: str | None
    """How the site calls that provider: "Sign in with NAME"."""
    jupyterlite: str | None = None
    """Address of the site's JupyterLite, which opens a notebook by ``?fromURL=``."""
    used_bytes: int | None = None
    """Bytes that the caller's ``@personal`` takes; null for nobody, and while the database is away."""
    quota_bytes: int | None = None
    """Bytes that it may take; null for no limit of its own."""
    site_used_bytes: int | None = None
    site_quota_bytes: int | None = None
    """The same for all users' files of the site."""


class NewToken(_Body):
    """What a token shall be good for."""

    name: str = Field(min_length=1, max_length=100, examples=["nightly upload"])
    scopes: list[str] = Field(default=["read"], min_length=1, max_length=32, examples=[["read", "write:@shared"]])
    days: int = Field(default=90, ge=1, le=366)


class Token(BaseModel):
    """A token for scripts. Times are seconds since the Unix epoch."""

    id: UUID
    name: str
    scopes: list[str]
    created_at: float
    expires_at: float
    used_at: float | None


class CreatedToken(BaseModel):
    """A token that was just made. It is shown this once."""

    id: UUID
    token: str


def shown(account: Account) -> User:
    """Return what the API shows of an account."""
    return User(
        id=account.id,
        email=account.email,
        is_active=account.is_active,
        is_superuser=account.is_superuser,
        is_verified=account.is_verified,
    )


def set_session_cookie(response: Response, session: str, *, secure: bool) -> None:
    """Let the browser keep a session until it is closed."""
    response.set_cookie(COOKIE, session, path="/", httponly=True, secure=secure, samesite="lax")
    response.headers["cache-control"] = "no-store"


@router.post("/auth/jwt/login", status_code=204)
async def login(
    request: Request,
    accounts: AccountsDep,
    caller: CallerDep,
    username: Annotated[str, Form(max_length=320, examples=["ada@example.com"])],
    password: Annotated[str, Form(max_length=1000, examples=["correct horse battery"])],
) -> Response:
    """Log in; the session comes as a cookie."""
    session = await accounts.login(username, password, caller, browser=request.cookies.get(BROWSER))
    response = Response(status_code=204)
    set_session_cookie(response, session, secure=accounts.policy.secure_cookie)
    if "sec-fetch-site" in request.headers:  # programs for the original know of one cookie only
        response.set_cookie(
            BROWSER,
            accounts.limits.browser_of(username),
            max_age=BROWSER_S,
            path="/",
            httponly=True,
            secure=accounts.policy.secure_cookie,
            samesite="strict",
        )
    return response


@router.post("/auth/jwt/logout", status_code=204)
async def logout(request: Request, accounts: AccountsDep, principal: RequiredPrincipal, caller: CallerDep) -> Response:
    """End the session of the cookie."""
    session = request.cookies.get(COOKIE)
    if session:
        await accounts.logout(session, principal, caller)
    return without_cookie(accounts)


@router.post("/auth/logout-everywhere", status_code=204)
async def logout_everywhere(accounts: AccountsDep, principal: RequiredPrincipal, caller: CallerDep) -> Response:
    """End all sessions of the user."""
    await accounts.logout_everywhere(principal, caller)
    return without_cookie(accounts)


def without_cookie(accounts: Accounts) -> Response:
    """Answer that the session of this browser is over."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path="/", httponly=True, secure=accounts.policy.secure_cookie, samesite="lax")
    return response


@router.post("/auth/register", status_code=201)
async def register(accounts: AccountsDep, caller: CallerDep, body: Registration) -> User:
    """Make an account, where the site lets visitors do so.

    For an address that has an account the answer is the same, and its owner gets a mail.
    """
    if not accounts.policy.register:
        raise NotFound
    email = _checked(body.email)
    try:
        return shown(await accounts.register(email, body.password, caller))
    except Conflict as error:
        raise HTTPException(400, error.detail) from None
    except WeakPassword as error:
        raise HTTPException(400, {"code": "REGISTER_INVALID_PASSWORD", "reason": error.detail}) from None


def _checked(email: str) -> str:
    try:
        return check_email(email)
    except ValueError as error:
        problem = {"type": "value_error", "loc": ["body", "email"], "msg": str(error), "input": email}
        raise HTTPException(422, [problem]) from None


@router.post("/auth/forgot-password", status_code=202)
async def forgot_password(accounts: AccountsDep, caller: CallerDep, body: Mailbox) -> None:
    """Have a link for a new password sent by mail."""
    await accounts.forgot_password(_checked(body.email), caller)


@router.post("/auth/reset-password")
async def reset_password(accounts: AccountsDep, caller: CallerDep, body: NewPassword) -> None:
    """Choose a new password with the token of such a mail."""
    try:
        await accounts.reset_password(body.token, body.password, caller)
    except WeakPassword as error:
        raise HTTPException(400, {"code": "RESET_PASSWORD_INVALID_PASSWORD", "reason": error.detail}) from None


@router.post("/auth/change-password", status_code=204)
async def change_password(
    accounts: AccountsDep, principal: RequiredPrincipal, caller: CallerDep, body: PasswordChange
) -> Response:
    """Change the user's own password; all sessions end."""
    await accounts.change_password(principal, body.old_password, body.new_password, caller)
    return without_cookie(accounts)


@router.get("/api/me")
async def me(context: ContextDep, principal: OptionalPrincipal) -> Me:
    """Who is asking."""
    if principal.unverified:
        require_user(principal)
    policy = context.accounts.policy
    return Me(
        **await _usage(context, principal),
        min_password=context.settings.auth.passwords.min_length,
        oidc=context.oidc is not None,
        oidc_name=context.oidc.name if context.oidc is not None else None,
        jupyterlite=context.settings.jupyterlite,
        email=principal.email,
        is_superuser=principal.is_superuser,
        groups=sorted(principal.groups),
        scopes=sorted(principal.scopes) if not principal.is_anonymous else [],
        login=policy.login,
        register_=policy.register,
    )


async def _usage(context: Context, principal: Principal) -> dict[str, int | None]:
    if principal.is_anonymous:
        return {}
    try:
        site, user = await context.spaces.usage(principal)
    except Unavailable:
        return {}
    return {
        "used_bytes": user.used_bytes,
        "quota_bytes": user.limit_bytes,
        "site_used_bytes": site.used_bytes,
        "site_quota_bytes": site.limit_bytes,
    }


@router.get("/api/tokens")
async def list_tokens(accounts: AccountsDep, principal: RequiredPrincipal) -> list[Token]:
    """The user's API tokens."""
    return [
        Token(
            id=token.id,
            name=token.name,
            scopes=list(token.scopes),
            created_at=token.created_at,
            expires_at=token.expires_at,
            used_at=token.used_at,
        )
        for token in await accounts.tokens(principal)
    ]


@router.post("/api/tokens", status_code=201)
async def create_token(
    accounts: AccountsDep, principal: RequiredPrincipal, caller: CallerDep, body: NewToken, response: Response
) -> CreatedToken:
    """Make an API token, for ``Authorization: Bearer``."""
    response.headers["cache-control"] = "no-store"
    token_id, token = await accounts.add_token(principal, body.name, body.scopes, body.days, caller)
    return CreatedToken(id=token_id, token=token)


@router.delete("/api/tokens/{token_id}", status_code=204)
async def revoke_token(
    accounts: AccountsDep, principal: RequiredPrincipal, caller: CallerDep, token_id: UUID
) -> Response:
    """Revoke an API token."""
    await accounts.revoke_token(principal, token_id, caller)
    return Response(status_code=204)
