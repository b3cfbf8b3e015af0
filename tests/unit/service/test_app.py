"""What every service answers: errors, health, metrics, identities of requests."""

import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import APIRouter, FastAPI

from caterva2 import errors
from caterva2.wire import HEADER_REQUEST_ID
from caterva2_service.app import service_app
from caterva2_service.requests import current_request_id

router = APIRouter()


@router.get("/items/{number}")
async def item(number: int) -> dict[str, str | None]:
    if number == 1:
        raise errors.RootTaken("root 'foo' is taken", retry_after_s=2.2)
    if number == 2:
        raise RuntimeError("hidden detail")
    if number == 3:
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/path")
    if number == 4:
        raise OSError(errno.EIO, "Input/output error", "/secret/path")
    return {"request_id": current_request_id()}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield


def make_app(**options: object) -> FastAPI:
    return service_app("Test", version="1.2", lifespan=lifespan, routers=[router], **options)  # type: ignore[arg-type]


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = make_app()
    async with (
        LifespanManager(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        yield client


async def test_an_error_is_answered_with_its_status_sentence_and_code(http: httpx.AsyncClient) -> None:
    response = await http.get("/items/1")
    assert response.status_code == 409
    assert response.json() == {"detail": "root 'foo' is taken", "code": "root_taken"}
    assert response.headers["retry-after"] == "3"


async def test_a24_an_unexpected_error_shows_nothing_but_is_logged(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        response = await http.get("/items/2", headers={HEADER_REQUEST_ID: "abc-1"})
    assert (response.status_code, response.text) == (500, "Internal Server Error")
    assert response.headers["content-type"].startswith("text/plain")
    assert response.headers[HEADER_REQUEST_ID] == "abc-1"
    assert "hidden detail" in caplog.text


@pytest.mark.parametrize(("number", "status"), [(3, 507), (4, 503)])
async def test_f9_a_full_or_broken_disk_is_said_without_paths(
    http: httpx.AsyncClient, number: int, status: int
) -> None:
    response = await http.get(f"/items/{number}")
    assert response.status_code == status
    assert "storage" in response.json()["detail"]
    assert "secret" not in response.text


async def test_validation_errors_keep_the_shape_that_clients_know(http: httpx.AsyncClient) -> None:
    response = await http.get("/items/x")
    assert response.status_code == 422
    assert {"type", "loc", "msg", "input"} <= set(response.json()["detail"][0])


async def test_a_request_keeps_its_identity_and_a_forged_one_is_replaced(http: httpx.AsyncClient) -> None:
    given = await http.get("/items/9", headers={HEADER_REQUEST_ID: "from-upstream_1"})
    assert given.json() == {"request_id": "from-upstream_1"}
    forged = await http.get("/items/9", headers={HEADER_REQUEST_ID: "a b\tc"})
    assert forged.headers[HEADER_REQUEST_ID] not in ("", "a b\tc")
    assert forged.json()["request_id"] == forged.headers[HEADER_REQUEST_ID]


async def test_a14_every_answer_has_the_security_headers(http: httpx.AsyncClient) -> None:
    for path in ("/items/9", "/items/1", "/items/2", "/nowhere"):
        assert (await http.get(path)).headers["x-content-type-options"] == "nosniff"


async def test_metrics_count_by_route_and_not_by_url(http: httpx.AsyncClient) -> None:
    for number in (7, 8, 9):
        await http.get(f"/items/{number}")
    shown = (await http.get("/metrics")).text
    assert 'caterva2_http_requests_total{method="GET",route="/items/{number}",status="200"} 3.0' in shown
    assert "/items/7" not in shown


async def test_the_wrong_form_of_a_path_redirects(http: httpx.AsyncClient) -> None:
    response = await http.get("/items/9/")
    assert response.status_code == 307
    assert response.headers["location"].endswith("/items/9")


async def test_a16_only_the_names_of_the_service_are_answered() -> None:
    app = make_app(allowed_hosts=["data.example.org"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://evil.example") as client:
        assert (await client.get("/healthz")).status_code == 400
        assert (await client.get("/healthz", headers={"host": "data.example.org"})).status_code == 200


async def test_readiness_tells_starting_degraded_and_failed() -> None:
    app = make_app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:

        async def ready() -> tuple[int, str]:
            response = await client.get("/readyz")
            return response.status_code, response.json()["status"]

        assert await ready() == (503, "starting")
        async with LifespanManager(app):
            health = app.state.health
            assert await ready() == (200, "ready")
            health.set("bus", ok=False, detail="gone")
            assert await ready() == (200, "degraded")
            assert 'caterva2_part_ok{part="bus"} 0.0' in (await client.get("/metrics")).text
            health.set("database", ok=False, required=True)
            assert await ready() == (503, "failed")
            health.set("database", ok=True, required=True)
            health.set("bus", ok=True)
            assert await ready() == (200, "ready")
            assert 'caterva2_part_ok{part="bus"} 1.0' in (await client.get("/metrics")).text
            assert (await client.get("/healthz")).json() == {"status": "ok"}
