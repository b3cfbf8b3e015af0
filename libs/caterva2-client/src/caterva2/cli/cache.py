"""Commands for administrators: the chunk cache of a subscriber, and what a read costs."""

from __future__ import annotations

import argparse
from typing import Any

from .._client import Client
from ._commands import Command, CommandError, argument
from ._output import human_size, print_json, print_pretty
from .data import split_index


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


def plan(client: Client, args: argparse.Namespace) -> None:
    """Print what reading a dataset, or a part of it, would bring over the link."""
    path, index = split_index(args.dataset)
    found = client.plan(path, index)
    if args.json:
        print_json(found)
    else:
        print(describe_plan(found))


def describe_plan(found: dict[str, Any]) -> str:
    """Return the sentence for people."""
    return (
        f"{human_size(found['nbytes'])} in {found['chunks']} chunks: "
        f"{human_size(found['link_bytes'])} over the link ({found['link_chunks']} chunks), "
        f"{human_size(found['cache_bytes'])} from the cache ({found['cache_chunks']} chunks)"
    )


COMMANDS = (
    Command(
        "plan",
        plan,
        "Say what reading a dataset, or a part of it, would bring over the link",
        (argument("dataset", help="ROOT/sub/name, or a part of it: 'ROOT/sub/name[0:10, 3]'"),),
    ),
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
