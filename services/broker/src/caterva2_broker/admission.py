"""Which services the broker admits (requirement U10), and the account that each gets on the broker's own NATS."""

from __future__ import annotations

import ipaddress
import json
import secrets
import sqlite3
import time
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from starlette.requests import Request

from caterva2.errors import NotAuthenticated, NotFound, PermissionDenied
from caterva2.wire import HEADER_JOIN, ServiceKey
from caterva2_service.address import Address
from caterva2_service.files import write_private
from caterva2_service.log import get_logger
from caterva2_service.trust import BROKER, Caller, Role, bearer, check, claimed_key, digest_of, same_secret

from .settings import BrokerSettings

_SCHEMA = """
CREATE TABLE IF NOT EXISTS services (
    kid TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    jwk TEXT NOT NULL,
    root TEXT,
    password TEXT NOT NULL,
    admitted REAL NOT NULL
)
"""

ANYBODY = "*"
"""Stands in ``[broker.allow]`` for every publisher that is admitted."""

log = get_logger("caterva2.admission")


def accepted(settings: BrokerSettings) -> str:
    """Say in one sentence who may publish what at a broker with these settings."""
    who = "whoever shows the join token"
    if settings.trust_loopback:
        who += " or runs on this machine"
    if not settings.allow:
        return f"{who} may publish any root that nobody else holds; [broker.allow] says which, and by whom"
    listed = len(settings.allow.keys() - {ANYBODY})
    keys = f"{listed} listed key{'' if listed == 1 else 's'}"
    if ANYBODY not in settings.allow:
        return f"{keys} may publish, nobody else"
    sentence = f"{who} may publish {', '.join(settings.allow[ANYBODY])}"
    return f"{sentence}, and {keys} what the list says" if listed else sentence


@dataclass(frozen=True, slots=True)
class Account:
    """What a service may do on the broker's NATS."""

    user: str
    password: str
    role: Role
    root: str | None
    """The root whose events a publisher may publish; None as long as it has none."""


class Admission:
    """The services that are known, in SQLite. Methods take milliseconds and run on the event loop."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self.changes = 0
        """Number of changes of the services and their roots since the start."""
        self._db = sqlite3.connect(settings.statedir / "services.sqlite", isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(_SCHEMA)
        self._announced: dict[str, int] = {}
        self._admin_token = kept_secret(settings.statedir / "admin.token", None)
        self._join_token = kept_secret(settings.statedir / "join.token", settings.join_secret())

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    # --- who asks ---------------------------------------------------------------------
    def is_admin(self, request: Request) -> bool:
        """Tell whether a request comes with the token of administrators."""
        return same_secret(bearer(request.headers.get("authorization")), self._admin_token)

    def caller(self, request: Request) -> Caller | None:
        """Return the service that sent a request, admitting it if it may join; None if it shows no key.

        Raises
        ------
        NotAuthenticated
            If its token is not valid, or it is not known and may not join.
        """
        token = bearer(request.headers.get("authorization"))
        if token is None or same_secret(token, self._admin_token):
            return None
        claimed = claimed_key(token)
        known = self._row(claimed.kid)
        if known is not None:
            return check(token, _key(known), audience=BROKER)
        caller = check(token, claimed, audience=BROKER)
        if caller.key.role not in set(Role):
            raise NotAuthenticated(f"there is no role '{caller.key.role[:40]}'")
        if not self.may_join(request):
            raise NotAuthenticated(
                "this broker does not know this service: give it the join token of the broker "
                "(file join.token in its state directory) as CATERVA2_JOIN_TOKEN or CATERVA2_JOIN_TOKEN_FILE"
            )
        self._admit(caller)
        return caller

    def may_join(self, request: Request) -> bool:
        """Tell whether a service that is not known may join: it knows the join token, or is on this machine."""
        given = request.headers.get(HEADER_JOIN)
        if given is not None:
            return same_secret(given, self._join_token)
        return self.is_local(request)

    def may_announce_unsigned(self, request: Request) -> bool:
        """Tell whether a program without a key may publish, as those of the original do: where no key is listed."""
        return not self._settings.allow and not self._settings.addresses and self.may_join(request)

    def is_local(self, request: Request) -> bool:
        """Tell whether a request comes from a program on this machine that is trusted for that."""
        return self._settings.trust_loopback and _is_local(request)

    def check_root(self, caller: Caller, root: str) -> None:
        """Check that a publisher may publish `root`. Raises PermissionDenied."""
        if caller.key.role != Role.PUBLISHER:
            raise PermissionDenied("only publishers publish roots")
        allowed = self._settings.allow
        patterns = (*allowed.get(caller.kid, ()), *allowed.get(ANYBODY, ()))
        if allowed and not any(fnmatchcase(root, pattern) for pattern in patterns):
            raise PermissionDenied(
                f"the publisher with key {caller.kid} may not publish root '{root}'; "
                f"an administrator of the broker allows it in [broker.allow]"
            )

    def check_announcement(self, caller: Caller, body: bytes, address: Address) -> None:
        """Check that a publisher signed what it announces, after all that it announced before, and may be there (U10).

        Raises
        ------
        NotAuthenticated
            If the signature is for something else, or an older one.
        PermissionDenied
            If an administrator keeps the publisher to other addresses.
        """
        if caller.digest is None or caller.seq is None or not same_secret(caller.digest, digest_of(body)):
            raise NotAuthenticated("the announcement is not signed, or was changed on its way")
        if caller.seq <= self._announced.get(caller.kid, 0):
            raise NotAuthenticated("the announcement is older than the last one; are two publishers using one key?")
        allowed = self._settings.addresses
        if allowed and not any(_covers(entry, address) for entry in allowed.get(caller.kid, ())):
            raise PermissionDenied(
                f"the publisher with key {caller.kid} may not be at {address}; "
                f"an administrator of the broker allows it in [broker.addresses]"
            )
        self._announced[caller.kid] = caller.seq

    # --- services ---------------------------------------------------------------------
    def _admit(self, caller: Caller) -> None:
        values = (caller.kid, caller.key.role, json.dumps(caller.key.jwk), secrets.token_urlsafe(32), time.time())
        self._db.execute("INSERT INTO services (kid, role, jwk, password, admitted) VALUES (?, ?, ?, ?, ?)", values)
        self.changes += 1
        log.info("service admitted", kid=caller.kid, role=caller.key.role)

    def give_root(self, caller: Caller, root: str) -> None:
        """Let the account of a publisher, and of no other, publish the events of `root`."""
        taken = self._db.execute("UPDATE services SET root = NULL WHERE root = ? AND kid != ?", (root, caller.kid))
        query = "UPDATE services SET root = ? WHERE kid = ? AND root IS NOT ?"
        given = self._db.execute(query, (root, caller.kid, root))
        self.changes += taken.rowcount + given.rowcount

    def revoke(self, kid: str) -> None:
        """Forget a service: its tokens and its account are worth nothing any more. Raises NotFound."""
        if self._db.execute("DELETE FROM services WHERE kid = ?", (kid,)).rowcount == 0:
            raise NotFound("no service has this key")
        self._announced.pop(kid, None)
        self.changes += 1
        log.warning("service revoked", kid=kid)

    def keys(self) -> list[ServiceKey]:
        """Return the public keys of all services."""
        return [_key(row) for row in self._db.execute("SELECT * FROM services ORDER BY admitted")]

    def accounts(self) -> list[Account]:
        """Return the NATS accounts of all services."""
        return [_account(row) for row in self._db.execute("SELECT * FROM services ORDER BY admitted")]

    def account(self, caller: Caller) -> Account:
        """Return the NATS account of a service that is admitted."""
        row = self._row(caller.kid)
        assert row is not None
        return _account(row)

    def _row(self, kid: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._db.execute("SELECT * FROM services WHERE kid = ?", (kid,)).fetchone()
        return row


def _key(row: sqlite3.Row) -> ServiceKey:
    return ServiceKey(kid=row["kid"], role=row["role"], jwk=json.loads(row["jwk"]))


def _account(row: sqlite3.Row) -> Account:
    return Account(user=row["kid"], password=row["password"], role=Role(row["role"]), root=row["root"])


def _covers(entry: str, address: Address) -> bool:
    """Tell whether an entry of the settings, a host or a host with a port, means an address."""
    if address.uds is not None or "/" in entry.removeprefix("https://") or ":" in entry.rpartition("]")[2]:
        return Address.parse(entry) == address
    return entry.strip("[]").lower() == address.host.lower()


def _is_local(request: Request) -> bool:
    if request.client is None or not request.client.host:
        return True  # a Unix socket
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def kept_secret(path: Path, given: str | None) -> str:
    """Return a secret: the one that was given, or the one in the file, made at the first start."""
    if given is not None:
        return given
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        made = secrets.token_urlsafe(32)
        write_private(path, made + "\n")
        return made
