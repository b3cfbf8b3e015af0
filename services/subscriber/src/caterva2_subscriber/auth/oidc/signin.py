"""Whom an identity at the provider belongs to, and the session that begins with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from caterva2.errors import AlreadyExists, BadRequest, Conflict

from ...db import Account, UsedFlows
from ..accounts import Accounts, check_email
from ..caller import Caller
from ..principal import Principal
from ..secret import Secret
from ..settings import OidcSettings
from .flow import LIFETIME_S, OVER, Flow
from .provider import Claims, Provider

MAX_GROUPS = 200
_GROUP = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")


@dataclass(frozen=True, slots=True)
class Begun:
    """Where a browser is sent to, and the cookie that it brings back."""

    url: str
    cookie: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session that has begun, and where its person goes."""

    session: str
    next: str


class OidcSignIn:
    """Signs people in by the site's OpenID provider."""

    def __init__(
        self, settings: OidcSettings, provider: Provider, accounts: Accounts, used: UsedFlows, secret: Secret
    ) -> None:
        self.name = settings.name
        self.issuer = settings.issuer
        self._settings = settings
        self._provider = provider
        self._accounts = accounts
        self._used = used
        self._secret = secret

    async def begin(self, next_path: str = "", *, principal: Principal | None = None) -> Begun:
        """Begin an attempt; with `principal` the identity will be linked to that account.

        Raises
        ------
        BadRequest, Unavailable
        """
        flow = Flow.begin(next_path, principal.user_id if principal is not None else None)
        state, nonce, verifier = (flow.derived(self._secret, name) for name in ("state", "nonce", "verifier"))
        url = await self._provider.sign_in_url(state=state, nonce=nonce, verifier=verifier)
        return Begun(url, flow.cookie(self._secret))

    async def finish(
        self, cookie: str | None, answer: Mapping[str, str], principal: Principal, caller: Caller
    ) -> SignedIn:
        """Begin the session of whoever comes back from the provider.

        Parameters
        ----------
        answer
            Parameters of the provider's redirect.
        principal
            Who is logged in in this browser: must be who asked for a link, where the attempt is one.

        Raises
        ------
        BadRequest
            If the answer is not the one to this browser's attempt, or the person may not sign in here.
        TooManyRequests, Unavailable
        """
        async with self._accounts.limits.attempt(None, caller) as outcome:
            try:
                account, flow = await self._answered(cookie, answer, principal, caller)
            except BadRequest as error:
                await self._accounts.audit.record("login", "openid", caller, result="failed", detail=error.detail)
                raise
            outcome.succeeded = True
        if self._settings.groups_claim:
            self._accounts.groups_changed()
        return SignedIn(await self._accounts.begin_session(account, caller), flow.next)

    async def _answered(
        self, cookie: str | None, answer: Mapping[str, str], principal: Principal, caller: Caller
    ) -> tuple[Account, Flow]:
        flow = Flow.of_cookie(self._secret, cookie)
        flow.check_state(self._secret, answer.get("state", ""))
        if flow.user_id not in (None, principal.user_id):
            raise BadRequest(OVER)
        await self._provider.check_sender(answer.get("iss"))
        if not await self._used.use(self._secret.digest("oidc used", flow.value), lifetime_s=LIFETIME_S):
            raise BadRequest(OVER)
        if "code" not in answer:
            raise BadRequest("The identity provider did not sign you in")
        nonce, verifier = flow.derived(self._secret, "nonce"), flow.derived(self._secret, "verifier")
        claims = await self._provider.claims(answer["code"], nonce=nonce, verifier=verifier)
        account = await self._account(claims, flow.user_id, caller)
        if not account.is_active:
            raise BadRequest("Your account here is disabled")
        if self._settings.groups_claim:
            await self._accounts.groups.follow_claims(account.id, self._groups(claims))
        return account, flow

    async def _account(self, claims: Claims, user_id: UUID | None, caller: Caller) -> Account:
        """Return the account of an identity: found by issuer and subject, never by mail address (A9)."""
        identities = self._accounts.identities
        known = await identities.find(claims.issuer, claims.subject)
        if known is not None:
            if user_id not in (None, known.id):
                raise BadRequest("This identity belongs to another account here")
            return known
        if claims.email is None or not claims.email_verified:
            raise BadRequest("The identity provider has not verified your mail address")
        email = check_email(claims.email)
        account = await self._accounts.users.get(user_id) if user_id is not None else await self._new_account(email)
        if account is None:
            raise BadRequest("Your account is gone")
        try:
            await identities.link(claims.issuer, claims.subject, account.id)
        except AlreadyExists:
            raise BadRequest(OVER) from None
        if user_id is not None:
            await self._accounts.audit.record(
                "link identity", account.email, caller, target=claims.subject, detail=claims.issuer
            )
        return account

    async def _new_account(self, email: str) -> Account:
        domains = [domain.lower() for domain in self._settings.domains]
        if not self._settings.accounts or (domains and email.rpartition("@")[2] not in domains):
            raise BadRequest("You have no account here; ask an administrator for one")
        try:
            maxusers = self._accounts.policy.maxusers
            return await self._accounts.users.add(email, None, verified=True, maxusers=maxusers)
        except AlreadyExists:
            # Whoever made that account may not be the one whom the provider knows.
            raise BadRequest(
                f"There is an account for {email} already: sign in with its password, then link it on your account page"
            ) from None
        except Conflict as error:
            raise BadRequest(error.detail) from None

    def _groups(self, claims: Claims) -> list[str]:
        if self._settings.groups:
            names = [self._settings.groups[group] for group in claims.groups if group in self._settings.groups]
        else:
            names = [group.lower() for group in claims.groups]
        return [name for name in names if _GROUP.match(name)][:MAX_GROUPS]
