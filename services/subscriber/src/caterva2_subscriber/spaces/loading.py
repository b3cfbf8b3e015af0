"""Files from elsewhere: this subscriber downloads what a user names, from hosts that its operator lists (U11)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import unquote

import httpx

from caterva2.errors import BadRequest, PermissionDenied, TooLarge, UpstreamInvalid, UpstreamUnavailable
from caterva2_service.outbound import OutboundRules, open_client

from ..settings import LoadSettings

MAX_URL = 2000
_CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that is being downloaded."""

    name: str
    """Last part of its URL."""
    content: AsyncGenerator[bytes, None]


@asynccontextmanager
async def remote_file(url: str, settings: LoadSettings) -> AsyncIterator[RemoteFile]:
    """Yield the file at `url`, whose content arrives as it is asked for.

    Raises
    ------
    BadRequest
        If `url` makes no sense.
    PermissionDenied
        If the settings do not allow its host, or its host leads where this site does not connect to.
    UpstreamInvalid, UpstreamUnavailable
        If the host answers something else than a file, or nothing.
    TooLarge
        If the file is larger than the settings allow; also while its content arrives.
    """
    target = _parse(url)
    check_host(target, settings)
    rules = OutboundRules(allow=settings.allow, plain=settings.plain)
    patience = httpx.Timeout(settings.silence_timeout_s, connect=_CONNECT_S)
    try:
        async with (
            asyncio.timeout(settings.time_s),
            open_client(rules, timeout=patience) as client,
            client.stream("GET", target, headers={"Accept-Encoding": "identity"}) as answer,
        ):
            _check_answer(answer, settings)
            yield RemoteFile(unquote(target.path.rpartition("/")[2]), _content(answer, settings))
    except TimeoutError:
        raise UpstreamUnavailable(f"{target.host} did not send the file in time") from None
    except httpx.TransportError as error:
        raise UpstreamUnavailable(f"{target.host} cannot be reached: {type(error).__name__}") from None


def _parse(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url.strip())
    except (httpx.InvalidURL, UnicodeError):
        raise BadRequest("this is not a URL") from None
    if len(url) > MAX_URL or not parsed.host or parsed.scheme not in ("http", "https"):
        raise BadRequest("a URL begins with https:// and names a host")
    if parsed.userinfo:
        raise BadRequest("a URL with a password in it is not used: others may see it")
    return parsed


def check_host(url: httpx.URL, settings: LoadSettings) -> None:
    """Refuse hosts that are not listed. Raises PermissionDenied."""
    if not settings.hosts:
        raise PermissionDenied("This site does not load files from URLs")
    if not is_listed(url, settings.hosts):
        raise PermissionDenied(f"This site does not load files from {url.host}; its settings list the hosts")


def is_listed(url: httpx.URL, hosts: Iterable[str]) -> bool:
    """Tell whether the host of a URL is in a list of ``host``, ``host:port`` and ``*.domain``."""
    host = url.host.lower()
    for listed in hosts:
        name, _, port = listed.lower().partition(":")
        same = host.endswith(name[1:]) if name.startswith("*.") else host == name
        if same and (str(url.port) == port if port else url.port is None):
            return True
    return False


def _check_answer(answer: httpx.Response, settings: LoadSettings) -> None:
    host = answer.url.host
    if answer.is_redirect:
        raise UpstreamInvalid(f"{host} redirects to another address, and that is not followed: use the other one")
    if answer.status_code != httpx.codes.OK:
        raise UpstreamInvalid(f"{host} answered {answer.status_code} {answer.reason_phrase}")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise UpstreamInvalid(f"{host} sends the file compressed, which was not asked for")
    declared = answer.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > settings.size:
        raise _too_large(settings)


async def _content(answer: httpx.Response, settings: LoadSettings) -> AsyncGenerator[bytes, None]:
    received = 0
    async for piece in answer.aiter_raw():
        received += len(piece)
        if received > settings.size:
            raise _too_large(settings)
        yield piece


def _too_large(settings: LoadSettings) -> TooLarge:
    return TooLarge(f"files of up to {settings.size} bytes are loaded from URLs")
