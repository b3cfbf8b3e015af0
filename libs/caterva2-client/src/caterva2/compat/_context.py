"""Which subscriber the functions of the module talk to, and as whom."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from .._address import DEFAULT_URLBASE, check_urlbase
from .._client import Client

_HOST = re.compile(r"[\w.-]+:[0-9]{1,5}/?\Z|\[[0-9a-fA-F:]+\]:[0-9]{1,5}/?\Z")


@dataclass(frozen=True)
class _Defaults:
    urlbase: str = DEFAULT_URLBASE
    auth_cookie: str | None = None


_stack: list[_Defaults] = [_Defaults()]


@contextmanager
def c2context(
    *,
    urlbase: str | None = None,
    username: str | None = None,
    password: str | None = None,
    auth_cookie: str | None = None,
) -> Iterator[None]:
    """Set the subscriber and the credentials that the functions of the module use by default.

    Contexts can be nested; what an inner one leaves out is taken from the outer one, but a session only for the same
    subscriber. They hold for the whole process and are not for threads.

    Raises
    ------
    ValueError
        If both a password and a cookie are given.
    """
    if auth_cookie and (username or password):
        raise ValueError("either a user name and a password or a cookie can be given, not both")
    outer = _stack[-1]
    base = outer.urlbase if urlbase is None else as_urlbase(urlbase)
    if username and password:
        auth_cookie = get_auth_cookie(base, {"username": username, "password": password})
    if auth_cookie is None and base == outer.urlbase:
        auth_cookie = outer.auth_cookie
    _stack.append(_Defaults(base, auth_cookie))
    try:
        yield
    finally:
        _stack.pop()


def get_auth_cookie(urlbase: str, user_auth: Mapping[str, str], timeout: float = 5) -> str:
    """Exchange a user name and a password for a session cookie.

    Returns
    -------
    str
        ``name=value``.
    """
    with Client(as_urlbase(urlbase), (user_auth.get("username"), user_auth.get("password")), timeout) as client:
        return client.cookie or ""


def is_address(text: object) -> bool:
    """Tell whether an argument is where a subscriber is (``host:port`` or a URL), and not a path."""
    return isinstance(text, str) and (text.startswith(("http://", "https://")) or _HOST.match(text) is not None)


def as_urlbase(address: str | None) -> str:
    """Return the URL of an address that may lack its scheme; None stands for the default of the context."""
    if address is None:
        return _stack[-1].urlbase
    return check_urlbase(address if "://" in address else f"http://{address}")


def client_for(address: str | None, auth_cookie: str | None = None) -> Client:
    """Return the client for an address, whose connections are kept for the next call."""
    if auth_cookie is None and as_urlbase(address) == _stack[-1].urlbase:
        auth_cookie = _stack[-1].auth_cookie
    return _client(as_urlbase(address), auth_cookie)


@lru_cache(maxsize=16)
def _client(urlbase: str, auth_cookie: str | None) -> Client:
    client = Client(urlbase)
    client.cookie = auth_cookie
    return client
