"""A reverse proxy that shows a service below a path prefix, as the one of a laboratory's web server does."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length"}


class PrefixProxy:
    """Passes what is asked for below `prefix` on to `target`, without the prefix; use as a context manager."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.target = 0
        """Port of the service; set before the first request."""
        self.strays: list[str] = []
        """Paths beside the prefix that somebody asked for."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://localhost:{self._server.server_port}{prefix}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def _relay(self) -> None:
                if not self.path.startswith(f"{proxy.prefix}/"):
                    proxy.strays.append(self.path)
                    self.send_error(404)
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = http.client.HTTPConnection("127.0.0.1", proxy.target, timeout=60)
                try:
                    asked.request(self.command, self.path.removeprefix(proxy.prefix), body or None, dict(self.headers))
                    answer = asked.getresponse()
                    self.send_response(answer.status)
                    for name, value in answer.getheaders():
                        if name.lower() not in _HOP_BY_HOP:
                            self.send_header(name, value)
                    self.end_headers()
                    while piece := answer.read1(65_536):
                        self.wfile.write(piece)
                except OSError:
                    pass  # the browser or the service went away
                finally:
                    asked.close()

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _relay

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        return Handler
