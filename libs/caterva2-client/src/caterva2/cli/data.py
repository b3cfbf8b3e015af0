"""Commands that bring data: show, download."""

from __future__ import annotations

import argparse
import pydoc
import re
from typing import Any

from .. import slices
from .._client import Client
from ._commands import DATASET, Command, argument
from ._output import print_json

_INDEXED = re.compile(r"(?P<path>.+)\[(?P<index>[^\[\]]*)\]\Z", re.DOTALL)


def split_index(text: str) -> tuple[str, str | None]:
    """Split ``PATH[INDEX]`` into its parts; without brackets at its end, `text` is all path."""
    found = _INDEXED.match(text)
    return (text, None) if found is None else (found["path"], found["index"].strip())


def read_part(client: Client, path: str, index: str | None) -> Any:
    """Return what ``PATH[INDEX]`` stands for: a slice, a field, or the rows that fulfil a condition."""
    if index is None or slices.is_slice(index):
        return client.fetch(path, index)
    return client.get(path)[index][:]


def show(client: Client, args: argparse.Namespace) -> None:
    """Print the content of a dataset or file, or a part of it."""
    path, index = split_index(args.dataset)
    value = read_part(client, path, index)
    if args.json:
        print_json(value)
    elif args.later and not isinstance(value, bytes):
        _print_whole(value)
    elif isinstance(value, bytes):
        try:
            print(value.decode())
        except UnicodeDecodeError:
            print("Binary data")
    else:
        print(value)


def _print_whole(value: Any) -> None:
    """Print all of an array, through a pager where it is longer than the terminal."""
    import sys

    import numpy as np

    with np.printoptions(threshold=sys.maxsize, linewidth=80):
        text = str(value)
    if sys.stdout.isatty():
        pydoc.pager(text)
    else:
        print(text)


def download(client: Client, args: argparse.Namespace) -> None:
    """Store a dataset or file on the local disk."""
    saved = client.download(args.dataset, args.localpath)
    if args.json:
        print_json(str(saved))
    else:
        print(f"Dataset saved to {saved}")


COMMANDS = (
    Command(
        "show",
        show,
        "Print a dataset, or a part of it",
        (
            argument("dataset", help="ROOT/sub/name, or a part of it: 'ROOT/sub/name[0:10, 3]', '[field]', '[a < 5]'"),
            argument("--nocolor", action="store_true", help="accepted for older scripts: there are no colours"),
        ),
    ),
    Command(
        "download",
        download,
        "Store a dataset or file on the local disk",
        (DATASET, argument("localpath", nargs="?", help="local file or directory (default: ./ROOT/sub/name)")),
    ),
)
