"""Passwords: which are accepted, how they are kept (argon2id, A1) and compared."""

from __future__ import annotations

import secrets
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from caterva2.errors import WeakPassword
from caterva2_service.threads import Threads

MIN_LENGTH = 8
MAX_LENGTH = 128
MEMORY_KIB = 47104
"""One pass over 46 MiB: the OWASP minimum for a single lane."""
THREADS = 2
"""Hashes computed at once: each takes a core and `MEMORY_KIB`, so that logins cannot exhaust a machine."""


class Passwords:
    """Hashes passwords away from the event loop."""

    def __init__(self) -> None:
        self._threads = Threads(THREADS, name="password")
        self._hasher = PasswordHasher(time_cost=1, memory_cost=MEMORY_KIB, parallelism=1)
        self._dummy: str | None = None

    def close(self) -> None:
        """Give back the threads."""
        self._threads.close()

    async def hash(self, password: str) -> str:
        """Return the argon2id hash of a password that `check_password` accepted."""
        return await self._threads.run(self._hasher.hash, normalize(password))

    async def verify(self, hashed: str | None, password: str) -> bool:
        """Compare a password with its hash; without one it takes as long, so that nobody learns who has an account."""
        return await self._threads.run(self._verify, hashed, password[: MAX_LENGTH + 1])

    def _verify(self, hashed: str | None, password: str) -> bool:
        if self._dummy is None:
            self._dummy = self._hasher.hash(secrets.token_urlsafe())
        try:
            return self._hasher.verify(hashed or self._dummy, normalize(password)) and hashed is not None
        except (VerificationError, InvalidHashError):
            return False

    def outdated(self, hashed: str) -> bool:
        """Tell whether a hash was made with other parameters than those in use."""
        return self._hasher.check_needs_rehash(hashed)


def normalize(password: str) -> str:
    """Return the form of a password that is hashed: the same however the keyboard composed its characters."""
    return unicodedata.normalize("NFC", password)


def check_password(password: str, email: str) -> None:
    """Refuse passwords that are easy to guess. Raises WeakPassword."""
    if len(password) < MIN_LENGTH:
        raise WeakPassword(f"Password should be at least {MIN_LENGTH} characters")
    if len(password) > MAX_LENGTH:
        raise WeakPassword(f"Password should be at most {MAX_LENGTH} characters")
    if email and password.lower() in (email.lower(), email.partition("@")[0].lower()):
        raise WeakPassword("Password should not contain e-mail")
    if len(set(password)) < 3:
        raise WeakPassword("Password should hold at least 3 different characters")


def generate_password() -> str:
    """Return a password that nobody can guess."""
    return secrets.token_urlsafe(12)
