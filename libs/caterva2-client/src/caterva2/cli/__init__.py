"""``cat2cli``: Caterva2 on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .._client import Client
from . import access, cache, catalog, changes, completion, costs, data, doctor, session, users, watch
from ._program import add_options, configure_logging, connection_of, guarded

LATER = "cat2-client"
"""Name of this program in later releases of the original, where some commands print something else."""

COMMANDS = (
    *catalog.COMMANDS,
    *data.COMMANDS,
    *changes.COMMANDS,
    *watch.COMMANDS,
    *doctor.COMMANDS,
    *session.COMMANDS,
    *users.COMMANDS,
    *access.COMMANDS,
    *costs.COMMANDS,
    *cache.COMMANDS,
    *completion.COMMANDS,
)


def make_parser(prog: str = "cat2cli") -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog=prog, description="Read and manage the data of a Caterva2 subscriber.")
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(later=prog == LATER)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(commands)
    return parser


def main(argv: Sequence[str] | None = None, *, prog: str = "cat2cli") -> int:
    """Run the command line. Returns the exit code: 0, 1 for an error of the command, 2 for one of its use."""
    parser = make_parser(prog)
    completion.complete(parser)
    args = parser.parse_args(argv)

    def run() -> None:
        configure_logging(args.loglevel)
        connection = connection_of(args)
        with Client(connection.urlbase, connection.auth) as client:
            args.command.run(client, args)

    return guarded(run)


def later_main(argv: Sequence[str] | None = None) -> int:
    """Run the command line under the name, and with the outputs, that it has in later releases of the original."""
    return main(argv, prog=LATER)
