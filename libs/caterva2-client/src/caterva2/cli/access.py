"""Commands for administrators: groups, and who may read and write which root."""

from __future__ import annotations

import argparse

from .._client import Client
from ._commands import Command, CommandError, argument
from ._output import print_json, say


def group(client: Client, args: argparse.Namespace) -> None:
    """List, add or remove groups, or change their members."""
    if args.action == "list":
        _print_groups(client, args)
        return
    if args.name is None:
        raise CommandError(f"group {args.action} needs the name of a group")
    if args.action == "add":
        client.add_group(args.name, " ".join(args.users))
        say(args, args.name, f"Group added: {args.name}")
    elif args.action == "remove":
        client.remove_group(args.name)
        say(args, args.name, f"Group removed: {args.name}")
    else:
        _change_members(client, args)


def _change_members(client: Client, args: argparse.Namespace) -> None:
    if not args.users:
        raise CommandError(f"group {args.action} needs users")
    change = client.add_member if args.action == "join" else client.remove_member
    for user in args.users:
        change(args.name, user)
    done = "joined" if args.action == "join" else "left"
    say(args, list(args.users), f"{', '.join(args.users)} {done} {args.name}")


def _print_groups(client: Client, args: argparse.Namespace) -> None:
    found = client.list_groups()
    if args.json:
        print_json(found)
        return
    for one in found:
        description = f" - {one['description']}" if one.get("description") else ""
        print(f"{one['name']}{description}: {', '.join(one['members']) or 'no members shown'}")


def rights(client: Client, args: argparse.Namespace) -> None:
    """Print who may read and write roots."""
    found = [client.get_rights(args.root)] if args.root else client.list_rights()
    if args.json:
        print_json(found[0] if args.root else found)
        return
    for one in found:
        _print_rights(one)


def _print_rights(one: dict[str, object]) -> None:
    for access in ("read", "write"):
        grantees = one[access]
        assert isinstance(grantees, list)
        default = " (default)" if one.get(f"{access}_is_default") else ""
        print(f"{one['root']} {access}: {', '.join(map(str, grantees)) or 'nobody'}{default}")


def grant(client: Client, args: argparse.Namespace) -> None:
    """Let somebody read or write a root."""
    present = client.get_rights(args.root)
    # What everybody had by default must not be lost silently, nor stay when the root is meant to be restricted.
    before = [] if present.get(f"{args.access}_is_default") else present[args.access]
    changed = client.set_rights(args.root, args.access, [*before, *(who for who in args.grantees if who not in before)])
    _say_rights(args, changed)


def revoke(client: Client, args: argparse.Namespace) -> None:
    """Take the right to read or write a root from somebody."""
    if args.default:
        changed = client.set_rights(args.root, args.access, None)
    else:
        present = client.get_rights(args.root)[args.access]
        absent = [who for who in args.grantees if who not in present]
        if absent or not args.grantees:
            has = ", ".join(present) or "nobody"
            raise CommandError(f"{', '.join(absent) or 'nobody named'}: {args.root} {args.access} is granted to {has}")
        changed = client.set_rights(args.root, args.access, [who for who in present if who not in args.grantees])
    _say_rights(args, changed)


def _say_rights(args: argparse.Namespace, changed: dict[str, object]) -> None:
    if args.json:
        print_json(changed)
    else:
        _print_rights(changed)


_ROOT = argument("root", help="name of a root")
_ACCESS = argument("access", choices=("read", "write"))
_GRANTEES = "public, users, group:NAME or user:EMAIL"

COMMANDS = (
    Command(
        "group",
        group,
        "Manage groups of users",
        (
            argument("action", choices=("list", "add", "remove", "join", "leave"), nargs="?", default="list"),
            argument("name", nargs="?", help="name of the group"),
            argument("users", nargs="*", help="users who join or leave; a description for 'add'"),
        ),
    ),
    Command(
        "rights", rights, "Show who may read and write roots", (argument("root", nargs="?", help="only this one"),)
    ),
    Command(
        "grant",
        grant,
        "Let somebody read or write a root; the first grant replaces the default",
        (_ROOT, _ACCESS, argument("grantees", nargs="+", help=_GRANTEES)),
    ),
    Command(
        "revoke",
        revoke,
        "Take the right to read or write a root from somebody",
        (
            _ROOT,
            _ACCESS,
            argument("grantees", nargs="*", help=_GRANTEES),
            argument("--default", action="store_true", help="bring back the default"),
        ),
    ),
)
