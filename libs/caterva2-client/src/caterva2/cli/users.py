"""Commands for administrators: users."""

from __future__ import annotations

import argparse
import secrets
import string

from .._client import Client
from ._commands import Command, CommandError, argument
from ._output import human_size, print_json, say


def adduser(client: Client, args: argparse.Namespace) -> None:
    """Add a user."""
    password = args.newpass or "".join(secrets.choice(string.ascii_letters) for _ in range(16))
    message = client.adduser(args.newuser, password, args.superuser)
    # A password that was made here is known to nobody else.
    if args.newpass is None and password not in message:
        message += f" password={password!r}"
    say(args, message, message)


def deluser(client: Client, args: argparse.Namespace) -> None:
    """Delete a user."""
    message = client.deluser(args.user)
    say(args, message, message)


def listusers(client: Client, args: argparse.Namespace) -> None:
    """Print the users."""
    users = client.listusers(args.user)
    if args.json:
        print_json(users)
        return
    for user in users:
        print(user)


def quota(client: Client, args: argparse.Namespace) -> None:
    """Print what users' files take and may take, or set what those of one may take."""
    if args.size is None:
        found = client.listusers(args.user)
        if args.user is not None and not found:
            raise CommandError(f"there is no user {args.user}")
    else:
        found = [client.set_quota(args.user, None if args.size == "none" else args.size)]
    if args.json:
        print_json(found)
        return
    for user in found:
        limit = "no limit" if user["quota_bytes"] is None else f"of {human_size(user['quota_bytes'])}"
        print(f"{user['email']}: {human_size(user['used_bytes'])}, {limit}")


COMMANDS = (
    Command(
        "adduser",
        adduser,
        "Add a user",
        (
            argument("-S", "--superuser", action="store_true", help="the user is an administrator"),
            argument("newuser", help="e-mail address"),
            argument("newpass", nargs="?", help="password (default: one at random)"),
        ),
    ),
    Command(
        "deluser", deluser, "Delete a user and what is personal to them", (argument("user", help="e-mail address"),)
    ),
    Command(
        "listusers",
        listusers,
        "List the users",
        (argument("user", nargs="?", help="only this one"),),
        aliases=("lsu",),
    ),
    Command(
        "quota",
        quota,
        "Show what users' files take, or say how much those of one user may take",
        (
            argument("user", nargs="?", help="e-mail address (default: all users)"),
            argument("size", nargs="?", help="such as 500M or 10G, or none for no limit (default: show it)"),
        ),
    ),
)
