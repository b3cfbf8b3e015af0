"""A small OpenID provider on loopback, which can be told to answer wrongly.

Everybody who is sent there is signed in at once as `Provider.person`.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT, CLIENT_SECRET = "caterva2", "the secret of the client"
Key = RSAKey | ECKey | OKPKey


def make_key(kid: str = "one", kind: str = "EC") -> Key:
    """Return a new signing key."""
    options = {"kid": kid}
    if kind == "RSA":
        return RSAKey.generate_key(2048, options)
    return OKPKey.generate_key("Ed25519", options) if kind == "OKP" else ECKey.generate_key("P-256", options)


@dataclass
class Provider:
    """What the provider knows, and how it misbehaves."""

    issuer: str
    key: Key = field(default_factory=make_key)
    algorithm: str = "ES256"
    person: dict[str, Any] = field(default_factory=lambda: {"sub": "ada-1"})
    """Claims of whoever signs in."""
    in_userinfo: dict[str, Any] = field(default_factory=dict)
    claims: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
    """Changes the claims of an ID token before it is signed."""
    header: dict[str, Any] = field(default_factory=dict)
    sign_with: Key | None = None
    redirect: dict[str, str] = field(default_factory=dict)
    """Changes parameters of the way back; an empty text leaves one out."""
    description: dict[str, Any] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    """Parameters of the authorization requests."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    exchanged: list[str] = field(default_factory=list)

    def app(self) -> Starlette:
        """Return the provider as an application."""
        routes = [
            Route("/.well-known/openid-configuration", self._describe),
            Route("/authorize", self._authorize),
            Route("/token", self._token, methods=["POST"]),
            Route("/jwks", self._jwks),
            Route("/userinfo", self._userinfo),
        ]
        return Starlette(routes=routes)

    async def _describe(self, _request: Request) -> Response:
        about = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "authorization_response_iss_parameter_supported": True,
        }
        return JSONResponse({**about, **self.description})

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        self.asked.append(asked)
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        answer = {"code": code, "state": asked["state"], "iss": self.issuer, **self.redirect}
        query = urlencode({name: value for name, value in answer.items() if value})
        return RedirectResponse(f"{asked['redirect_uri']}?{query}", 302)

    async def _token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        self.exchanged.append(form.get("code", ""))
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        basic = base64.b64encode(f"{CLIENT}:{CLIENT_SECRET.replace(' ', '+')}".encode()).decode()
        plain = base64.b64encode(f"{CLIENT}:{CLIENT_SECRET}".encode()).decode()
        if request.headers.get("authorization") not in (f"Basic {basic}", f"Basic {plain}"):
            return JSONResponse({"error": "invalid_client"}, 401)
        if asked is None or challenge != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        header = {"alg": self.algorithm, "kid": self.key.kid, **self.header}
        claims = self.claims({**claims, **self.person})
        if header["alg"] == "none":
            parts = [base64.urlsafe_b64encode(jsonb(part)).rstrip(b"=").decode() for part in (header, claims)]
            id_token = ".".join([*parts, ""])
        else:
            id_token = jwt.encode(header, claims, self.sign_with or self.key, algorithms=[header["alg"]])
        return JSONResponse({"access_token": "opaque", "token_type": "Bearer", "id_token": id_token})

    async def _jwks(self, _request: Request) -> Response:
        return JSONResponse({"keys": [{**self.key.as_dict(private=False), "use": "sig"}]})

    async def _userinfo(self, request: Request) -> Response:
        if request.headers.get("authorization") != "Bearer opaque":
            return JSONResponse({"error": "invalid_token"}, 401)
        return JSONResponse({"sub": self.person["sub"], **self.in_userinfo})


def jsonb(value: Any) -> bytes:
    """Return a value as JSON."""
    return JSONResponse(value).body


@contextmanager
def run_provider() -> Iterator[Provider]:
    """Serve a provider in a thread for as long as the block lasts."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        provider = Provider(f"http://127.0.0.1:{listening.getsockname()[1]}")
        server = uvicorn.Server(uvicorn.Config(provider.app(), log_level="critical", timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield provider
        finally:
            server.should_exit = True
            thread.join(20)
