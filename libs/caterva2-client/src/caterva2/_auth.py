"""How a client says who it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class BasicAuth:
    """A user name (an e-mail address) and a password."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __bool__(self) -> bool:
        return bool(self.username and self.password)


@dataclass(frozen=True)
class TokenAuth:
    """An API token, sent with each request: what programs use in place of a password."""

    token: str = field(repr=False)

    def __bool__(self) -> bool:
        return bool(self.token)


Auth = BasicAuth | TokenAuth | tuple[str | None, str | None] | None


def check_auth(auth: Any) -> BasicAuth | TokenAuth | None:
    """Return the credentials, or None where they are incomplete: then the client is anonymous.

    Raises
    ------
    ValueError
        If `auth` is not a way to authenticate.
    """
    if auth is None:
        return None
    if isinstance(auth, BasicAuth | TokenAuth):
        return auth or None
    if isinstance(auth, tuple) and len(auth) == 2:
        return BasicAuth(*auth) or None
    raise ValueError("auth must be BasicAuth or a tuple (username, password)")
