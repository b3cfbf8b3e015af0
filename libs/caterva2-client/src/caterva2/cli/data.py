"""Commands that bring data: show, download."""

from __future__ import annotations

import argparse
import codecs
import pydoc
import sys
from math import prod
from typing import Any

from .. import slices
from .._client import Client
from ._commands import DATASET, Command, argument
from ._output import print_json
from .costs import show_plan, split_index

HEAD_BYTES = 64 * 1024
"""Bytes of a file that are looked at before all of it is fetched."""


def read_part(client: Client, path: str, index: str | None) -> Any:
    """Return what ``PATH[INDEX]`` stands for: a slice, a field, or the rows that fulfil a condition."""
    if index is None or slices.is_slice(index):
        return client.fetch(path, index)
    return client.get(path)[index][:]


def show(client: Client, args: argparse.Namespace) -> None:
    """Print the content of a dataset or file, or a part of it."""
    path, index = split_index(args.dataset)
    if args.dry_run:
        show_plan(client, args)
        return
    if not args.json and (index is None or slices.is_slice(index)) and _show_some(client, path, index, args):
        return
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


def _show_some(client: Client, path: str, index: str | None, args: argparse.Namespace) -> bool:
    """Print what is shown of something large, and tell whether that was all there is to do."""
    info = client.get_info(path)
    shape = info.get("shape")
    if shape is not None:
        from .corners import corners_of

        corners = None if args.later else corners_of(index, shape)
        if corners is None:
            return False
        block = client.read(path, corners.key, shape=tuple(shape)).value
        print(corners.text(block))
        count = prod(corners.shape)
        print(f"{count:,} elements of shape {corners.shape}; only those shown were fetched", file=sys.stderr)
        return True
    if info.get("nbytes", info.get("size", 0)) > HEAD_BYTES and index is None and not _is_text(client, path):
        print("Binary data")
        return True
    return False


def _is_text(client: Client, path: str) -> bool:
    """Tell by its beginning whether a file is text."""
    head = client.fetch(path, f":{HEAD_BYTES}")
    try:
        # A character may be cut at the end of the head.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _print_whole(value: Any) -> None:
    """Print all of an array, through a pager where it is longer than the terminal."""
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
        "Print a dataset, or a part of it; of large arrays the corners, as numpy does",
        (
            argument("dataset", help="ROOT/sub/name, or a part of it: 'ROOT/sub/name[0:10, 3]', '[field]', '[a < 5]'"),
            argument("--dry-run", action="store_true", help="only say what it would bring over the link, as plan does"),
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
