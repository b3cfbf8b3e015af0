"""Sections of the configuration that concern logins."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator


class MailSettings(BaseModel):
    """Section ``[mail]``: how mails to users leave.

    Without `host` they are put into ``mail/`` of the state directory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str | None = None
    port: int = Field(default=587, ge=1, le=65535)
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    tls_ca: Path | None = None
    """Certificate authority of the server, where it is not one of the system's."""
    sender: str = "noreply@localhost"

    def secret(self) -> str | None:
        """Return the password, read from its file if it is in one."""
        if self.password_file is not None:
            return self.password_file.read_text(encoding="utf-8").strip()
        return self.password.get_secret_value() if self.password else None


class OidcSettings(BaseModel):
    """Section ``[auth.oidc]``: an OpenID provider by which people sign in (A9)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str
    """Exactly as the provider writes it; below it is ``/.well-known/openid-configuration``."""
    client_id: str = Field(min_length=1)
    client_secret: SecretStr | None = None
    client_secret_file: Path | None = None
    """Without a secret the site is a public client: PKCE alone protects the code."""
    name: str = Field(default="your institution", min_length=1, max_length=60)
    """What the button says after "Sign in with"."""
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    accounts: bool = True
    """Whether who signs in for the first time gets an account."""
    domains: tuple[str, ...] = ()
    """Domains of the mail addresses that get one; empty for any that the provider verified."""
    groups_claim: str | None = None
    """Claim that lists a person's groups; without one, groups are none of the provider's business."""
    groups: dict[str, str] = Field(default_factory=dict)
    """Group of this site for each value of the claim. Where it is empty, values are names of groups."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        parts = urlsplit(self.issuer)
        loopback = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if not parts.hostname or parts.scheme not in ("https", "http") or parts.query or parts.fragment:
            raise ValueError(f"issuer '{self.issuer}' must be the https:// address of an OpenID provider")
        if parts.scheme == "http" and not loopback:
            raise ValueError(f"issuer '{self.issuer}' must begin with https:// unless it is on this machine")
        if "openid" not in self.scopes:
            raise ValueError("scopes must hold 'openid'")
        return self

    def secret(self) -> str | None:
        """Return the client's secret, read from its file if it is in one. Raises OSError."""
        if self.client_secret_file is not None:
            return self.client_secret_file.read_text(encoding="utf-8").strip()
        return self.client_secret.get_secret_value() if self.client_secret else None


class PasswordSettings(BaseModel):
    """Section ``[auth.passwords]``: which new passwords are accepted; those that exist go on working."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_length: int = Field(default=12, ge=8, le=64)
    """Characters of those that people choose; 8 is what the original asks for, and enough for what an administrator
    gives to somebody."""
    breached: Path | None = None
    """A list of passwords that attackers know: one a line, or the sorted SHA-1 list of Have I Been Pwned."""


class AuthSettings(BaseModel):
    """Section ``[auth]``: passwords, and other ways to sign in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    passwords: PasswordSettings = PasswordSettings()
    oidc: OidcSettings | None = None
