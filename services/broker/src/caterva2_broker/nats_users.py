"""``cat2nats``: write the users of a NATS of your own, each with the rights of its part (requirement A11).

The broker's own NATS needs none of this: there the broker makes the accounts.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nkeys

from caterva2.errors import InvalidName
from caterva2.paths import SPECIAL_ROOTS, check_root
from caterva2_service.files import write_private
from caterva2_service.trust import Role

from . import __version__, nats_accounts

BROKER = "broker"
CONFIGURATION = "authorization.conf"


@dataclass(frozen=True, slots=True)
class User:
    """One user of NATS. The broker's has no role: it may do everything."""

    name: str
    role: Role | None = None
    root: str | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Write the configuration and the secrets; return the exit code."""
    options = _parser().parse_args(argv)
    users = list(_users(options.publisher, options.subscriber))
    try:
        options.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        entries = [_entry(options.directory, user, nkey=not options.passwords) for user in users]
        authorization = {"timeout": 5, "users": entries}
        text = f"authorization: {json.dumps(authorization, indent=2)}\n"
        write_private(options.directory / CONFIGURATION, text)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"cat2nats: {error}\n")
        return 1
    sys.stdout.write(f"{options.directory / CONFIGURATION}: {', '.join(user.name for user in users)}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cat2nats",
        description="Write the users of a NATS of your own: DIRECTORY/authorization.conf, to be included by its "
        "configuration, and the secret of each user, kept where there is one already. Users are 'broker', "
        "'publisher-ROOT' and 'subscriber', each with the rights of its part.",
    )
    parser.add_argument("--version", action="version", version=f"cat2nats {__version__}")
    parser.add_argument("--publisher", metavar="ROOT", action="append", default=[], type=_root, help="a root")
    parser.add_argument(
        "--subscriber",
        metavar="SITE",
        action="append",
        default=[],
        type=_root,
        help="a site whose subscribers have a user of their own, 'subscriber-SITE'",
    )
    parser.add_argument(
        "--passwords", action="store_true", help="write passwords (USER.password) instead of nkey seeds (USER.nk)"
    )
    parser.add_argument("directory", metavar="DIRECTORY", type=Path)
    return parser


def _root(text: str) -> str:
    if text in SPECIAL_ROOTS:
        raise argparse.ArgumentTypeError(f"{text} is not published")
    try:
        return check_root(text)
    except InvalidName as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _users(roots: Sequence[str], sites: Sequence[str]) -> Iterator[User]:
    yield User(BROKER)
    for root in sorted(set(roots)):
        yield User(f"publisher-{root}", Role.PUBLISHER, root)
    yield User("subscriber", Role.SUBSCRIBER)
    for site in sorted(set(sites)):
        yield User(f"subscriber-{site}", Role.SUBSCRIBER)


def _entry(directory: Path, user: User, *, nkey: bool) -> dict[str, object]:
    secret = _kept(directory / f"{user.name}.{'nk' if nkey else 'password'}", nkey=nkey)
    login: dict[str, object] = {"user": user.name, "password": secret}
    if nkey:
        login = {"nkey": nkeys.from_seed(secret.encode()).public_key.decode()}
    if user.role is None:
        return login
    return {**login, "permissions": nats_accounts.permissions(user.name, user.role, user.root)}


def _kept(path: Path, *, nkey: bool) -> str:
    """Return the secret in a file, made if there is none. Raises OSError, and ValueError for a seed that is none."""
    if not path.exists():
        # A letter first: the configuration of nats-server reads `123abc` as a number.
        made = _make_seed() if nkey else f"s{secrets.token_hex(24)}"
        write_private(path, made + "\n")
    secret = path.read_text().strip()
    if nkey:
        try:
            nkeys.from_seed(secret.encode())
        except Exception as error:  # the library raises what its decoders raise
            raise ValueError(f"{path} holds no nkey seed") from error
    return secret


def _make_seed() -> str:
    made: bytes = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
    return made.decode()


if __name__ == "__main__":
    sys.exit(main())
