"""F4: what goes on, and what waits, while PostgreSQL is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from caterva2_subscriber import rights
from tests.support.postgres import Postgres

from .conftest import PASSWORD, Site, Start
from .test_spaces import USER, frame, upload


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that the test may stop."""
    server = Postgres()
    try:
        yield server
    finally:
        server.close()


@pytest.mark.parametrize("fault", ["killed", "hanging"])
async def test_f4_public_reads_go_on_and_the_rest_waits(own_postgres: Postgres, start: Start, fault: str) -> None:
    site = await start(database={"url": own_postgres.url(own_postgres.create())})
    await site.add(USER)
    async with await site.as_user(USER) as client, site.client() as nobody:
        for root in ("@public", "@personal"):
            assert (await upload(client, f"{root}/ds.b2nd", frame(np.arange(10)))).status_code == 200
        assert (await nobody.get("/api/fetch/@public/ds.b2nd")).status_code == 200
        if fault == "killed":
            own_postgres.kill()
        else:
            own_postgres.hang()
        try:
            await while_down(site, client, nobody)
        finally:
            if fault == "killed":
                own_postgres.start()
            else:
                own_postgres.resume()
        await until(client, "/api/fetch/@personal/ds.b2nd", 200)
        assert (await upload(client, "@personal/after.b2nd", frame(np.arange(3)))).status_code == 200
        assert (await nobody.get("/readyz")).json()["parts"]["database"]["ok"]


async def while_down(site: Site, client: httpx.AsyncClient, nobody: httpx.AsyncClient) -> None:
    form = {"username": USER, "password": PASSWORD}
    refused = await nobody.post("/auth/jwt/login", data=form)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert "postgres" not in refused.text.lower()

    # A session that was confirmed a moment ago still counts; private data are refused once it is too old.
    begin = time.monotonic()
    for reader in (nobody, client):
        answer = await reader.get("/api/fetch/@public/ds.b2nd")
        assert answer.status_code == 200
    assert time.monotonic() - begin < 20, "requests do not wait one by one for a database that is known to be away"
    forgotten = site.context.accounts
    forgotten.groups_changed()
    for path in ("/api/fetch/@personal/ds.b2nd", "/api/list/@personal", "/api/usage"):
        answer = await client.get(path)
        assert answer.status_code == 503, (path, answer.text)
        assert "retry-after" in answer.headers
    assert (await client.get("/api/fetch/@public/ds.b2nd")).status_code == 200
    assert (await upload(client, "@public/new.b2nd", frame(np.arange(3)))).status_code == 503
    assert (await nobody.get("/api/fetch/@personal/ds.b2nd")).status_code == 404
    ready = await nobody.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert not ready.json()["parts"]["database"]["ok"]


async def until(client: httpx.AsyncClient, path: str, status: int) -> None:
    for _ in range(300):
        answer = await client.get(path)
        if answer.status_code == status:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{path} still answers {answer.status_code}: {answer.text}")


async def test_f4_a_session_is_believed_for_half_a_minute_at_most(
    own_postgres: Postgres, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from caterva2_subscriber.auth import accounts

    site = await start(database={"url": own_postgres.url(own_postgres.create())})
    await site.add(USER)
    async with await site.as_user(USER) as client:
        await upload(client, "@personal/ds.b2nd", frame(np.arange(10)))
        own_postgres.kill()
        assert accounts.WITHOUT_DATABASE_S <= 30
        monkeypatch.setattr(accounts, "FRESH_S", 0.0)
        assert (await client.get("/api/fetch/@personal/ds.b2nd")).status_code == 200
        monkeypatch.setattr(accounts, "WITHOUT_DATABASE_S", 0.0)
        assert (await client.get("/api/fetch/@personal/ds.b2nd")).status_code == 503


async def test_f4_rights_that_were_never_known_are_not_guessed(start: Start, tmp_path: object) -> None:
    site = await start(database={"url": "postgresql+asyncpg://nobody@127.0.0.1:1/none"})
    async with site.client() as nobody:
        assert (await nobody.get("/api/info/@public/ds.b2nd")).status_code == 503
        assert (await nobody.get("/api/info/@personal/ds.b2nd")).status_code == 404
        assert (await nobody.get("/healthz")).status_code == 200
    assert rights.FRESH_S <= 30
