"""Arguments of `Root` and `File` in the releases that had no `Client`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._base import check_subscribed
from .._client import Client
from .._file import Root
from ._context import as_urlbase, client_for, get_auth_cookie


def client_of_root(name: str, address: str | None, user_auth: Mapping[str, str] | None) -> Client:
    """Return the client for ``Root(name, urlbase, user_auth)``, whose root is followed."""
    cookie = None
    if user_auth and user_auth.get("username") and user_auth.get("password"):
        cookie = get_auth_cookie(as_urlbase(address), user_auth)
    client = client_for(address, cookie)
    check_subscribed(name, client.subscribe(name))
    return client


def root_of_file(root: Any, address: str | None, auth_cookie: str | None) -> Root:
    """Return the root for ``File(name, root, urlbase, auth_cookie)``."""
    return root if isinstance(root, Root) else Root(client_for(address, auth_cookie), str(root))
