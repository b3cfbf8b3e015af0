"""The site's secret, from which the keys that protect logins are derived."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
from pathlib import Path

from caterva2.errors import BadRequest
from caterva2_service.address import Address
from caterva2_service.log import get_logger

MIN_LENGTH = 32
FILE_NAME = "secret"

_log = get_logger(__name__)


class Secret:
    """Keys for separate purposes, all derived from one secret."""

    def __init__(self, value: str) -> None:
        self._value = value.encode()

    def __repr__(self) -> str:
        return "Secret(...)"

    def digest(self, purpose: str, text: str) -> bytes:
        """Return the keyed hash of `text`, 32 bytes, another one for each purpose."""
        key = hmac.digest(self._value, f"caterva2:{purpose}".encode(), hashlib.sha256)
        return hmac.digest(key, text.encode(), hashlib.sha256)


def load_secret(configured: str | None, statedir: Path, listen: Address) -> Secret:
    """Return the secret that was configured, or one that is made once and kept in the state directory.

    Raises
    ------
    BadRequest
        If the configured one is easy to guess and other machines can reach the service (A19).
    """
    if configured:
        if len(configured) < MIN_LENGTH:
            if not is_loopback(listen):
                raise BadRequest(
                    f"CATERVA2_SECRET must hold at least {MIN_LENGTH} characters when the service listens beyond "
                    "this machine; leave it out and one is made"
                )
            _log.warning("CATERVA2_SECRET is short; good enough on this machine alone")
        return Secret(configured)
    return Secret(_kept(statedir / FILE_NAME))


def _kept(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        value = secrets.token_urlsafe(48)
        file.write(value + "\n")
    return value


def is_loopback(listen: Address) -> bool:
    """Tell whether only this machine can reach an address."""
    if listen.uds is not None or listen.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(listen.host or "").is_loopback
    except ValueError:
        return False
