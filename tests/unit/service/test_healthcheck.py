import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 503)
        self.end_headers()
        self.wfile.write(b'{"status":"starting"}')

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as httpd:
        thread = Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def check(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "caterva2_service.healthcheck", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment or None, timeout=60)


def test_a_ready_service_is_healthy(server: str) -> None:
    assert check(f"{server}/readyz").returncode == 0


def test_a_proxy_in_the_environment_is_not_asked(server: str) -> None:
    assert check(f"{server}/readyz", http_proxy="http://127.0.0.1:9", PATH="").returncode == 0


def test_a_service_that_is_not_ready_is_unhealthy_and_the_answer_is_shown(server: str) -> None:
    run = check(f"{server}/other")
    assert run.returncode == 1
    assert "status 503" in run.stderr
    assert "starting" in run.stderr


def test_a_service_that_is_down_is_unhealthy_in_one_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/readyz"
    run = check(url)
    assert run.returncode == 1
    assert run.stderr.startswith(url)
    assert run.stderr.count("\n") == 1


def test_without_a_url_usage_is_said() -> None:
    assert check().returncode == 2
