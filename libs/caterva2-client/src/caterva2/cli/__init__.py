"""``cat2cli``: Caterva2 on the command line."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

import httpx

from .. import errors
from .._address import check_urlbase
from .._client import Client
from . import _tokens, access, catalog, changes, completion, data, doctor, session, users, watch
from ._commands import CommandError
from ._settings import SettingsError, find_connection

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
    *completion.COMMANDS,
)


def _urlbase(text: str) -> str:
    try:
        return check_urlbase(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' does not start with http:// or https://") from None


def make_parser(prog: str = "cat2cli") -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog=prog, description="Read and manage the data of a Caterva2 subscriber.")
    parser.add_argument("--conf", metavar="FILE", help="configuration file (default: caterva2.toml)")
    parser.add_argument("--loglevel", default="warning", help="how much to log (default: warning)")
    parser.add_argument(
        "--subscriber", "--url", type=_urlbase, metavar="URL", help="the subscriber (default: http://localhost:8002)"
    )
    parser.add_argument("--server", metavar="NAME", help="section of the configuration that names the subscriber")
    parser.add_argument("--username", metavar="NAME", help="user name (or CATERVA2_USERNAME)")
    parser.add_argument("--password", metavar="WORD", help="password (better in CATERVA2_PASSWORD)")
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
    try:
        _configure_logging(args.loglevel)
        connection = find_connection(
            conf=args.conf,
            server=args.server,
            urlbase=args.subscriber,
            username=args.username,
            password=args.password,
        )
        if not connection.has_credentials:
            connection = replace(connection, token=(_tokens.find(connection.urlbase) or {}).get("token"))
        with Client(connection.urlbase, connection.auth) as client:
            args.command.run(client, args)
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python would complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except (httpx.HTTPError, errors.Caterva2Error, SettingsError, CommandError, OSError, ValueError) as error:
        print(f"Error: {explain(error)}", file=sys.stderr)
        return 1
    return 0


def later_main(argv: Sequence[str] | None = None) -> int:
    """Run the command line under the name, and with the outputs, that it has in later releases of the original."""
    return main(argv, prog=LATER)


def explain(error: Exception) -> str:
    """Return one line that says what went wrong."""
    detail = getattr(error, "detail", None)
    text = detail if isinstance(detail, str) and detail else str(error)
    return " ".join(text.split()) or type(error).__name__


def _configure_logging(level: str) -> None:
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise SettingsError(f"'{level}' is not a log level: debug, info, warning, error or critical")
    logging.basicConfig(level=number, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
