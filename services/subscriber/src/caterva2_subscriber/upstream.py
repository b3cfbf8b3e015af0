"""Publishers, seen from here: what is asked of them over the link, how often, and what is made of their silence.

One HTTP client for each publisher, with connections that are kept. Time limits count silence, never size: over a slow
link an answer may take as long as it likes while bytes flow. A publisher that does not answer is left alone for a
while (circuit breaker), so that readers are told at once instead of waiting each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from caterva2 import errors
from caterva2.errors import (
    BadRequest,
    Caterva2Error,
    ChunkNotFound,
    DatasetNotFound,
    NotFound,
    TooLarge,
    UpstreamInvalid,
    UpstreamUnavailable,
    VersionChanged,
)
from caterva2.wire import (
    HEADER_REQUEST_ID,
    INDEX_SKELETON,
    NO_DIGEST,
    ChunkFrame,
    ChunksRequest,
    PartRequest,
    decode_frames,
)
from caterva2_formats.base import MAX_CHUNK_BYTES
from caterva2_formats.chunks import digest
from caterva2_formats.envelope import Line
from caterva2_formats.pyramid import Plane
from caterva2_service.address import Address
from caterva2_service.log import get_logger
from caterva2_service.outbound import AddressRefused, OutboundRules, open_client
from caterva2_service.requests import current_request_id
from caterva2_service.trust import Identity, audience_of

from .settings import UpstreamSettings

log = get_logger(__name__)

_MAX_FRAME = MAX_CHUNK_BYTES + 32
_MAX_SKELETON = 64 * 2**20
_MAX_WHOLE = 64 * 2**20
"""Largest info, list of digests, or error."""
_MAX_QUERY = 8000
_MAKING_S = 600.0
"""Silence that is granted to a publisher who makes a pyramid of a large plane."""
_VIEWS = 2
"""Requests for views at a time: they may wait long, and chunks should not wait behind them."""
_NO_VIEWS_S = 600.0
"""Time after which a publisher who made no views may have been replaced by one who does."""
_BREAK_AFTER = 3
"""Failures in a row after which a publisher is left alone."""
_BREAK_MIN_S, _BREAK_MAX_S = 1.0, 30.0
_KEEPALIVE_S = 120.0
_WHOLE_S = 3600.0
"""How long a publisher that does not know parts of chunks is not asked for any."""

_LOST = (httpx.TransportError, httpx.StreamError)


class NotOffered(BadRequest):
    """The publisher does not make what was asked for."""


class NotUnderstood(UpstreamInvalid):
    """The publisher is older than what was asked of it."""


class Breaker:
    """Leaves a publisher alone after several failures in a row, for longer each time."""

    def __init__(self) -> None:
        self._failures = 0
        self._until = 0.0

    @property
    def wait_s(self) -> float:
        """Seconds for which nothing should be asked; 0 when it may be tried."""
        return max(0.0, self._until - time.monotonic())

    def check(self) -> None:
        """Raise UpstreamUnavailable while the publisher is left alone."""
        if self.wait_s:
            raise UpstreamUnavailable("The publisher cannot be reached", retry_after_s=self.wait_s)

    def succeeded(self) -> None:
        """Record an answer."""
        self._failures = 0
        self._until = 0.0

    def failed(self) -> None:
        """Record that there was none."""
        self._failures += 1
        if self._failures >= _BREAK_AFTER:
            pause = min(_BREAK_MAX_S, _BREAK_MIN_S * 2 ** (self._failures - _BREAK_AFTER))
            self._until = time.monotonic() + pause


class Publisher:
    """One publisher. Errors are those of `caterva2.errors`.

    `UpstreamUnavailable` stands for any kind of silence, `UpstreamInvalid` for answers that make no sense,
    `VersionChanged` for a dataset that is at another version than the one asked for.
    """

    def __init__(self, address: str, settings: UpstreamSettings, identity: Identity, rules: OutboundRules) -> None:
        self.address = address
        self.breaker = Breaker()
        self._whole_until = 0.0
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._view_slots = asyncio.Semaphore(_VIEWS)
        self._no_views_until = 0.0
        options: dict[str, Any] = {
            "timeout": httpx.Timeout(settings.silence_timeout_s, connect=settings.connect_timeout_s, pool=None),
            "limits": httpx.Limits(
                max_connections=settings.concurrency + 4,
                max_keepalive_connections=settings.concurrency,
                keepalive_expiry=_KEEPALIVE_S,
            ),
            "auth": identity.auth(audience_of(address)),
        }
        try:
            parsed = Address.parse(address)
            if parsed.uds is None:
                self._client = open_client(rules, base_url=parsed.url, **options)
            elif rules.local:
                self._client = parsed.http_client(follow_redirects=False, **options)
            else:
                raise UpstreamUnavailable("The publisher is on another machine, which has no socket here")
        except (ValueError, httpx.InvalidURL):
            raise UpstreamUnavailable(f"The address of the publisher makes no sense: {address[:100]!r}") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def manifest(self, known: tuple[str, int] | None = None) -> AsyncIterator[ManifestStream | None]:
        """Ask for the whole catalogue of the root.

        Parameters
        ----------
        known
            Epoch and seq of the state that is known already.

        Yields
        ------
        ManifestStream or None
            None if the state is the one that is known.
        """
        headers = {"Accept-Encoding": "zstd", **({"If-None-Match": f'"{known[0]}:{known[1]}"'} if known else {})}
        async with self._ask("GET", "/api/manifest", headers=headers) as response:
            yield None if response.status_code == 304 else ManifestStream(response)

    async def info(self, path: str, *, etag: str) -> dict[str, Any]:
        """Return the info of the version `etag`. Raises VersionChanged if there is another one by now."""
        async with self._ask("GET", "/api/info/" + quote(path)) as response:
            body = await _whole_of(response)
            if response.headers.get("etag", "").strip('"') != etag:
                raise VersionChanged(f"{path} has changed at its publisher")
        found = _json(body)
        if not isinstance(found, dict):
            raise UpstreamInvalid("The publisher sent an info that is none")
        return found

    async def digests(self, path: str, *, etag: str, ranges: Sequence[tuple[int, int]]) -> list[bytes | None]:
        """Return the digests of the version `etag` by chunk; None outside of `ranges` and where they are not known."""
        url = "/api/digests/" + quote(path)
        query = ",".join(f"{start}:{stop}" for start, stop in ranges)
        if len(query) <= _MAX_QUERY:
            url = f"{url}?chunks={query}"
        async with self._ask("GET", url, headers={"If-Match": f'"{etag}"'}) as response:
            body = _json(await _whole_of(response))
        try:
            return [None if text is None else bytes.fromhex(text) for text in body["digests"]]
        except (KeyError, TypeError, ValueError):
            raise UpstreamInvalid("The publisher sent digests that are none") from None

    @property
    def takes_parts(self) -> bool:
        """Whether parts of chunks may be asked for: until the publisher did not understand it, and in a while again."""
        return time.monotonic() >= self._whole_until

    async def chunks(
        self,
        path: str,
        *,
        etag: str,
        ranges: Sequence[tuple[int, int]],
        skeleton: bool = False,
        parts: Sequence[PartRequest] = (),
    ) -> AsyncGenerator[ChunkFrame, None]:
        """Yield what is wanted of the version `etag` as it arrives.

        The skeleton comes first if it was asked for and exists, then chunks, then parts of chunks.

        Raises
        ------
        NotUnderstood
            If parts are asked for and the publisher knows of none; `takes_parts` is then false.
        """
        request = ChunksRequest(ranges=list(ranges), skeleton=skeleton, parts=list(parts))
        headers = {"If-Match": f'"{etag}"', "Content-Type": "application/json"}
        content = request.model_dump_json(exclude_defaults=True).encode()
        try:
            async with (
                self._slots,
                self._ask("POST", "/api/chunks/" + quote(path), headers=headers, content=content) as response,
            ):
                if response.headers.get("etag", "").strip('"') != etag:
                    raise VersionChanged(f"{path} has changed at its publisher")
                async for frame in decode_frames(_bytes_of(response), max_frame=max(_MAX_FRAME, _MAX_SKELETON)):
                    if frame.index >= INDEX_SKELETON and not skeleton:
                        raise UpstreamInvalid("The publisher sent what was not asked for")
                    yield frame
        except NotUnderstood:
            self._whole_until = time.monotonic() + _WHOLE_S
            raise

    async def tiles(
        self, path: str, *, etag: str, plane: Plane, level: int, ranges: Sequence[tuple[int, int]]
    ) -> AsyncGenerator[ChunkFrame, None]:
        """Yield tiles of a level of a plane of the version `etag` as they arrive: chunks of `level_layout`.

        Raises
        ------
        NotOffered
            If the publisher makes none, as those of older versions.
        """
        at = ",".join(map(str, plane.at))
        tiles = ",".join(f"{start}:{stop}" for start, stop in ranges)
        query = f"rows={plane.rows}&columns={plane.columns}&at={at}&level={level}&tiles={tiles}"
        async with aclosing(self._view(path, f"/api/pyramid/{quote(path)}?{query}", etag)) as frames:
            async for frame in frames:
                yield frame

    async def envelope(self, path: str, *, etag: str, line: Line) -> bytes:
        """Return minimum and maximum of the groups of a line of the version `etag`: the chunk of `Line.layout`.

        Raises
        ------
        NotOffered
            As `tiles` does.
        """
        at = ",".join(map(str, line.at))
        query = f"axis={line.axis}&at={at}&start={line.start}&step={line.step}&count={line.count}&group={line.group}"
        async with aclosing(self._view(path, f"/api/envelope/{quote(path)}?{query}", etag)) as frames:
            found = [frame async for frame in frames]
        if len(found) != 1 or found[0].digest not in (NO_DIGEST, digest(found[0].data)):
            raise UpstreamInvalid("The publisher sent another envelope than was asked for")
        return found[0].data

    async def _view(self, path: str, url: str, etag: str) -> AsyncGenerator[ChunkFrame, None]:
        if time.monotonic() < self._no_views_until:
            raise NotOffered("the publisher makes no views")
        headers = {"If-Match": f'"{etag}"'}
        try:
            async with self._view_slots, self._ask("GET", url, headers=headers, silence_s=_MAKING_S) as response:
                if response.headers.get("etag", "").strip('"') != etag:
                    raise VersionChanged(f"{path} has changed at its publisher")
                async for frame in decode_frames(_bytes_of(response), max_frame=_MAX_FRAME):
                    yield frame
        except NotFound as error:
            if isinstance(error, (DatasetNotFound, ChunkNotFound)):
                raise
            self._no_views_until = time.monotonic() + _NO_VIEWS_S
            raise NotOffered("the publisher makes no views") from None

    @asynccontextmanager
    async def _ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        silence_s: float | None = None,
    ) -> AsyncIterator[httpx.Response]:
        self.breaker.check()
        limits = self._client.timeout
        timeout = limits if silence_s is None else httpx.Timeout(silence_s, connect=limits.connect, pool=limits.pool)
        request_id = current_request_id()
        # What unpacks to any size must not be unpacked in one go; only manifests, which are not, come compressed.
        sent = {
            "Accept-Encoding": "identity",
            **(headers or {}),
            **({HEADER_REQUEST_ID: request_id} if request_id else {}),
        }
        try:
            async with self._client.stream(method, url, headers=sent, content=content, timeout=timeout) as response:
                self.breaker.succeeded()
                if response.status_code not in (200, 304):
                    raise await _error_of(response)
                yield response
        except _LOST as error:
            self.breaker.failed()
            reason = type(error).__name__
            log.info("publisher does not answer", publisher=self.address, url=url, reason=reason)
            raise UpstreamUnavailable(
                "The publisher cannot be reached", retry_after_s=self.breaker.wait_s or 1
            ) from None
        except httpx.InvalidURL:
            raise UpstreamUnavailable("The address of the publisher makes no sense") from None
        except AddressRefused as error:
            self.breaker.failed()
            raise UpstreamUnavailable(f"The publisher is not asked: {error.detail}") from None


class ManifestStream:
    """A manifest while it arrives, for `tracking.intake`."""

    def __init__(self, response: httpx.Response) -> None:
        self.encoding = response.headers.get("content-encoding", "").strip().lower()
        """Content encoding of the pieces."""
        self._response = response

    def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they arrive, still compressed: unpacked on the event loop, they could stall or fill it."""
        return self._response.aiter_raw()


async def _bytes_of(response: httpx.Response) -> AsyncIterator[bytes]:
    async for piece in response.aiter_raw():
        yield piece


async def _whole_of(response: httpx.Response) -> bytes:
    """Return a body that is read as a whole. Raises UpstreamInvalid for one that is packed or without end."""
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UpstreamInvalid("The publisher sent an encoding that was not asked for")
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > _MAX_WHOLE:
            raise UpstreamInvalid("The publisher sent more than makes sense")
    return bytes(body)


async def _error_of(response: httpx.Response) -> Caterva2Error:
    """Return what the status of an answer means to the reader."""
    body = _json(await _whole_of(response), strict=False)
    error = errors.from_body(response.status_code, body)
    if response.status_code == 412:
        return VersionChanged("The dataset has changed at its publisher")
    if response.status_code == 422 and isinstance(body, dict) and "code" not in body:
        return NotUnderstood("The publisher does not understand what it is asked")
    if response.status_code in (404, 422) or isinstance(error, TooLarge):
        return error
    if response.status_code in (429, 503):
        return errors.Unavailable(error.detail, retry_after_s=_retry_after(response) or 1)
    log.warning("publisher answers with an error", status=response.status_code, detail=error.detail)
    if response.status_code == 401 and body is not None:
        # A clock that is wrong, as a rule: the publisher says so.
        return UpstreamInvalid(f"The publisher does not let this subscriber in: {error.detail[:300]}")
    return UpstreamInvalid(f"The publisher answered with status {response.status_code}")


def _retry_after(response: httpx.Response) -> float | None:
    given = response.headers.get("retry-after", "")
    if given.isdigit():
        return float(given)
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _json(body: bytes, *, strict: bool = True) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        if strict:
            raise UpstreamInvalid("The publisher sent something that is not JSON") from None
        return None


class Upstream:
    """The publishers that this subscriber talks to, by address."""

    def __init__(self, settings: UpstreamSettings, identity: Identity, rules: OutboundRules) -> None:
        self._settings = settings
        self._identity = identity
        self._rules = rules
        self._publishers: dict[str, Publisher] = {}

    def publisher(self, address: str) -> Publisher:
        """Return the publisher at `address`, as the broker reports it. Raises UpstreamUnavailable."""
        found = self._publishers.get(address)
        if found is None:
            found = self._publishers[address] = Publisher(address, self._settings, self._identity, self._rules)
        return found

    async def close(self) -> None:
        """Close every connection."""
        for publisher in self._publishers.values():
            await publisher.close()
        self._publishers.clear()
