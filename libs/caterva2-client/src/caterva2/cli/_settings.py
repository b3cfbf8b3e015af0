"""Which subscriber a command talks to, and as whom: command line, then environment, then file, then default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._address import DEFAULT_URLBASE
from .._auth import Auth, TokenAuth

CONF_NAME = "caterva2.toml"


class SettingsError(Exception):
    """A configuration file that cannot be used; the message says why."""


@dataclass(frozen=True)
class Connection:
    """A subscriber and the credentials for it."""

    urlbase: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    @property
    def has_credentials(self) -> bool:
        """Whether the client will not be anonymous."""
        return bool(self.token or (self.username and self.password))

    @property
    def auth(self) -> Auth:
        """What a `Client` takes."""
        if self.token and not (self.username and self.password):
            return TokenAuth(self.token)
        return (self.username, self.password)


def find_connection(
    *, conf: str | None, server: str | None, urlbase: str | None, username: str | None, password: str | None
) -> Connection:
    """Return the connection that the command line, the environment and the configuration file ask for.

    Raises
    ------
    SettingsError
        If the configuration file cannot be read, or lacks the section `server`.
    """
    sections = _read(conf)
    if server is not None and not isinstance(sections.get(server), dict):
        raise SettingsError(f"the configuration has no section [{server}]")
    named = _section(sections, server or "default")
    client, subscriber = _section(sections, "client"), _section(sections, "subscriber")
    environment = os.environ
    return Connection(
        urlbase=_first(
            urlbase,
            environment.get("CATERVA2_URL"),
            named.get("url"),
            client.get("url"),
            subscriber.get("url"),
            subscriber.get("urlbase"),
            _listening(subscriber.get("http")),
        )
        or DEFAULT_URLBASE,
        username=_first(username, environment.get("CATERVA2_USERNAME"), named.get("username"), client.get("username")),
        password=_first(password, environment.get("CATERVA2_PASSWORD"), named.get("password"), client.get("password")),
        token=_first(environment.get("CATERVA2_TOKEN"), named.get("token"), client.get("token")),
    )


def _first(*candidates: Any) -> str | None:
    return next((str(candidate) for candidate in candidates if candidate), None)


def _listening(http: Any) -> str | None:
    """Return the URL of a subscriber that listens at ``host:port``; a socket of the file system has none."""
    if not isinstance(http, str) or ":" not in http:
        return None
    host, _, port = http.rpartition(":")
    return f"http://{'localhost' if host in ('*', '0.0.0.0', '[::]') else host}:{port}"  # noqa: S104 - only compared


def _section(sections: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = sections.get(name)
    return found if isinstance(found, dict) else {}


def _read(conf: str | None) -> Mapping[str, Any]:
    for path in [Path(conf)] if conf else _default_files():
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"cannot read {path}: {error}") from error
    return {}


def _default_files() -> Iterator[Path]:
    yield Path(CONF_NAME)
    yield Path.home() / f".{CONF_NAME}"
    yield Path("/etc") / CONF_NAME
