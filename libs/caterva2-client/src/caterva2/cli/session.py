"""Commands about oneself: login, logout, whoami, token."""

from __future__ import annotations

import argparse
import getpass
import platform
import sys
from contextlib import suppress
from datetime import datetime

from .. import errors
from .._client import Client
from . import _tokens
from ._commands import Command, CommandError, argument
from ._output import print_json, say


def login(client: Client, args: argparse.Namespace) -> None:
    """Exchange a password for a token, and keep the token."""
    if client.cookie is None:
        username, password = _ask(args.username)
        client = Client(client.urlbase, (username, password))
    name = args.name or f"cat2cli on {platform.node() or 'this machine'}"
    made = client.add_token(name, args.scopes.split(","), args.days)
    email = client.whoami().get("email")
    client.logout()
    path = _tokens.keep(client.urlbase, {"id": made["id"], "token": made["token"], "email": email})
    said = {"email": email, "days": args.days, "file": str(path)}
    say(args, said, f"Logged in as {email} for {args.days} days; the token is in {path}")


def _ask(username: str | None) -> tuple[str, str]:
    if not sys.stdin.isatty():
        raise CommandError("a user name and a password are needed: CATERVA2_USERNAME and CATERVA2_PASSWORD")
    found = username or input("User name: ").strip()
    return found, getpass.getpass("Password: ")


def logout(client: Client, args: argparse.Namespace) -> None:
    """Revoke the token that is kept, and forget it."""
    kept = _tokens.find(client.urlbase)
    if kept is None:
        raise CommandError(f"no token is kept for {client.urlbase}")
    # The token may have expired, or been revoked elsewhere.
    with suppress(errors.NotAuthenticated, errors.NotFound):
        client.revoke_token(kept["id"])
    _tokens.drop(client.urlbase)
    say(args, kept.get("email"), f"Logged out of {client.urlbase}")


def whoami(client: Client, args: argparse.Namespace) -> None:
    """Print who the subscriber thinks is asking."""
    found = client.whoami()
    if args.json:
        print_json(found)
    elif found.get("email") is None:
        print("anonymous")
    else:
        groups = ", ".join(found.get("groups", ())) or "none"
        print(f"{found['email']}{' (administrator)' if found.get('is_superuser') else ''}; groups: {groups}")


def token(client: Client, args: argparse.Namespace) -> None:
    """List, make or revoke API tokens."""
    if args.action == "list":
        _print_tokens(client, args)
    elif args.argument is None:
        raise CommandError(f"token {args.action} needs {'a name' if args.action == 'add' else 'the id of a token'}")
    elif args.action == "add":
        made = client.add_token(args.argument, args.scopes.split(","), args.days)
        say(args, made, f"{made['token']}\n(id {made['id']}; it is shown this once)")
    else:
        client.revoke_token(args.argument)
        say(args, args.argument, f"Token revoked: {args.argument}")


def _print_tokens(client: Client, args: argparse.Namespace) -> None:
    found = client.list_tokens()
    if args.json:
        print_json(found)
        return
    for one in found:
        used = "never used" if one["used_at"] is None else f"last used {_day(one['used_at'])}"
        print(f"{one['id']}  {one['name']}  [{' '.join(one['scopes'])}]  until {_day(one['expires_at'])}, {used}")


def identity(client: Client, args: argparse.Namespace) -> None:
    """List or unlink identities at an OpenID provider."""
    if args.action == "unlink":
        if args.id is None:
            raise CommandError("identity unlink needs the id of an identity")
        client.unlink_identity(args.id)
        say(args, args.id, f"Identity unlinked: {args.id}")
        return
    found = client.list_identities()
    if args.json:
        print_json(found)
        return
    for one in found:
        print(
            f"{one['id']}  {one['subject']} at {one['issuer']}{'' if one['current'] else ' (not used here any more)'}"
        )


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d")


_SCOPES = argument(
    "--scopes",
    default="read,write",
    help="what the token is good for: read, write, admin, read:ROOT, write:ROOT (default: read,write)",
)
_DAYS = argument("--days", type=int, default=90, help="days until the token expires (default: 90)")

COMMANDS = (
    Command(
        "login",
        login,
        "Log in and keep a token, so that later commands need no password",
        (_SCOPES, _DAYS, argument("--name", help="what to call the token (default: after this machine)")),
    ),
    Command("logout", logout, "Revoke and forget the token that login kept"),
    Command("whoami", whoami, "Show who the subscriber thinks you are"),
    Command(
        "token",
        token,
        "Manage API tokens",
        (
            argument("action", choices=("list", "add", "revoke"), nargs="?", default="list"),
            argument("argument", nargs="?", help="name of the new token, or id of the one to revoke"),
            _SCOPES,
            _DAYS,
        ),
    ),
    Command(
        "identity",
        identity,
        "List or unlink identities at an OpenID provider by which you sign in; they are linked in the GUI",
        (
            argument("action", choices=("list", "unlink"), nargs="?", default="list"),
            argument("id", nargs="?", help="which one to unlink"),
        ),
    ),
)
