"""How services know each other (requirements U10, A11, A12): a key for each, short signed tokens between them.

Every service makes an Ed25519 key in its state directory at its first start. It signs tokens of a few minutes for one
audience each: the broker, or a publisher. The broker admits services and publishes their public keys, which others
keep, so that the broker need not be up when a subscriber asks a publisher for a chunk.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

import httpx
from joserfc import jws, jwt
from joserfc.errors import ClaimError, JoseError
from joserfc.jwk import OKPKey

from caterva2.errors import NotAuthenticated, Unavailable
from caterva2.wire import HEADER_JOIN, ServiceKey

from .files import write_private
from .log import get_logger
from .settings import ServiceSettings

ALGORITHM: Literal["Ed25519"] = "Ed25519"
LIFETIME_S = 300
RENEW_S = 120
LEEWAY_S = 60
MAX_TOKEN_BYTES = 8192
REFRESH_S = 60.0
RETRY_S = 1.0
BROKER = "broker"
"""Audience of tokens for the broker."""

log = get_logger("caterva2.trust")


class Role(StrEnum):
    """What a service is."""

    PUBLISHER = "publisher"
    SUBSCRIBER = "subscriber"


def audience_of(address: str) -> str:
    """Return the audience of tokens for the publisher that is registered with this address."""
    return f"publisher:{address}"


@dataclass(frozen=True, slots=True)
class Caller:
    """A service that has shown who it is."""

    key: ServiceKey
    digest: str | None = None
    """SHA-256 of the body that its token was signed for, in hexadecimal digits."""
    seq: int | None = None
    """Number of that signature: larger than those of all signatures before."""

    @property
    def kid(self) -> str:
        """Identity of the service: the thumbprint of its key."""
        return self.key.kid


class Identity:
    """The key of this service."""

    def __init__(self, key: OKPKey, role: Role, join_token: str | None = None) -> None:
        self._key = key
        self.role = role
        self._join_token = join_token
        self._tokens: dict[str, tuple[float, str]] = {}
        self._seq = 0

    @classmethod
    def of(cls, settings: ServiceSettings, role: Role) -> Self:
        """Load the key of the service with these settings, or make it. Raises OSError."""
        path = settings.statedir / "identity.key"
        try:
            key = OKPKey.import_key(json.loads(path.read_text()))
        except FileNotFoundError:
            key = OKPKey.generate_key(ALGORITHM)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private(path, json.dumps(key.as_dict(private=True)))
        return cls(key, role, settings.join_secret())

    @property
    def public(self) -> ServiceKey:
        """What others know of this service."""
        jwk = {name: str(value) for name, value in self._key.as_dict(private=False).items()}
        return ServiceKey(kid=self._key.thumbprint(), role=self.role.value, jwk=jwk)

    def token(self, audience: str) -> str:
        """Return a token for `audience` that is good for some minutes."""
        now = time.time()
        made, token = self._tokens.get(audience, (0.0, ""))
        if not made <= now < made + RENEW_S:
            token = self._sign(audience, int(now))
            self._tokens[audience] = (now, token)
        return token

    def token_for(self, audience: str, body: bytes) -> str:
        """Return a token that is good for one body alone: an announcement that nobody can change on its way (U10)."""
        self._seq = max(self._seq + 1, time.time_ns())
        return self._sign(audience, int(time.time()), digest=digest_of(body), seq=self._seq)

    def _sign(self, audience: str, now: int, **more: str | int) -> str:
        public = self.public
        header: dict[str, Any] = {"alg": ALGORITHM, "kid": public.kid, "typ": "JWT"}
        if audience == BROKER:
            header["jwk"] = public.jwk  # the broker may see this key for the first time
        claims = {"iss": public.kid, "sub": public.kid, "aud": audience, "role": public.role, "iat": now, **more}
        return jwt.encode(header, {**claims, "exp": now + LIFETIME_S}, self._key, algorithms=[ALGORITHM])

    def auth(self, audience: str) -> httpx.Auth:
        """Return what signs every request of an HTTP client."""
        return _Signed(self, audience)


class _Signed(httpx.Auth):
    requires_request_body = True

    def __init__(self, identity: Identity, audience: str) -> None:
        self._identity = identity
        self._audience = audience

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign one request."""
        announces = self._audience == BROKER and request.content
        token = self._identity.token_for(BROKER, request.content) if announces else self._identity.token(self._audience)
        request.headers["Authorization"] = f"Bearer {token}"
        join_token = self._identity._join_token
        if self._audience == BROKER and join_token:
            request.headers[HEADER_JOIN] = join_token
        yield request


# --- checking ---------------------------------------------------------------------
def bearer(authorization: str | None) -> str | None:
    """Return the token of an ``Authorization`` header, None if there is none."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def claimed_key(token: str) -> ServiceKey:
    """Return who a token claims to come from; nothing of it is checked yet. Raises NotAuthenticated."""
    header = _header(token)
    kid, jwk = header.get("kid"), header.get("jwk")
    if not isinstance(kid, str):
        raise NotAuthenticated("the service token names no key")
    shown = {str(name): str(value) for name, value in jwk.items()} if isinstance(jwk, dict) else {}
    return ServiceKey(kid=kid, role="", jwk=shown)


def check(token: str, key: ServiceKey, *, audience: str) -> Caller:
    """Check that `token` was signed by `key` for `audience`, not long ago.

    Raises
    ------
    NotAuthenticated
        With a sentence that says what is wrong.
    """
    try:
        public = OKPKey.import_key(dict(key.jwk))
        if public.is_private or public.thumbprint() != key.kid:
            raise NotAuthenticated("the service token names another key than it shows")
        decoded = jwt.decode(token, public, algorithms=[ALGORITHM])
        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": key.kid},
            sub={"essential": True, "value": key.kid},
            aud={"essential": True, "value": audience},
            role={"essential": True},
            iat={"essential": True},
            exp={"essential": True},
        )
        registry.validate(decoded.claims)
    except JoseError as error:
        raise NotAuthenticated(f"the service token is not valid: {_why(error)}") from None
    except (ValueError, TypeError, KeyError):
        raise NotAuthenticated("the service token is not valid") from None
    claims = decoded.claims
    if claims["exp"] - claims["iat"] > 2 * LIFETIME_S:
        raise NotAuthenticated("the service token lives too long")
    if key.role and claims["role"] != key.role:
        raise NotAuthenticated("the service token claims another role than its key has")
    digest, seq = claims.get("digest"), claims.get("seq")
    return Caller(
        key.model_copy(update={"role": str(claims["role"])}),
        digest if isinstance(digest, str) else None,
        seq if isinstance(seq, int) else None,
    )


def digest_of(body: bytes) -> str:
    """Return the digest that a token for one body names."""
    return hashlib.sha256(body).hexdigest()


def _header(token: str) -> dict[str, Any]:
    if len(token) > MAX_TOKEN_BYTES:
        raise NotAuthenticated("the service token is too long")
    try:
        return dict(jws.extract_compact(token.encode()).headers())
    except (JoseError, ValueError):
        raise NotAuthenticated("the service token is not valid") from None


def _why(error: JoseError) -> str:
    if isinstance(error, ClaimError) and error.claim in ("exp", "iat"):
        return "it is not good at this time; are the clocks of both machines right?"
    return str(error.description or error.error)


def same_secret(given: str | None, expected: str) -> bool:
    """Compare secrets without telling by the time it takes."""
    return given is not None and hmac.compare_digest(given.encode(), expected.encode())


class Keyring:
    """Public keys of the services that the broker admitted, kept in a file for when it is down.

    Parameters
    ----------
    fetch
        Asks the broker for all keys; raises Unavailable.
    """

    def __init__(self, path: Path, fetch: Callable[[], Awaitable[Iterable[ServiceKey]]]) -> None:
        self._path = path
        self._fetch = fetch
        self._keys: dict[str, ServiceKey] = {}
        self._asked = -REFRESH_S
        self._lock = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None
        with contextlib.suppress(OSError, ValueError):
            self._keys = {key["kid"]: ServiceKey.model_validate(key) for key in json.loads(path.read_text())}

    async def verify(self, token: str | None, *, audience: str, role: Role) -> Caller:
        """Check the token of a service that must have `role`.

        Raises
        ------
        NotAuthenticated
        Unavailable
            If its key is not known and the broker cannot be asked.
        """
        if token is None:
            raise NotAuthenticated("this is for services that the broker has admitted: a service token is needed")
        key = await self._find(claimed_key(token).kid)
        if key is None or key.role != role:
            raise NotAuthenticated(f"the broker has admitted no such {role}")
        return check(token, key, audience=audience)

    async def _find(self, kid: str) -> ServiceKey | None:
        age_s = time.monotonic() - self._asked
        if kid in self._keys:
            if age_s > REFRESH_S and (self._refreshing is None or self._refreshing.done()):
                self._refreshing = asyncio.create_task(self._refresh_quietly())
            return self._keys[kid]
        # One that was admitted just now must not be refused because another had us ask a moment ago.
        await asyncio.sleep(max(0.0, RETRY_S - age_s))
        await self._refresh()
        return self._keys.get(kid)

    async def _refresh_quietly(self) -> None:
        with contextlib.suppress(Unavailable):
            await self._refresh()

    async def _refresh(self) -> None:
        async with self._lock:
            if time.monotonic() - self._asked <= RETRY_S:
                return
            fresh = {key.kid: key for key in await self._fetch()}
            self._asked = time.monotonic()
            if fresh != self._keys:
                self._keys = fresh
                text = json.dumps([key.model_dump() for key in fresh.values()])
                await asyncio.to_thread(write_private, self._path, text)

    async def close(self) -> None:
        """End what runs in the background."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refreshing
