"""What administrators, and users about themselves, can ask of a subscriber."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from ._transport import Call, Operation, parse_json


def whoami() -> Operation[dict[str, Any]]:
    """Who the service thinks is asking."""
    return parse_json((yield Call("GET", "/api/me")), dict)


def logout() -> Operation[None]:
    """End the session."""
    yield Call("POST", "/auth/jwt/logout")


def list_tokens() -> Operation[list[dict[str, Any]]]:
    """API tokens of the user."""
    return parse_json((yield Call("GET", "/api/tokens")), list)


def add_token(name: str, scopes: Sequence[str], days: int) -> Operation[dict[str, Any]]:
    """Make an API token."""
    body = {"name": name, "scopes": list(scopes), "days": days}
    return parse_json((yield Call("POST", "/api/tokens", body=body)), dict)


def revoke_token(token_id: str) -> Operation[None]:
    """Revoke an API token."""
    yield Call("DELETE", f"/api/tokens/{_part(token_id)}", repeatable=True)


def list_identities() -> Operation[list[dict[str, Any]]]:
    """Identities at an OpenID provider by which the user signs in."""
    return parse_json((yield Call("GET", "/api/identities")), list)


def unlink_identity(identity_id: str) -> Operation[None]:
    """Take such an identity from the user's account."""
    yield Call("DELETE", f"/api/identities/{_part(identity_id)}")


def set_quota(user: str, quota: int | str | None) -> Operation[dict[str, Any]]:
    """Say how much a user's files may take."""
    body = {"quota": quota}
    return parse_json((yield Call("PATCH", f"/api/users/{_part(user)}", body=body, repeatable=True)), dict)


def list_groups() -> Operation[list[dict[str, Any]]]:
    """Groups that the user may see."""
    return parse_json((yield Call("GET", "/api/groups")), list)


def add_group(name: str, description: str) -> Operation[dict[str, Any]]:
    """Add a group."""
    body = {"name": name, "description": description}
    return parse_json((yield Call("POST", "/api/groups", body=body)), dict)


def remove_group(name: str) -> Operation[None]:
    """Remove a group."""
    yield Call("DELETE", f"/api/groups/{_part(name)}")


def add_member(group: str, user: str) -> Operation[None]:
    """Put a user into a group."""
    yield Call("PUT", f"/api/groups/{_part(group)}/members/{_part(user)}", repeatable=True)


def remove_member(group: str, user: str) -> Operation[None]:
    """Take a user out of a group."""
    yield Call("DELETE", f"/api/groups/{_part(group)}/members/{_part(user)}", repeatable=True)


def list_rights() -> Operation[list[dict[str, Any]]]:
    """Rights of all roots."""
    return parse_json((yield Call("GET", "/api/rights")), list)


def get_rights(root: str) -> Operation[dict[str, Any]]:
    """Rights of one root."""
    return parse_json((yield Call("GET", f"/api/rights/{_part(root)}")), dict)


def set_rights(root: str, access: str, grantees: Sequence[str] | None) -> Operation[dict[str, Any]]:
    """Say who may read or write a root; None brings back the default."""
    if access not in ("read", "write"):
        raise ValueError(f"access is 'read' or 'write', not {access!r}")
    body = {access: None if grantees is None else list(grantees)}
    return parse_json((yield Call("PUT", f"/api/rights/{_part(root)}", body=body, repeatable=True)), dict)


def _part(text: str) -> str:
    return quote(str(text), safe="@")
