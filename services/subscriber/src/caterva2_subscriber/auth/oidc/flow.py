"""One attempt to sign in, bound to the browser that began it.

The browser keeps a signed cookie with a random value; state, nonce and PKCE verifier are derived from that value by
keys that only the site has. So nothing is stored before somebody comes back from the provider, and whoever comes
back without the cookie, or with another's state, is refused.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from caterva2.errors import BadRequest

from ..secret import Secret

LIFETIME_S = 600
MAX_NEXT = 2000
_MAX_COOKIE = 4096
OVER = "This attempt to sign in is over or was begun in another browser; please begin again"


@dataclass(frozen=True, slots=True)
class Flow:
    """An attempt to sign in."""

    value: str
    """256 random bits that only this browser has."""
    begun_at: int
    next: str = ""
    """Where the person goes afterwards: a path below the site's base, without a slash at its beginning."""
    user_id: UUID | None = None
    """Whose account the identity shall be linked to, where somebody who is logged in asked for that."""

    @classmethod
    def begin(cls, next_path: str = "", user_id: UUID | None = None) -> Flow:
        """Begin an attempt. Raises BadRequest if `next_path` would lead elsewhere."""
        return cls(secrets.token_urlsafe(32), int(time.time()), check_next(next_path), user_id)

    def derived(self, secret: Secret, purpose: str) -> str:
        """Return the ``state``, ``nonce`` or ``verifier`` of this attempt: 43 characters that are safe in URLs."""
        return _encode(secret.digest(f"oidc {purpose}", self.value))

    def cookie(self, secret: Secret) -> str:
        """Return the value of the cookie that binds the attempt to a browser."""
        facts = {"v": self.value, "t": self.begun_at, "n": self.next, "u": str(self.user_id or "")}
        body = _encode(json.dumps(facts).encode())
        return f"{body}.{_encode(secret.digest('oidc cookie', body))}"

    @classmethod
    def of_cookie(cls, secret: Secret, cookie: str | None) -> Flow:
        """Return the attempt that this browser began. Raises BadRequest if there is none, or it began too long ago."""
        body, _, signature = (cookie or "").partition(".")
        if len(body) > _MAX_COOKIE or not _same(signature, _encode(secret.digest("oidc cookie", body))):
            raise BadRequest(OVER)
        facts: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        if not 0 <= time.time() - facts["t"] <= LIFETIME_S:
            raise BadRequest(OVER)
        return cls(facts["v"], facts["t"], facts["n"], UUID(facts["u"]) if facts["u"] else None)

    def check_state(self, secret: Secret, state: str) -> None:
        """Refuse an answer of the provider to another attempt. Raises BadRequest."""
        if not _same(state, self.derived(secret, "state")):
            raise BadRequest(OVER)


def check_next(path: str) -> str:
    """Return a path below the site's base; anything that a browser could take for another site is refused.

    Raises
    ------
    BadRequest
    """
    plain = path.isascii() and path.isprintable() and "\\" not in path and len(path) <= MAX_NEXT
    if not plain or path.startswith("//") or ":" in path.partition("/")[0].partition("?")[0]:
        raise BadRequest("'next' must be a path of this site")
    return path.removeprefix("/")


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
