"""What the programs of this package have in common: their options, and how they end."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace

import httpx

from .. import errors
from .._address import check_urlbase
from . import _tokens
from ._commands import CommandError
from ._settings import Connection, SettingsError, find_connection


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which subscriber, and as whom."""
    parser.add_argument("--conf", metavar="FILE", help="configuration file (default: caterva2.toml)")
    parser.add_argument("--loglevel", default="warning", help="how much to log (default: warning)")
    parser.add_argument(
        "--subscriber", "--url", type=_urlbase, metavar="URL", help="the subscriber (default: http://localhost:8002)"
    )
    parser.add_argument("--server", metavar="NAME", help="section of the configuration that names the subscriber")
    parser.add_argument("--username", metavar="NAME", help="user name (or CATERVA2_USERNAME)")
    parser.add_argument("--password", metavar="WORD", help="password (better in CATERVA2_PASSWORD)")


def _urlbase(text: str) -> str:
    try:
        return check_urlbase(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' does not start with http:// or https://") from None


def connection_of(args: argparse.Namespace) -> Connection:
    """Return the connection that was asked for, with the token that login kept where nothing else says who we are.

    Raises
    ------
    SettingsError
        If the configuration cannot be used.
    """
    connection = find_connection(
        conf=args.conf,
        server=args.server,
        urlbase=args.subscriber,
        username=args.username,
        password=args.password,
    )
    if connection.has_credentials:
        return connection
    return replace(connection, token=(_tokens.find(connection.urlbase) or {}).get("token"))


def guarded(run: Callable[[], None]) -> int:
    """Run a program and return its exit code: 0, or 1 after an error, which is reported in one line."""
    try:
        run()
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


def explain(error: Exception) -> str:
    """Return one line that says what went wrong."""
    detail = getattr(error, "detail", None)
    text = detail if isinstance(detail, str) and detail else str(error)
    if text == "Not Found" and isinstance(error, httpx.HTTPStatusError):
        # The subscriber does not say what; hidden and absent things are not told apart.
        *_, path = error.request.url.path.split("/", 3)
        text = f"{text}: {path}"
    if text == "Unauthorized":  # the word that clients of the original expect
        text = "this needs a login: cat2cli login, or --user"
    return " ".join(text.split()) or type(error).__name__


def configure_logging(level: str) -> None:
    """Log to standard error. Raises SettingsError for a level that there is not."""
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise SettingsError(f"'{level}' is not a log level: debug, info, warning, error or critical")
    logging.basicConfig(level=number, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
