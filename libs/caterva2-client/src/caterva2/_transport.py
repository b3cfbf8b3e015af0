"""How requests reach a subscriber: pooled connections, patience, retries, login.

What a client does is written once, as *operations*: generators that yield a `Call` for each request that they need,
are sent its answer, and return the result. `Transport` drives them in blocking code, `AsyncTransport` on an event loop.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
import weakref
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol, TypeVar, cast

import httpx

from ._auth import BasicAuth, TokenAuth
from ._browser import FetchTransport, XhrTransport
from ._errors import raise_for_status, status_error

T = TypeVar("T")

IN_BROWSER = sys.platform == "emscripten"
"""Whether this is Pyodide, where browsers make the requests."""
DEFAULT_TIMEOUT_S = 5.0
"""Seconds of silence after which a request for facts is given up."""
PATIENT_TIMEOUT_S = 60.0
"""Seconds of silence granted to requests for data, unless the user chose a timeout: a first byte may have to come
through a thin link."""
WORK_TIMEOUT_S = 3600.0
"""Seconds of silence granted to requests that make the subscriber work: copy, combine, compute, verify."""
MAX_WAIT_S = 10.0
"""Longest wait, in seconds, that a retry is worth."""
WAITS_S = (0.1, 0.3, 0.9)
"""Waits before the retries, in seconds, lengthened at random by up to a half."""
RETRIED_STATUS = frozenset({429, 502, 503})


class Sink(Protocol):
    """Takes the body of a streamed answer, piece by piece."""

    began: bool
    """Whether a part of the body was taken: then only the operation knows how to go on after an interruption."""

    def begin(self, response: httpx.Response) -> None:
        """Look at the head of a successful answer."""

    def write(self, piece: bytes) -> None:
        """Take the next piece of the body."""


class Readable(Protocol):
    """A binary file that can be read from its beginning again."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a position."""

    def tell(self) -> int:
        """Return the position."""

    def fileno(self) -> int:
        """Return the descriptor, from which the size is learnt."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """The file of a multipart request."""

    filename: str
    file: Readable | bytes


@dataclass(frozen=True, slots=True)
class Call:
    """One request to make."""

    method: str
    path: str
    """Path and query below the base URL, percent-encoded."""
    params: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    """Body to send as JSON."""
    form: Mapping[str, str] | None = None
    attachment: Attachment | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    patient: bool = False
    """Whether the answer may take longer than facts do."""
    work: bool = False
    """Whether the answer comes when work of unknown length is done."""
    repeatable: bool | None = None
    """Whether the request may be sent again when it is unknown if it arrived; None: if it is a GET."""
    sink: Sink | None = None
    """Where the body goes as it arrives; None: into memory."""


Operation = Generator[Call, httpx.Response, T]


@dataclass
class Session:
    """What blocking and asynchronous transports have in common: everything but waiting."""

    urlbase: str
    auth: BasicAuth | TokenAuth | None = None
    timeout: float | None = DEFAULT_TIMEOUT_S
    """Seconds of silence after which a request is given up; the size of an answer does not matter."""
    cookie: str | None = None
    """``name=value`` of the session, sent with every request."""

    def client_options(self) -> dict[str, Any]:
        """Return the options of the pooled httpx client."""
        return {
            # Reading the machine's trust store takes 30 ms; plain HTTP has no use for it, and browsers have their own.
            "verify": self.urlbase.startswith("https://") and not IN_BROWSER,
            "limits": httpx.Limits(max_connections=32, max_keepalive_connections=8, keepalive_expiry=60),
            "headers": {"user-agent": f"caterva2-client ({sys.platform})"},
        }

    def silence_s(self, call: Call) -> float | None:
        """Return how long the service may stay silent."""
        if self.timeout != DEFAULT_TIMEOUT_S:
            return self.timeout
        return WORK_TIMEOUT_S if call.work else PATIENT_TIMEOUT_S if call.patient else self.timeout

    def request(self, client: httpx.Client | httpx.AsyncClient, call: Call) -> httpx.Request:
        """Build the request of a call."""
        headers = dict(call.headers)
        if isinstance(self.auth, TokenAuth):
            headers["authorization"] = f"Bearer {self.auth.token}"
        elif self.cookie:
            headers["cookie"] = self.cookie
        files = None
        if call.attachment is not None:
            if not isinstance(call.attachment.file, bytes):
                call.attachment.file.seek(0)
            files = {"file": (call.attachment.filename, cast("Any", call.attachment.file))}
        return client.build_request(
            call.method,
            self.urlbase + call.path,
            params=dict(call.params) or None,
            json=call.body,
            data=dict(call.form) if call.form is not None else None,
            files=files,
            headers=headers,
            timeout=httpx.Timeout(self.silence_s(call)),
        )

    def login(self) -> Operation[None]:
        """Exchange user name and password for a session, where that is how the client authenticates."""
        if not isinstance(self.auth, BasicAuth):
            return
        form = {"username": self.auth.username or "", "password": self.auth.password or ""}
        response = yield Call("POST", "/auth/jwt/login", form=form, repeatable=True)
        self.cookie = first_cookie(response)

    def forget(self) -> None:
        """Become anonymous."""
        self.auth = None
        self.cookie = None

    def may_log_in_again(self, call: Call, response: httpx.Response) -> bool:
        """Tell whether a refused request is worth a new session: the old one may have expired."""
        return (
            response.status_code == 401
            and isinstance(self.auth, BasicAuth)
            and self.cookie is not None
            and not call.path.startswith("/auth/")
        )


def first_cookie(response: httpx.Response) -> str | None:
    """Return the first cookie that an answer sets, as ``name=value``."""
    found = response.headers.get("set-cookie")
    return None if found is None else str(found).partition(";")[0]


def wait_before_retry(call: Call, attempt: int, failure: httpx.Response | httpx.TransportError) -> float | None:
    """Return the seconds to wait before a call is tried again, or None if it should not be.

    Parameters
    ----------
    attempt
        Number of tries that failed before this one.
    failure
        The answer that asks for patience, or the trouble on the way.
    """
    if attempt >= len(WAITS_S):
        return None
    repeatable = call.method == "GET" if call.repeatable is None else call.repeatable
    wait = WAITS_S[attempt] * (1 + random.random() / 2)
    if isinstance(failure, httpx.Response):
        if failure.status_code not in RETRIED_STATUS:
            return None
        asked = status_error(failure).retry_after_s
        # A service that says when to come back has not done the work; any other may have.
        if asked is None:
            return wait if repeatable else None
        return max(asked, wait) if asked <= MAX_WAIT_S else None
    if isinstance(failure, httpx.ConnectError):
        return wait
    if isinstance(failure, httpx.NetworkError | httpx.RemoteProtocolError) and repeatable:
        return wait
    return None


def explain(error: httpx.TransportError, session: Session, call: Call) -> Exception:
    """Return the exception for trouble on the way, with a message that names the server."""
    url = session.urlbase + call.path
    if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
        return TimeoutError(f"Timeout after {session.silence_s(call)} seconds while trying to access {url}")
    if isinstance(error, httpx.ConnectError):
        return httpx.ConnectError(f"cannot connect to {session.urlbase}: {error}", request=error.request)
    return error


class Transport:
    """Makes calls with blocking code; safe to share between threads."""

    def __init__(self, session: Session, *, transport: httpx.BaseTransport | None = None) -> None:
        self.session = session
        if transport is None and IN_BROWSER:
            transport = XhrTransport()
        self.httpx_client = httpx.Client(**session.client_options(), transport=transport)
        # Programs written for the original, which kept no connections, never close their clients.
        weakref.finalize(self, self.httpx_client.close)
        self.httpx_client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def close(self) -> None:
        """Close the connections."""
        self.httpx_client.close()

    def run(self, operation: Operation[T]) -> T:
        """Carry out an operation and return its result."""
        try:
            call = next(operation)
            while True:
                try:
                    response = self.perform(call)
                except Exception as error:  # noqa: BLE001 - operations may handle what happens to their calls
                    call = operation.throw(error)
                else:
                    call = operation.send(response)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    def perform(self, call: Call) -> httpx.Response:
        """Make one call, again if that can help, and return its successful answer."""
        attempt = 0
        logged_in = False
        while True:
            try:
                response = self._send(call)
            except httpx.TransportError as error:
                wait = wait_before_retry(call, attempt, error)
                if wait is None or _began(call):
                    raise explain(error, self.session, call) from error
            else:
                if not logged_in and self.session.may_log_in_again(call, response):
                    logged_in = True
                    self.run(self.session.login())
                    continue
                wait = wait_before_retry(call, attempt, response)
                if wait is None:
                    return raise_for_status(response)
            attempt += 1
            time.sleep(wait)

    def _send(self, call: Call) -> httpx.Response:
        request = self.session.request(self.httpx_client, call)
        response = self.httpx_client.send(request, stream=True)
        try:
            if call.sink is not None and response.is_success:
                call.sink.begin(response)
                for piece in response.iter_bytes():
                    call.sink.write(piece)
            else:
                response.read()
        finally:
            response.close()
        return response


class AsyncTransport:
    """Makes calls on an event loop."""

    def __init__(self, session: Session, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.session = session
        if transport is None and IN_BROWSER:
            transport = FetchTransport()
        self.httpx_client = httpx.AsyncClient(**session.client_options(), transport=transport)
        self.httpx_client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    async def close(self) -> None:
        """Close the connections."""
        await self.httpx_client.aclose()

    async def run(self, operation: Operation[T]) -> T:
        """Carry out an operation and return its result."""
        try:
            call = next(operation)
            while True:
                try:
                    response = await self.perform(call)
                except Exception as error:  # noqa: BLE001 - operations may handle what happens to their calls
                    call = operation.throw(error)
                else:
                    call = operation.send(response)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    async def perform(self, call: Call) -> httpx.Response:
        """Make one call, again if that can help, and return its successful answer."""
        attempt = 0
        logged_in = False
        while True:
            try:
                response = await self._send(call)
            except httpx.TransportError as error:
                wait = wait_before_retry(call, attempt, error)
                if wait is None or _began(call):
                    raise explain(error, self.session, call) from error
            else:
                if not logged_in and self.session.may_log_in_again(call, response):
                    logged_in = True
                    await self.run(self.session.login())
                    continue
                wait = wait_before_retry(call, attempt, response)
                if wait is None:
                    return raise_for_status(response)
            attempt += 1
            await asyncio.sleep(wait)

    async def _send(self, call: Call) -> httpx.Response:
        request = self.session.request(self.httpx_client, call)
        response = await self.httpx_client.send(request, stream=True)
        try:
            if call.sink is not None and response.is_success:
                call.sink.begin(response)
                async for piece in response.aiter_bytes():
                    # In a browser (Pyodide) there are neither threads nor disks that could block.
                    if IN_BROWSER:
                        call.sink.write(piece)
                    else:
                        await asyncio.to_thread(call.sink.write, piece)
            else:
                await response.aread()
        finally:
            await response.aclose()
        return response


def _began(call: Call) -> bool:
    return call.sink is not None and call.sink.began


def parse_json(response: httpx.Response, parse: Callable[[Any], T]) -> T:
    """Return the parsed JSON body of a successful answer.

    Raises
    ------
    ValueError
        If the answer is not what a subscriber sends; most likely another program answers there.
    """
    try:
        return parse(response.json())
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError) as error:
        raise ValueError(f"{response.request.url} does not answer as a Caterva2 subscriber does") from error
