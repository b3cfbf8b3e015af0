"""Opens what knows people: the database, accounts and rights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from caterva2_service.health import Health

from .auth.accounts import Accounts, Policy
from .auth.mail import make_mailer
from .auth.oidc.provider import Provider
from .auth.oidc.signin import OidcSignIn
from .auth.password_rules import PasswordRules
from .auth.secret import Secret, load_secret
from .db import Database, Grants, UsedFlows
from .rights import Rights
from .settings import SubscriberSettings


@dataclass(frozen=True, slots=True)
class People:
    """Who there is and what they may do."""

    database: Database
    accounts: Accounts
    rights: Rights
    oidc: OidcSignIn | None
    """Signing in by an OpenID provider, where the site has one."""


async def open_people(
    settings: SubscriberSettings, stack: AsyncExitStack, health: Health, declared: Callable[[str], str | None]
) -> People:
    """Open the database of people; `stack` closes it again.

    Parameters
    ----------
    declared
        Returns the access that the publisher of a root declares.
    """
    database = Database(database_url(settings), report=lambda ok, detail: health.set("database", ok, detail))
    stack.push_async_callback(database.close)
    await database.open()
    configured = settings.secret.get_secret_value() if settings.secret is not None else None
    secret = load_secret(configured, settings.statedir, settings.http)
    accounts = make_accounts(settings, database, secret)
    stack.push_async_callback(accounts.close)
    rights = Rights(Grants(database), declared, login=settings.login)
    return People(database, accounts, rights, _open_oidc(settings, stack, accounts, UsedFlows(database), secret))


def _open_oidc(
    settings: SubscriberSettings, stack: AsyncExitStack, accounts: Accounts, used: UsedFlows, secret: Secret
) -> OidcSignIn | None:
    configured = settings.auth.oidc
    if configured is None or not settings.login:
        return None
    provider = Provider(configured, f"{settings.urlbase.rstrip('/')}/auth/oidc/callback")
    stack.push_async_callback(provider.close)
    return OidcSignIn(configured, provider, accounts, used, secret)


def database_url(settings: SubscriberSettings) -> str:
    """Return the URL of the database of people: the configured one, or a file in the state directory."""
    if settings.database.url is not None:
        return settings.database.url.get_secret_value()
    return f"sqlite+aiosqlite:///{settings.statedir.resolve() / 'db.sqlite'}"


def make_accounts(settings: SubscriberSettings, database: Database, secret: Secret) -> Accounts:
    """Return the accounts of a site."""
    policy = Policy(
        login=settings.login,
        register=settings.register,
        maxusers=settings.maxusers or None,
        urlbase=settings.urlbase,
    )
    rules = PasswordRules.of(settings.auth.passwords)
    return Accounts(database, secret, policy, make_mailer(settings.mail, settings.statedir), rules)
