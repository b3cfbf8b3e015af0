"""The programs of later releases of the original: ``cat2-server`` and ``cat2-admin``, with their options and files.

There, a server is what a subscriber without a broker is here.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated, ClassVar

from caterva2.errors import Caterva2Error
from caterva2_service import log, serve
from caterva2_service.settings import Address, Option, load_settings

from .adduser import add
from .app import create_app
from .settings import SubscriberSettings

SERVER, ADMIN = "cat2-server", "cat2-admin"
SECTION = "server"
ADDED = "User '{email}' added successfully."


class ServerSettings(SubscriberSettings):
    """Settings of a subscriber under the names, and with the defaults, of ``cat2-server``."""

    default_statedir: ClassVar[str] = "_caterva2/state"
    conf_files: ClassVar[tuple[str, ...]] = tuple(f"{where}caterva2-server.toml" for where in ("", "~/.", "/etc/"))

    http: Annotated[Address, Option("address to listen at: HOST:PORT or the path of a socket")] = Address(
        "localhost", 8000
    )
    urlbase: Annotated[str, Option("base of every generated link")] = "http://localhost:8000"


def _settings(argv: Sequence[str] | None, prog: str, description: str) -> ServerSettings:
    settings = load_settings(ServerSettings, argv, prog=prog, section=SECTION, description=description)
    log.configure(settings.loglevel)
    return settings


def server_main(argv: Sequence[str] | None = None) -> int:
    """Run a server until it is told to stop."""
    settings = _settings(argv, SERVER, "Serve people's datasets, and published roots if there is a broker.")
    return serve.run(lambda: create_app(settings), settings)


def admin_main(argv: Sequence[str] | None = None) -> int:
    """Change a server's database of people; return the exit code."""
    parser = argparse.ArgumentParser(prog=ADMIN, description="Administer a server, whether it runs or not.")
    for option in ("--conf", "--statedir", "--loglevel", "--listen"):
        parser.add_argument(option, help="as for cat2-server")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    adduser = commands.add_parser("adduser", help="add a user", description="Add a user.")
    adduser.add_argument("-S", "--superuser", action="store_true", help="make an administrator")
    adduser.add_argument("username", help="e-mail address of the user")
    adduser.add_argument("password", nargs="?", help="one is made up and shown if it is left out")
    given = parser.parse_args(argv)
    named = {name: getattr(given, name) for name in ("conf", "statedir", "loglevel", "listen")}
    options = [part for name, value in named.items() if value is not None for part in (f"--{name}", value)]
    settings = _settings(options, ADMIN, "")
    try:
        return asyncio.run(add(settings, given.username, given.password, superuser=given.superuser, said=ADDED))
    except (Caterva2Error, OSError) as error:
        print(f"{ADMIN}: {error}", file=sys.stderr)  # noqa: T201
        return 1
