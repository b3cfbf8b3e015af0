"""Command line program ``cat2adduser``: adds a user to the database, whether the subscriber runs or not."""

from __future__ import annotations

import argparse
import asyncio
import sys

from caterva2.errors import AlreadyExists, Caterva2Error
from caterva2_service import log
from caterva2_service.settings import load_settings

from .auth.accounts import Accounts
from .auth.caller import Caller
from .auth.secret import Secret
from .db import Database
from .people import database_url, make_accounts
from .settings import SubscriberSettings

PROG = "cat2adduser"
ADDED = "User {email} with id {id} has been added."


def main(argv: list[str] | None = None) -> int:
    """Add a user; return the exit code."""
    arguments = _parser().parse_args(argv)
    given = {name: getattr(arguments, name) for name in ("conf", "id", "statedir", "loglevel")}
    options = [part for name, value in given.items() if value is not None for part in (f"--{name}", value)]
    settings = load_settings(
        SubscriberSettings, options, prog=PROG, section="subscriber", description=_parser().description or ""
    )
    log.configure(settings.loglevel)
    try:
        return asyncio.run(add(settings, arguments.username, arguments.password, superuser=arguments.superuser))
    except (Caterva2Error, OSError) as error:
        print(f"{PROG}: {error}", file=sys.stderr)  # noqa: T201
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG, description="Add a user to the database of a subscriber, whether it runs or not."
    )
    parser.add_argument("--conf", help="configuration file")
    parser.add_argument("--id", help="identifier of the subscriber")
    parser.add_argument("--statedir", help="state directory of the subscriber")
    parser.add_argument("--loglevel", metavar="LEVEL")
    parser.add_argument("-S", "--superuser", action="store_true", help="make an administrator")
    parser.add_argument("username", help="e-mail address of the user")
    parser.add_argument("password", nargs="?", help="one is made up and shown if it is left out")
    return parser


async def add(
    settings: SubscriberSettings, email: str, password: str | None, *, superuser: bool, said: str = ADDED
) -> int:
    """Add a user, and print what was done (`said`) and the password; return the exit code. Raises Caterva2Error."""
    settings.statedir.mkdir(parents=True, exist_ok=True)
    database = Database(database_url(settings))
    accounts = make_accounts(settings, database, Secret(""))  # no session is begun here
    try:
        await database.migrate()
        return await _add_to(accounts, email, password, superuser, said)
    finally:
        await accounts.close()
        await database.close()


async def _add_to(accounts: Accounts, email: str, password: str | None, superuser: bool, said: str) -> int:
    known = await accounts.users.by_email(email.strip())
    if known is not None:
        if password is not None and await accounts.matches(known, password) and superuser <= known.is_superuser:
            print(f"Password: {password}")  # noqa: T201
            return 0
        raise AlreadyExists(f"there is a user {known.email} already; nothing was changed")
    account, generated = await accounts.add_user(
        email, password, superuser=superuser, actor=PROG, caller=Caller(agent=PROG)
    )
    print(said.format(email=account.email, id=account.id))  # noqa: T201
    print(f"Password: {generated or password}")  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
