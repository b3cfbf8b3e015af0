"""Passwords: how they are kept (argon2id, A1) and compared. Which are accepted is said by `password_rules`."""

from __future__ import annotations

import secrets
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from caterva2_service.threads import Threads

from .password_rules import MAX_LENGTH, PasswordRules

MEMORY_KIB = 47104
"""One pass over 46 MiB: the OWASP minimum for a single lane."""
THREADS = 2
"""Hashes computed at once: each takes a core and `MEMORY_KIB`, so that logins cannot exhaust a machine."""


class Passwords:
    """Checks and hashes passwords away from the event loop."""

    def __init__(self, rules: PasswordRules) -> None:
        self._rules = rules
        self._threads = Threads(THREADS, name="password")
        self._hasher = PasswordHasher(time_cost=1, memory_cost=MEMORY_KIB, parallelism=1)
        self._dummy: str | None = None

    def close(self) -> None:
        """Give back the threads."""
        self._threads.close()

    async def check(self, password: str, email: str, *, given: bool = False) -> None:
        """Refuse a new password that is easy to guess; `PasswordRules.check` says which. Raises WeakPassword."""
        await self._threads.run(self._rules.check, normalize(password), email, given=given)

    async def hash(self, password: str) -> str:
        """Return the argon2id hash of a password that `check` accepted."""
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


def generate_password() -> str:
    """Return a password that nobody can guess."""
    return secrets.token_urlsafe(12)
