"""T10: whatever fits the OpenAPI document of a service is answered as the document says, and never with status 500."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from caterva2_service.trust import BROKER, Role
from tests.conftest import ROOT_EXAMPLE
from tests.support.openapi import Fuzz
from tests.support.ports import free_port
from tests.support.processes import Service, run, wait_until
from tests.support.trust import make_identity

SECRET = "a secret for tests that is long enough"
PASSWORD = "foobar11-foobar"
ROOT = "root@example.com"

pytestmark = pytest.mark.timeout(1800)


def test_t10_the_subscriber_answers_as_its_document_says(tmp_path: Path) -> None:
    env = {"CATERVA2_SECRET": SECRET, "CATERVA2_REGISTER": "true"}
    subscriber = Service(["cat2sub"], port=free_port(), statedir=tmp_path / "sub", cwd=tmp_path, env=env)
    done = run(["cat2adduser", "--statedir", subscriber.statedir, "-S", ROOT, PASSWORD], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with subscriber.start_ready():
        login = {"username": ROOT, "password": PASSWORD}
        answer = httpx.post(f"{subscriber.url}/auth/jwt/login", data=login, trust_env=False)
        cookie = {"Cookie": answer.headers["set-cookie"].split(";")[0]}
        fuzz = Fuzz(subscriber.url, [cookie, {}], endless={"/api/events"})
    assert fuzz.failures == []
    assert fuzz.operations > 50
    assert {200, 401, 404, 422} <= fuzz.statuses.keys(), "requests reached the handlers"


def test_t10_the_publisher_answers_as_its_document_says(tmp_path: Path) -> None:
    env = {"CATERVA2_OPEN_ACCESS": "true"}
    command = ["cat2pub", "--broker", f"localhost:{free_port()}", "foo", str(ROOT_EXAMPLE)]
    publisher = Service(command, port=free_port(), statedir=tmp_path / "pub", cwd=tmp_path, env=env)
    with publisher.start_ready():
        wait_until(lambda: publisher.get("/api/list").json(), timeout_s=30, what="the root is scanned")
        fuzz = Fuzz(publisher.url)
        # What the document alone hardly finds: paths that there are.
        for path in ("ds-1d.b2nd", "ds-hello.b2frame", "README.md", "root-example.h5"):
            assert publisher.get(f"/api/info/{path}").status_code == 200
            assert publisher.get(f"/api/download/{path}", params={"nchunk": 0}).status_code == 200
            assert publisher.get(f"/api/download/{path}", params={"nchunk": 10**9}).status_code == 404
    assert fuzz.failures == []
    assert fuzz.operations > 10
    assert {200, 400, 404} <= fuzz.statuses.keys(), "requests reached the handlers"


def test_t10_the_broker_answers_as_its_document_says(tmp_path: Path) -> None:
    broker = Service(["cat2bro"], port=free_port(), statedir=tmp_path / "bro", cwd=tmp_path)
    with broker.start_ready(parts=("bus", "nats")):
        signed = make_identity(tmp_path / "sub", Role.SUBSCRIBER).auth(BROKER)
        # The first request admits the service; its token is good for minutes.
        asked = httpx.get(f"{broker.url}/api/roots", auth=signed, trust_env=False).request
        fuzz = Fuzz(broker.url, [{}, {"Authorization": asked.headers["authorization"]}])
        assert broker.get("/healthz").status_code == 200
    assert fuzz.failures == []
    assert fuzz.operations > 8
    assert {200, 400, 401, 404} <= fuzz.statuses.keys(), "requests reached the handlers"
