"""Requests from inside a browser (Pyodide): there are no sockets, so the browser makes them.

It also keeps the session's cookie, decides about caches and proxies, and decompresses answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

import httpx

_KEPT_BY_BROWSERS = frozenset(
    {"accept-encoding", "connection", "content-length", "cookie", "host", "transfer-encoding", "user-agent"}
)
"""Headers that pages may not set."""
_UNDONE_BY_BROWSERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""Headers of answers that are no longer true of the body that a page gets."""


class FetchTransport(httpx.AsyncBaseTransport):
    """Makes requests by ``fetch``, for `AsyncClient`."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Raises httpx.ConnectError."""
        pyodide_http = import_module("pyodide.http")
        options: dict[str, Any] = {"method": request.method, "headers": sent_headers(request.headers)}
        body = await request.aread()
        if body:
            options["body"] = import_module("pyodide.ffi").to_js(body)
        try:
            answer = await pyodide_http.pyfetch(str(request.url), **options)
            content = await answer.bytes()
        except OSError as error:
            raise httpx.ConnectError(str(error), request=request) from None
        headers = received_headers(answer.headers.items())
        return httpx.Response(answer.status, headers=headers, content=content, request=request)


class XhrTransport(httpx.BaseTransport):
    """Makes requests by a synchronous ``XMLHttpRequest``, for `Client`; the page waits meanwhile."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Raises httpx.ConnectError."""
        js = import_module("js")
        xhr = js.XMLHttpRequest.new()
        xhr.open(request.method, str(request.url), False)
        for name, value in sent_headers(request.headers).items():
            xhr.setRequestHeader(name, value)
        # The main thread of a page gets bytes of synchronous requests as text only, one character each.
        xhr.overrideMimeType("text/plain; charset=x-user-defined")
        body = request.read()
        try:
            xhr.send(import_module("pyodide.ffi").to_js(body) if body else None)
        except Exception as error:  # noqa: BLE001 - errors of JavaScript have a class that only Pyodide knows
            raise httpx.ConnectError(str(error), request=request) from None
        lines = (line.partition(":") for line in xhr.getAllResponseHeaders().splitlines() if line)
        headers = received_headers((name.strip(), value.strip()) for name, _, value in lines)
        content = bytes(ord(character) & 0xFF for character in xhr.responseText)
        return httpx.Response(xhr.status, headers=headers, content=content, request=request)


def sent_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a request that a page may set."""
    return {name: value for name, value in headers.items() if name.lower() not in _KEPT_BY_BROWSERS}


def received_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the headers of an answer that are true of the body as a page gets it."""
    return {name: value for name, value in headers if name.lower() not in _UNDONE_BY_BROWSERS}
