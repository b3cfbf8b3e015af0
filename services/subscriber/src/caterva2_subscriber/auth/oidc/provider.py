"""The OpenID provider, seen from here: its description, its keys, and what it says about a person.

Addresses come from the administrator's settings and from the provider's own description, never from a visitor.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, KeySetSerialization

from caterva2.errors import BadRequest, Unavailable
from caterva2_service.log import get_logger

from ..settings import OidcSettings

ALGORITHMS = {"RSA": ("RS256", "PS256"), "EC": ("ES256",), "OKP": ("EdDSA",)}
"""Signatures that are accepted, by the type of the key: a key is never used for another algorithm (A7)."""
MAX_TOKEN_BYTES = 8192
MAX_ANSWER_BYTES = 2**20
LEEWAY_S = 60
TIMEOUT_S = 10.0
KNOWN_S = 3600.0
"""How long description and keys of the provider are believed."""
ASK_AGAIN_S = 10.0
"""How soon the keys are asked for again because of a key that is not known."""
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Claims:
    """What the provider says about a person."""

    issuer: str
    subject: str
    email: str | None
    email_verified: bool
    groups: tuple[str, ...] = ()


class Provider:
    """Asks one OpenID provider.

    Parameters
    ----------
    redirect_uri
        Where the provider sends people back to; made of the site's public address, never of a request.
    """

    def __init__(self, settings: OidcSettings, redirect_uri: str) -> None:
        self.issuer = settings.issuer
        self._settings = settings
        self._redirect_uri = redirect_uri
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)
        self._described: tuple[float, dict[str, Any]] | None = None
        self._keys: tuple[float, KeySet] | None = None
        self._asking = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def sign_in_url(self, *, state: str, nonce: str, verifier: str) -> str:
        """Return where a browser is sent to. Raises Unavailable."""
        about = await self._description()
        url: str = prepare_grant_uri(
            about["authorization_endpoint"],
            client_id=self._settings.client_id,
            response_type="code",
            redirect_uri=self._redirect_uri,
            scope=" ".join(self._settings.scopes),
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return url

    async def check_sender(self, issuer: str | None) -> None:
        """Refuse an answer that came from another provider (RFC 9207). Raises BadRequest, Unavailable."""
        about = await self._description()
        required = about.get("authorization_response_iss_parameter_supported") is True
        if (issuer is None and required) or (issuer is not None and issuer != self.issuer):
            raise BadRequest("The answer does not come from the identity provider of this site")

    async def claims(self, code: str, *, nonce: str, verifier: str) -> Claims:
        """Exchange a code for what the provider says about the person.

        Raises
        ------
        BadRequest
            If the code is not good (any more), or the provider's answer does not belong to it.
        Unavailable
            If the provider does not answer.
        """
        answer = await self._exchange(code, verifier)
        id_token, access_token = answer.get("id_token"), answer.get("access_token")
        if not isinstance(id_token, str) or len(id_token) > MAX_TOKEN_BYTES:
            raise _refused("no ID token that can be read")
        claims = await self._verified(id_token, nonce=nonce, access_token=access_token)
        wanted = ["email", *([self._settings.groups_claim] if self._settings.groups_claim else [])]
        if isinstance(access_token, str) and any(name not in claims for name in wanted):
            claims = {**await self._userinfo(access_token, claims["sub"]), **claims}
        return self._claims(claims)

    def _claims(self, found: Mapping[str, Any]) -> Claims:
        email, groups = found.get("email"), found.get(self._settings.groups_claim or "", ())
        return Claims(
            issuer=self.issuer,
            subject=found["sub"],
            email=email if isinstance(email, str) else None,
            email_verified=found.get("email_verified") is True,
            groups=tuple(str(group) for group in groups) if isinstance(groups, list) else (),
        )

    # --- asking ---------------------------------------------------------------------
    async def _exchange(self, code: str, verifier: str) -> dict[str, Any]:
        about = await self._description()
        secret = self._settings.secret()
        offered = about.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        method = "client_secret_basic" if "client_secret_basic" in offered else "client_secret_post"
        body = prepare_token_request(
            "authorization_code", code=code, redirect_uri=self._redirect_uri, code_verifier=verifier
        )
        auth = ClientAuth(self._settings.client_id, secret, method if secret else "none")
        url, headers, body = auth.prepare("POST", about["token_endpoint"], {"Accept": "application/json"}, body)
        form = dict(parse_qsl(body, keep_blank_values=True))
        status, answer = await self._ask("POST", url, headers=dict(headers), data=form)
        if status != 200:
            raise _refused(f"the code was answered with {str(answer.get('error', status))[:60]}")
        return answer

    async def _userinfo(self, access_token: str, subject: str) -> dict[str, Any]:
        url = (await self._description()).get("userinfo_endpoint")
        if not isinstance(url, str):
            return {}
        status, found = await self._ask("GET", url, headers={"Authorization": f"Bearer {access_token}"})
        if status != 200 or found.get("sub") != subject:
            raise _refused("what it says of the person is about somebody else")
        return found

    async def _description(self) -> dict[str, Any]:
        if self._described is not None and time.monotonic() < self._described[0] + KNOWN_S:
            return self._described[1]
        status, about = await self._ask("GET", f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        if status != 200 or about.get("issuer") != self.issuer:
            _log.error("OpenID provider is not the one of the settings", issuer=str(about.get("issuer"))[:200])
            raise _away()
        for name in _ENDPOINTS:
            self._check_endpoint(name, about.get(name))
        if "userinfo_endpoint" in about:
            self._check_endpoint("userinfo_endpoint", about["userinfo_endpoint"])
        self._described = (time.monotonic(), about)
        return about

    def _check_endpoint(self, name: str, url: object) -> None:
        scheme = urlsplit(url).scheme if isinstance(url, str) else ""
        if scheme != "https" and scheme != urlsplit(self.issuer).scheme:
            _log.error("OpenID provider describes itself wrongly", endpoint=name)
            raise _away()

    async def _key_set(self, kid: object) -> KeySet:
        """Return the provider's keys; asked for again if the one that is needed is not among them."""
        async with self._asking:
            now = time.monotonic()
            if self._keys is not None:
                age_s = now - self._keys[0]
                known = kid is None or any(key.kid == kid for key in self._keys[1].keys)
                if age_s < (KNOWN_S if known else ASK_AGAIN_S):
                    return self._keys[1]
            status, found = await self._ask("GET", (await self._description())["jwks_uri"])
            usable = [key for key in found.get("keys", ()) if isinstance(key, dict) and key.get("kty") in ALGORITHMS]
            if status != 200 or not usable:
                raise _away()
            try:
                keys = KeySet.import_key_set(KeySetSerialization(keys=usable))
            except (JoseError, ValueError, TypeError, KeyError):
                raise _away() from None
            self._keys = (now, keys)
            return keys

    async def _ask(self, method: str, url: str, **kwargs: Any) -> tuple[int, dict[str, Any]]:
        body = bytearray()
        try:
            async with asyncio.timeout(TIMEOUT_S), self._client.stream(method, url, **kwargs) as response:
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > MAX_ANSWER_BYTES:
                        raise _away()
                answer = httpx.Response(response.status_code, content=bytes(body))
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, TimeoutError) as error:
            _log.error("OpenID provider does not answer", reason=type(error).__name__)
            raise _away() from None
        try:
            found = answer.json()
        except ValueError:
            found = None
        if answer.status_code >= 500:
            raise _away()
        return answer.status_code, found if isinstance(found, dict) else {}

    # --- checking ---------------------------------------------------------------------
    async def _verified(self, id_token: str, *, nonce: str, access_token: object) -> dict[str, Any]:
        """Return the claims of an ID token that is good (A7). Raises BadRequest."""
        try:
            header = jws.extract_compact(id_token.encode()).headers()
            key = (await self._key_set(header.get("kid"))).get_by_kid(header.get("kid"))
            if header.get("typ", "JWT") != "JWT":
                raise _refused("the token is no ID token")
            decoded = jwt.decode(id_token, key, algorithms=list(ALGORITHMS[key.key_type]))
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                options={
                    "iss": {"essential": True, "value": self.issuer},
                    "aud": {"essential": True, "value": self._settings.client_id},
                    **{name: {"essential": True} for name in ("sub", "exp", "iat")},
                },
                params={"nonce": nonce, "client_id": self._settings.client_id, "access_token": access_token},
            )
            claims.validate(leeway=LEEWAY_S)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, BadRequest):
                raise
            raise _refused(f"the ID token is not valid ({type(error).__name__})") from None
        if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255:
            raise _refused("it does not say who the person is")
        return dict(claims)


def _refused(reason: str) -> BadRequest:
    _log.warning("sign-in refused", reason=reason)
    return BadRequest("The identity provider's answer is not good; please begin again")


def _away() -> Unavailable:
    return Unavailable("The identity provider does not answer as it should; try again later", retry_after_s=10)
