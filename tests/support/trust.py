"""Identities for tests that speak to services as another service would."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from caterva2_service.settings import Address, ServiceSettings
from caterva2_service.trust import Identity, Role


def make_identity(statedir: Path, role: Role, join_token: str | None = None) -> Identity:
    """Return the identity kept in a state directory, made if there is none."""
    secret = SecretStr(join_token) if join_token is not None else None
    return Identity.of(ServiceSettings(http=Address(), statedir=statedir, join_token=secret), role)
