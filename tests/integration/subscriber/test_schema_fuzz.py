"""T10: whatever fits the OpenAPI document, or does not, is answered, and never with status 500."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from schemathesis import openapi

from caterva2_formats.sandbox import Sandbox
from caterva2_subscriber.app import create_app
from caterva2_subscriber.settings import SubscriberSettings

from .conftest import PASSWORD, SECRET

ROOT = "root@example.com"
ENDLESS = {"/api/events"}


@pytest.fixture
def served(tmp_path: Path, sandbox: Sandbox) -> Iterator[str]:
    """URL of a subscriber that a thread serves."""
    adduser = [sys.executable, "-m", "caterva2_subscriber.adduser", "--statedir", str(tmp_path), "-S", ROOT, PASSWORD]
    subprocess.run(adduser, check=True, capture_output=True, timeout=60)
    app = create_app(SubscriberSettings(statedir=tmp_path, secret=SECRET, register=True), sandbox=sandbox)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


def test_t10_no_request_is_answered_with_status_500(served: str) -> None:
    answer = httpx.post(f"{served}/auth/jwt/login", data={"username": ROOT, "password": PASSWORD})
    cookie = answer.headers["set-cookie"].split(";")[0]
    failures: list[str] = []
    statuses: dict[str, set[int]] = {}
    for found in openapi.from_url(f"{served}/openapi.json").get_all_operations():
        operation = found.ok()
        if operation.path in ENDLESS:
            continue

        @settings(max_examples=4, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def ask(case) -> None:  # type: ignore[no-untyped-def]
            for headers in ({"Cookie": cookie}, {}):
                response = case.call(headers=headers, timeout=30)
                statuses.setdefault(f"{case.method} {case.operation.path}", set()).add(response.status_code)
                if response.status_code == 500:
                    failures.append(f"{case.method} {response.request.url} {response.request.body!r}"[:300])

        ask()
    assert failures == []
    assert len(statuses) > 50
    assert {200, 401, 404, 422} <= set().union(*statuses.values()), "requests reached the handlers"
