"""Commands for administrators: the chunk cache of a subscriber."""

from __future__ import annotations

import argparse

from .._client import Client
from ._commands import Command, CommandError, argument
from ._output import print_json, print_pretty


def cache(client: Client, args: argparse.Namespace) -> None:
    """Look at the chunk cache, or change what it keeps."""
    whole = args.action in ("status", "verify")
    if whole and args.path is not None:
        raise CommandError(f"cache {args.action} is about the whole cache")
    if not whole and args.path is None:
        raise CommandError(f"cache {args.action} needs a root, directory or dataset")
    found = client.cache(args.action, args.path)
    if args.json:
        print_json(found)
    else:
        print_pretty(found)


COMMANDS = (
    Command(
        "cache",
        cache,
        "Look at the chunk cache of the subscriber, or change what it keeps",
        (
            argument(
                "action",
                choices=("status", "pin", "unpin", "free", "prefetch", "verify"),
                nargs="?",
                default="status",
                help="pin: never evict; free: forget chunks; prefetch: bring into the cache; verify: read it all",
            ),
            argument("path", nargs="?", help="a root, directory or dataset"),
        ),
    ),
)
