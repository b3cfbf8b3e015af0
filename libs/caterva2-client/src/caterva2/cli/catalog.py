"""Commands that tell what is there: roots, subscribe, list, info, url."""

from __future__ import annotations

import argparse
import sys

from .._client import Client
from ._commands import DATASET, Command, argument
from ._output import print_json, print_pretty


def roots(client: Client, args: argparse.Namespace) -> None:
    """Print the roots, and which of them are followed."""
    found = client.get_roots()
    if args.json:
        print_json(found)
        return
    for name, root in found.items():
        print(f"{name} (subscribed)" if root.get("subscribed") else name)


def subscribe(client: Client, args: argparse.Namespace) -> None:
    """Make the subscriber follow a root."""
    answer = client.subscribe(args.root)
    if args.json:
        print_json(answer)
    else:
        print(answer)


def list_paths(client: Client, args: argparse.Namespace) -> None:
    """Print the paths below a root, a directory or a dataset."""
    found = client.get_list(args.root)
    if args.json:
        print_json(found)
        return
    for path in found:
        print(path)


def info(client: Client, args: argparse.Namespace) -> None:
    """Print what is known of a dataset."""
    # Programs read standard output as JSON, so that the sentence for people goes elsewhere for them.
    print(f"Getting info for {args.dataset}", file=sys.stderr if args.json else sys.stdout)
    found = client.get_info(args.dataset)
    if args.json:
        print_json(found)
    else:
        print_pretty(found)


def url(client: Client, args: argparse.Namespace) -> None:
    """Print the URL of a dataset."""
    found = client.get_download_url(args.dataset)
    if args.json:
        print_json(found)
    else:
        print(found)


COMMANDS = (
    Command("roots", roots, "List the roots"),
    Command("subscribe", subscribe, "Make the subscriber follow a root", (argument("root", help="name of the root"),)),
    Command(
        "list",
        list_paths,
        "List the datasets and files of a root or directory",
        (argument("root", help="a root, or a path below it"),),
        aliases=("ls",),
    ),
    Command("info", info, "Show what is known of a dataset", (DATASET,)),
    Command("url", url, "Print the URL of a dataset", (DATASET,)),
)
