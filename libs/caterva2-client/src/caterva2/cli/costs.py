"""What a read costs before it is done: the command plan, and ``show --dry-run``."""

from __future__ import annotations

import argparse
import re
from typing import Any

from .._client import Client
from ._commands import Command, argument
from ._output import human_size, print_json

_INDEXED = re.compile(r"(?P<path>.+)\[(?P<index>[^\[\]]*)\]\Z", re.DOTALL)


def split_index(text: str) -> tuple[str, str | None]:
    """Split ``PATH[INDEX]`` into its parts; without brackets at its end, `text` is all path."""
    found = _INDEXED.match(text)
    return (text, None) if found is None else (found["path"], found["index"].strip())


def show_plan(client: Client, args: argparse.Namespace) -> None:
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
        show_plan,
        "Say what reading a dataset, or a part of it, would bring over the link",
        (argument("dataset", help="ROOT/sub/name, or a part of it: 'ROOT/sub/name[0:10, 3]'"),),
    ),
)
