"""The command that follows changes: watch."""

from __future__ import annotations

import argparse
from datetime import datetime

from .._client import Client
from .._events import Event
from ._commands import Command, CommandError, argument
from ._output import print_json


def watch(client: Client, args: argparse.Namespace) -> None:
    """Print changes as they happen."""
    for seen, event in enumerate(client.events(*args.roots), start=1):
        if args.json:
            print_json({"event": event.kind, "id": event.id, **event.data})
        else:
            print(_line(event), flush=True)
        if args.count and seen >= args.count:
            return
    raise CommandError("the subscriber ended the stream")


def _line(event: Event) -> str:
    now = datetime.now().astimezone().strftime("%H:%M:%S")
    return f"{now} {event.kind:<12} {event.path or event.root or ''}".rstrip()


COMMANDS = (
    Command(
        "watch",
        watch,
        "Print changes as they happen, until Ctrl-C",
        (
            argument("roots", nargs="*", metavar="root", help="only changes of these roots"),
            argument("-n", "--count", type=int, metavar="N", help="stop after N changes"),
        ),
    ),
)
