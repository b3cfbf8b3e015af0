"""Which new passwords are accepted (A1): long ones that are on no list of what people use everywhere."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Protocol

from caterva2.errors import BadRequest, WeakPassword

from .settings import PasswordSettings

MAX_LENGTH = 128
GIVEN_LENGTH = 8
"""Shortest password that an administrator may give to somebody, as scripts written for the original do."""
MAX_LIST_BYTES = 64 * 2**20
"""Largest list of passwords in plain text; lists of hashes are searched on disk and may have any size."""
_HASHED = re.compile(rb"[0-9A-Fa-f]{40}(?::\d+)?\r?\n?\Z")
_LONGEST_LINE = 128

_COMMON = frozenset(
    """
    abc access account adgjmptw admin administrator adobe alexander amanda andrew angel anthony asdf asdfgh
    asdfghjkl ashley austin baseball batman biteme blink buster caterva changeme charlie cheese chelsea
    chocolate computer cookie daniel default diamond dragon facebook flower football freedom fuckyou george
    ginger google guest hannah harley hello hunter iloveyou internet jennifer jessica jordan joshua justin
    killer lakers letmein liverpool login london lovely maggie master matthew maverick michael michelle monkey
    mustang nicole ninja oracle orange pa$$w0rd passw0rd password pepper photoshop pokemon princess purple
    qazwsx qwert qwerty qwertyuiop ranger robert root samsung secret shadow soccer starwars summer sunshine
    superman system taylor test testing thomas trustno tigger user welcome whatever william winter yankees zaq
    zxcvbnm
    """.split()  # noqa: SIM905 - a list would take a line for each word
)
"""Words that people begin a password with and lengthen by digits and signs."""
_ROWS = (
    "0123456789",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "1q2w3e4r5t6y7u8i9o0p",
    "1qaz2wsx3edc4rfv",
)
_TAIL = re.compile(r"[\d\W_]+\Z")


class Breached(Protocol):
    """A list of passwords that are known to attackers."""

    def holds(self, password: str) -> bool:
        """Tell whether a password is on the list. Blocks."""
        ...


class PlainList:
    """A list of passwords in plain text, one a line."""

    def __init__(self, content: bytes) -> None:
        self._known = frozenset(line.strip() for line in content.splitlines() if line.strip())

    def holds(self, password: str) -> bool:
        """Tell whether a password is on the list, in the case it has there or in lower case."""
        return password.encode() in self._known or password.lower().encode() in self._known


class HashedList:
    """A sorted list of SHA-1 hashes, as Have I Been Pwned gives it out, searched on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def holds(self, password: str) -> bool:
        """Tell whether the hash of a password is on the list."""
        wanted = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper().encode()
        with self._path.open("rb") as file:
            low, high = 0, os.fstat(file.fileno()).st_size
            while low < high:
                middle = (low + high) // 2
                file.seek(max(0, middle - 1))
                if middle:
                    file.readline(_LONGEST_LINE)  # the rest of the line that `middle` is in
                line = file.readline(_LONGEST_LINE)[:40].upper()
                if line == wanted:
                    return True
                if line and line < wanted:
                    low = middle + 1
                else:
                    high = middle
        return False


class PasswordRules:
    """The rules of one site."""

    def __init__(self, min_length: int, breached: Breached | None = None) -> None:
        self.min_length = min_length
        self._breached = breached

    @classmethod
    def of(cls, settings: PasswordSettings) -> PasswordRules:
        """Return the rules of these settings. Raises BadRequest if the list cannot be read."""
        return cls(settings.min_length, None if settings.breached is None else open_list(settings.breached))

    def check(self, password: str, email: str, *, given: bool = False) -> None:
        """Refuse passwords that are easy to guess.

        Parameters
        ----------
        given
            Whether an administrator gives it to somebody, who may choose another one.

        Raises
        ------
        WeakPassword
        """
        shortest = min(GIVEN_LENGTH, self.min_length) if given else self.min_length
        if len(password) < shortest:
            raise WeakPassword(f"Password should be at least {shortest} characters")
        if len(password) > MAX_LENGTH:
            raise WeakPassword(f"Password should be at most {MAX_LENGTH} characters")
        if email and password.lower() in (email.lower(), email.partition("@")[0].lower()):
            raise WeakPassword("Password should not contain e-mail")
        if len(set(password)) < 3 or _repeats(password):
            raise WeakPassword("Password should not repeat the same few characters")
        if is_common(password) or (self._breached is not None and self._breached.holds(password)):
            raise WeakPassword("Password is on a list of those that attackers try first")


def open_list(path: Path) -> Breached:
    """Return the list in a file: hashes in order, or passwords in plain text. Raises BadRequest."""
    try:
        with path.open("rb") as file:
            if _HASHED.match(file.readline(_LONGEST_LINE)):
                return HashedList(path)
            file.seek(0)
            content = file.read(MAX_LIST_BYTES + 1)
    except OSError as error:
        raise BadRequest(f"auth.passwords.breached: {path} cannot be read ({error.strerror})") from None
    if len(content) > MAX_LIST_BYTES:
        raise BadRequest(f"auth.passwords.breached: {path} is too large for plain text; use the list of SHA-1 hashes")
    return PlainList(content)


def is_common(password: str) -> bool:
    """Tell whether a password is a common word with digits and signs behind it, or a run along the keyboard."""
    lowered = password.lower()
    if _TAIL.sub("", lowered) in _COMMON:
        return True
    return any(lowered in (row * 3) or lowered[::-1] in (row * 3) for row in _ROWS)


def _repeats(password: str) -> bool:
    return any(password == (password[:n] * len(password))[: len(password)] for n in range(1, 5))
