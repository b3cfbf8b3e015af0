"""How commands are declared: a function that runs, and what the parser must know of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .._client import Client

Run = Callable[["Client", argparse.Namespace], None]


class CommandError(Exception):
    """A command cannot do what was asked; the message is one line for the person who asked."""


@dataclass(frozen=True)
class Argument:
    """One argument of a command, as `argparse.ArgumentParser.add_argument` takes it."""

    names: tuple[str, ...]
    options: dict[str, Any]


def argument(*names: str, **options: Any) -> Argument:
    """Declare an argument."""
    return Argument(names, options)


@dataclass(frozen=True)
class Command:
    """A command of ``cat2cli``."""

    name: str
    run: Run
    summary: str
    arguments: tuple[Argument, ...] = ()
    aliases: tuple[str, ...] = ()
    json: bool = True
    """Whether the command has an output for programs."""

    def add_to(self, commands: Any) -> None:
        """Add this to the subparsers of a parser."""
        parser = commands.add_parser(self.name, aliases=self.aliases, help=self.summary, description=f"{self.summary}.")
        if self.json:
            # The flag may also stand before the command; its default must not overwrite that one.
            parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
        for declared in self.arguments:
            parser.add_argument(*declared.names, **declared.options)
        parser.set_defaults(command=self)


DATASET = argument("dataset", help="path of a dataset or file: ROOT/sub/name")
