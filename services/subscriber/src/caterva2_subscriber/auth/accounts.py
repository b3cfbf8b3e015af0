"""Accounts: making them, logging in, and telling who is behind a cookie or a token."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from caterva2.errors import (
    AlreadyExists,
    BadRequest,
    Caterva2Error,
    NotAuthenticated,
    Unavailable,
    UserNotFound,
)
from caterva2_service.log import get_logger

from ..db import (
    Account,
    ApiToken,
    ApiTokens,
    Attempts,
    AuditTrail,
    Database,
    Groups,
    Identities,
    OneTimeTokens,
    Sessions,
    Users,
)
from .audit import Audit
from .caller import Caller
from .limits import LoginLimits
from .mail import Mailer
from .password_rules import PasswordRules
from .passwords import Passwords, generate_password
from .principal import ALL_SCOPES, ANONYMOUS, UNVERIFIED, Principal
from .secret import Secret

IDLE_S = 12 * 3600.0
"""A session that is not used for so long is over."""
ABSOLUTE_S = 7 * 86400.0
"""Every session is over after so long."""
FRESH_S = 1.0
"""How long a replica may go on believing in a session that was ended elsewhere."""
WITHOUT_DATABASE_S = 30.0
"""The same while the database is away."""
MAIL_TOKEN_S = 1800.0
MAX_TOKEN_DAYS = 366
TOKEN_PREFIX = "cat2_"  # noqa: S105 - what scanners for leaked secrets recognise
_CACHED = 10_000
_EMAIL = re.compile(r"[^@\s\"<>(),:;\\]{1,64}@(?:[\w-]{1,63}\.)+[\w-]{2,63}\Z")
_SCOPE = re.compile(r"(?:admin|(?:read|write)(?::@?[a-z0-9][a-z0-9_-]{0,62})?)\Z")

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the site allows."""

    login: bool = True
    register: bool = False
    maxusers: int | None = None
    urlbase: str = "http://localhost:8002"

    @property
    def secure_cookie(self) -> bool:
        """Whether browsers may send the cookie over TLS only."""
        return self.urlbase.startswith("https://")


class Accounts:
    """Who people are.

    Parameters
    ----------
    database
        Where accounts are kept. While it is away nobody can log in, and a session is believed for
        `WITHOUT_DATABASE_S` seconds after it was last confirmed.
    """

    def __init__(
        self, database: Database, secret: Secret, policy: Policy, mailer: Mailer, rules: PasswordRules
    ) -> None:
        self.policy = policy
        self.users = Users(database)
        self.groups = Groups(database)
        self.identities = Identities(database)
        self.audit = Audit(AuditTrail(database))
        self._sessions = Sessions(database)
        self._tokens = ApiTokens(database)
        self._one_time = OneTimeTokens(database)
        self.limits = LoginLimits(Attempts(database), secret)
        self._passwords = Passwords(rules)
        self._secret = secret
        self._mailer = mailer
        self._known: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._mails: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Finish what was begun."""
        await asyncio.gather(*self._mails, return_exceptions=True)
        self._passwords.close()

    # --- who is it ---------------------------------------------------------------------
    async def of_session(self, session: str) -> Principal:
        """Return whose session it is; nobody's if it is over."""
        if not self.policy.login:
            return ANONYMOUS
        token_hash = self._secret.digest("session", session)

        async def find() -> Principal:
            login = await self._sessions.find(token_hash, idle_s=IDLE_S)
            return ANONYMOUS if login is None else principal_of(login.account)

        return await self._remembered(token_hash, find)

    async def of_token(self, token: str) -> Principal:
        """Return on whose behalf an API token speaks. Raises NotAuthenticated."""
        if not self.policy.login:
            return ANONYMOUS
        token_hash = hash_token(token)

        async def find() -> Principal:
            found = await self._tokens.find(token_hash)
            return ANONYMOUS if found is None else principal_of(found.account, frozenset(found.scopes))

        principal = await self._remembered(token_hash, find)
        if principal.is_anonymous and not principal.unverified:
            raise NotAuthenticated("The token is not valid, or no longer")
        return principal

    async def _remembered(self, key: bytes, find: Callable[[], Awaitable[Principal]]) -> Principal:
        now = time.monotonic()
        at, principal = self._known.get(key, (-WITHOUT_DATABASE_S, UNVERIFIED))
        if now - at < FRESH_S:
            return principal
        try:
            principal = await find()
        except Unavailable:
            return principal if now - at < WITHOUT_DATABASE_S else UNVERIFIED
        self._known[key] = (now, principal)
        self._known.move_to_end(key)
        while len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return principal

    def _forget(self) -> None:
        """Ask the database again about everybody: somebody's rights, sessions or groups have changed."""
        self._known.clear()

    # --- sessions ---------------------------------------------------------------------
    async def login(self, email: str, password: str, caller: Caller, *, browser: str | None = None) -> str:
        """Begin a session; return the value of its cookie.

        Parameters
        ----------
        browser
            What `LoginLimits.browser_of` gave to this browser at an earlier login.

        Raises
        ------
        BadRequest
            ``LOGIN_BAD_CREDENTIALS``, the same whatever was wrong (A3).
        TooManyRequests
            After too many failures (A2).
        """
        async with self.limits.attempt(email, caller, browser=browser) as outcome:
            account = await self.users.by_email(email.strip())
            hashed = account.hashed_password if account is not None else None
            matches = await self._passwords.verify(hashed, password)
            if account is not None and account.is_active and matches:
                outcome.succeeded = True
        if account is None or not outcome.succeeded:
            await self.audit.record("login", email.strip()[:320], caller, result="failed")
            raise BadRequest("LOGIN_BAD_CREDENTIALS")
        if hashed is not None and self._passwords.outdated(hashed):
            await self.users.change(account.id, hashed_password=await self._passwords.hash(password))
        return await self.begin_session(account, caller)

    async def begin_session(self, account: Account, caller: Caller) -> str:
        """Begin a session of somebody who has proved to be `account`; return the value of its cookie."""
        token = secrets.token_urlsafe(32)
        await self._sessions.add(
            self._secret.digest("session", token),
            account.id,
            expires_at=time.time() + ABSOLUTE_S,
            address=caller.address,
            agent=caller.agent,
        )
        await self.audit.record("login", account.email, caller)
        return token

    async def logout(self, session: str, principal: Principal, caller: Caller) -> None:
        """End a session, here at once and on every other replica within `FRESH_S`."""
        token_hash = self._secret.digest("session", session)
        await self._sessions.remove(token_hash)
        self._known.pop(token_hash, None)
        await self.audit.record("logout", principal.name, caller)

    async def logout_everywhere(self, principal: Principal, caller: Caller) -> None:
        """End all sessions of a user."""
        await self._sessions.remove_all(_user_id(principal))
        self._forget()
        await self.audit.record("logout everywhere", principal.name, caller)

    # --- making and changing accounts ---------------------------------------------------------------------
    async def register(self, email: str, password: str, caller: Caller) -> Account:
        """Make an account for a visitor.

        For an address that has one already nothing is made; the answer is the same, and its owner gets a mail (A3).

        Raises
        ------
        Conflict, WeakPassword, TooManyRequests
        """
        await self.limits.count("register", email, caller)
        try:
            account = await self._create(email, password)
        except AlreadyExists:
            account = Account(uuid4(), check_email(email), True, False, False, time.time())
            await self.audit.record("register", account.email, caller, result="exists")
            self._in_background(self._mail_known(account.email), "registration mail")
            return account
        await self.audit.record("register", account.email, caller)
        return account

    async def _mail_known(self, email: str) -> None:
        base = self.policy.urlbase.rstrip("/")
        await self._mailer.send(
            email,
            "Caterva2: you have an account already",
            f"Somebody, probably you, wanted to make an account at {self.policy.urlbase} with this address.\n\n"
            f"There is one already: sign in at {base}/login, or choose a new password at {base}/forgot-password\n\n"
            "If it was not you, nothing needs to be done.\n",
        )

    async def add_user(
        self, email: str, password: str | None, *, superuser: bool, actor: str, caller: Caller
    ) -> tuple[Account, str | None]:
        """Make an account for somebody else.

        Returns
        -------
        tuple
            The account, and the password that was made up where `password` is None. An account that exists
            already is returned unchanged, with no password.
        """
        known = await self.users.by_email(check_email(email))
        if known is not None:
            return known, None
        generated = generate_password() if password is None else None
        account = await self._create(email, password or generated or "", superuser=superuser, given=True)
        await self.audit.record(
            "add user", actor, caller, target=account.email, detail="superuser" if superuser else ""
        )
        return account, generated

    async def _create(self, email: str, password: str, *, superuser: bool = False, given: bool = False) -> Account:
        email = check_email(email)
        await self._passwords.check(password, email, given=given)
        hashed = await self._passwords.hash(password)
        return await self.users.add(email, hashed, superuser=superuser, maxusers=self.policy.maxusers)

    async def remove_user(self, email: str, *, actor: str, caller: Caller) -> Account:
        """Remove an account with its sessions, tokens and grants. Raises UserNotFound."""
        account = await self.find_user(email)
        await self.users.remove(account.id)
        self._forget()
        await self.audit.record("remove user", actor, caller, target=account.email)
        return account

    async def change_user(
        self, email: str, *, active: bool | None, superuser: bool | None, actor: str, caller: Caller
    ) -> Account:
        """Enable, disable, promote or demote somebody; the sessions of that user end. Raises UserNotFound."""
        account = await self.find_user(email)
        await self.users.change(account.id, active=active, superuser=superuser)
        await self._sessions.remove_all(account.id)
        self._forget()
        changes = {"active": active, "superuser": superuser}
        detail = " ".join(f"{name}={value}" for name, value in changes.items() if value is not None)
        await self.audit.record("change user", actor, caller, target=account.email, detail=detail)
        return await self.find_user(email)

    async def find_user(self, email: str) -> Account:
        """Return the account of an address. Raises UserNotFound."""
        account = await self.users.by_email(email.strip())
        if account is None:
            raise UserNotFound(f"there is no user {email.strip()[:320]}")
        return account

    async def matches(self, account: Account, password: str) -> bool:
        """Tell whether a password is that of an account."""
        return await self._passwords.verify(account.hashed_password, password)

    async def change_password(self, principal: Principal, old: str, new: str, caller: Caller) -> None:
        """Replace a user's own password; all sessions end.

        Raises
        ------
        BadRequest
            ``LOGIN_BAD_CREDENTIALS`` if `old` is wrong.
        WeakPassword, TooManyRequests
        """
        async with self.limits.attempt(principal.name, caller) as outcome:
            account = await self.users.get(_user_id(principal))
            matches = await self._passwords.verify(account.hashed_password if account else None, old)
            outcome.succeeded = matches
        if account is None or not matches:
            raise BadRequest("LOGIN_BAD_CREDENTIALS")
        await self._set_password(account, new)
        await self.audit.record("change password", account.email, caller)

    async def _set_password(self, account: Account, password: str) -> None:
        await self._passwords.check(password, account.email)
        await self.users.change(account.id, hashed_password=await self._passwords.hash(password))
        await self._sessions.remove_all(account.id)
        self._forget()

    # --- forgotten passwords ---------------------------------------------------------------------
    async def forgot_password(self, email: str, caller: Caller) -> None:
        """Send a mail with a link to a user; nobody learns whether there is one (A3). Raises TooManyRequests."""
        await self.limits.count("forgot", email, caller)
        self._in_background(self._mail_reset(email, caller), "reset mail")

    async def _mail_reset(self, email: str, caller: Caller) -> None:
        account = await self.users.by_email(email.strip())
        if account is None or not account.is_active:
            return
        token = secrets.token_urlsafe(32)
        await self._one_time.add(hash_token(token), account.id, "reset", expires_at=time.time() + MAIL_TOKEN_S)
        link = f"{self.policy.urlbase.rstrip('/')}/reset-password/{token}"
        await self._mailer.send(
            account.email,
            "Caterva2: choose a new password",
            f"Somebody, probably you, asked for a new password at {self.policy.urlbase}.\n\n"
            f"Choose it here within {int(MAIL_TOKEN_S // 60)} minutes:\n{link}\n\n"
            "If it was not you, nothing needs to be done.\n",
        )
        await self.audit.record("reset mail", account.email, caller)

    def _in_background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Do what must not lengthen the answer, which would tell that there is an account (A3)."""

        async def run() -> None:
            try:
                await work
            except Caterva2Error as error:
                _log.error(f"{name} not sent", reason=error.code)

        task = asyncio.create_task(run(), name=name)
        self._mails.add(task)
        task.add_done_callback(self._mails.discard)

    async def reset_password(self, token: str, password: str, caller: Caller) -> None:
        """Set the password of whoever got a mail with `token`; all sessions end.

        Raises
        ------
        BadRequest
            ``RESET_PASSWORD_BAD_TOKEN`` for a token that is unknown, used or too old.
        WeakPassword
            The token can be used again.
        """
        user_id = await self._one_time.peek(hash_token(token), "reset")
        account = await self.users.get(user_id) if user_id is not None else None
        if account is None or not account.is_active:
            raise BadRequest("RESET_PASSWORD_BAD_TOKEN")
        await self._passwords.check(password, account.email)
        if await self._one_time.use(hash_token(token), "reset") is None:
            raise BadRequest("RESET_PASSWORD_BAD_TOKEN")
        await self._set_password(account, password)
        await self.users.change(account.id, verified=True)
        await self.audit.record("reset password", account.email, caller)

    # --- tokens for scripts ---------------------------------------------------------------------
    async def add_token(
        self, principal: Principal, name: str, scopes: list[str], days: int, caller: Caller
    ) -> tuple[UUID, str]:
        """Make an API token; return its identity, and the token, which is shown this once.

        Raises
        ------
        BadRequest
            If a scope is unknown or goes beyond what the caller may do.
        """
        for scope in scopes:
            if not _SCOPE.match(scope):
                raise BadRequest(f"'{scope[:80]}' is not a scope: read, write, admin, read:ROOT or write:ROOT")
            access, _, root = scope.partition(":")
            if not (principal.in_scope(access, root) if root else access in principal.scopes):
                raise BadRequest(f"a token cannot do more than who makes it: '{scope}'")
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        expires_at = time.time() + min(days, MAX_TOKEN_DAYS) * 86400.0
        token_id = await self._tokens.add(_user_id(principal), name, hash_token(token), scopes, expires_at)
        await self.audit.record("create token", principal.name, caller, target=name, detail=" ".join(scopes))
        return token_id, token

    async def tokens(self, principal: Principal) -> list[ApiToken]:
        """Return the API tokens of a user."""
        return await self._tokens.list(_user_id(principal))

    async def revoke_token(self, principal: Principal, token_id: UUID, caller: Caller) -> None:
        """End a token. Raises NotFound."""
        await self._tokens.remove(token_id, user_id=_user_id(principal))
        self._forget()
        await self.audit.record("revoke token", principal.name, caller, target=str(token_id))

    # --- identities at an OpenID provider ---------------------------------------------------------------------
    async def unlink(self, principal: Principal, identity_id: str, caller: Caller, *, issuer: str | None) -> None:
        """Take an identity from a user; all sessions end, for it may have begun any of them.

        Parameters
        ----------
        issuer
            The provider by which people sign in here; None where there is none.

        Raises
        ------
        NotFound, Conflict
        """
        identity = await self.identities.unlink(_user_id(principal), identity_id, issuer=issuer)
        await self._sessions.remove_all(_user_id(principal))
        self._forget()
        await self.audit.record(
            "unlink identity", principal.name, caller, target=identity.subject, detail=identity.issuer
        )

    # --- groups ---------------------------------------------------------------------
    def groups_changed(self) -> None:
        """Let new memberships count at once."""
        self._forget()


def principal_of(account: Account, scopes: frozenset[str] = ALL_SCOPES) -> Principal:
    """Return the principal of an account; nobody if it is disabled."""
    if not account.is_active:
        return ANONYMOUS
    superuser = account.is_superuser and "admin" in scopes
    return Principal(account.id, account.email, account.groups, superuser, scopes)


def hash_token(token: str) -> bytes:
    """Return under what a token of 256 random bits is stored."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def check_email(email: str) -> str:
    """Return an e-mail address in the form that is stored. Raises BadRequest."""
    email = email.strip()
    if len(email) > 320 or not _EMAIL.match(email):
        raise BadRequest("value is not a valid email address")
    return email.lower()


def _user_id(principal: Principal) -> UUID:
    if principal.user_id is None:
        raise NotAuthenticated
    return principal.user_id
