"""Subscriptions of users and of the site, in the database of people."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from caterva2.wire import Root
from caterva2_subscriber import subscriptions
from tests.support.ports import free_port
from tests.support.postgres import Postgres

from .conftest import Site, Start

PATIENCE_S = 60.0


def know(site: Site, *names: str) -> None:
    """Let a site know roots whose publishers do not answer."""
    roots = [Root(name=name, http=f"127.0.0.1:{free_port()}") for name in names]
    site.context.catalog.know_roots(roots, complete=False)


def followed(site: Site, root: str) -> bool:
    return site.context.catalog.roots[root].subscribed


async def until(site: Site, root: str, expected: bool) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while followed(site, root) is not expected:
            await asyncio.sleep(0.05)


async def state(client: Any, root: str) -> tuple[bool, bool, bool]:
    """Return whether a root is followed, for the site, and mine."""
    answer = await client.get("/api/subscriptions")
    assert answer.status_code == 200, answer.text
    (found,) = [each for each in answer.json() if each["root"] == root]
    return found["followed"], found["site"], found["mine"]


async def test_a_root_is_followed_while_anybody_is_subscribed(start: Start, database_url: str) -> None:
    site = await start(database={"url": database_url})
    know(site, "foo", "bar")
    for email in ("one@example.com", "two@example.com"):
        await site.add(email)
    one, two = await site.as_user("one@example.com"), await site.as_user("two@example.com")
    async with one, two, site.client() as nobody:
        for _ in range(2):
            assert (await one.post("/api/subscribe/foo")).json() == "Ok"
        assert (await two.post("/api/subscribe/foo")).json() == "Ok"
        assert await state(one, "foo") == (True, False, True)
        assert await state(nobody, "foo") == (True, False, False)
        assert (await one.get("/api/roots")).json()["foo"]["mine"]
        assert not (await one.get("/api/roots")).json()["bar"]["mine"]
        assert (await one.post("/api/unsubscribe/foo")).json() == "Ok"
        assert await state(one, "foo") == (True, False, False)
        again = await one.post("/api/unsubscribe/foo")
        assert (again.status_code, again.json()["detail"]) == (404, "you are not subscribed to foo")
        assert (await two.post("/api/unsubscribe/foo")).json() == "Ok"
        assert not followed(site, "foo")
        assert [each["root"] for each in (await two.get("/api/subscriptions")).json()] == []


async def test_the_sites_own_subscription_is_for_administrators(site: Site) -> None:
    know(site, "foo")
    user, admin = await site.as_user("user@example.com"), await site.as_user("root@example.com")
    async with user, admin, site.client() as nobody:
        assert (await nobody.post("/api/subscribe/foo")).json() == "Ok"
        assert await state(nobody, "foo") == (True, True, False)
        assert (await user.post("/api/subscribe/foo")).json() == "Ok"
        assert (await nobody.post("/api/unsubscribe/foo")).status_code == 401
        for who in ("site", "everybody"):
            assert (await user.post("/api/unsubscribe/foo", params={"who": who})).status_code == 403
            assert (await nobody.post("/api/subscribe/foo", params={"who": who})).status_code == 401
        assert (await admin.post("/api/unsubscribe/foo", params={"who": "site"})).json() == "Ok"
        assert await state(user, "foo") == (True, False, True)
        assert (await admin.get("/api/subscriptions")).json()[0]["users"] == 1
        assert (await user.get("/api/subscriptions")).json()[0]["users"] is None
        assert (await admin.post("/api/unsubscribe/foo", params={"who": "everybody"})).json() == "Ok"
        assert not followed(site, "foo")
        audited = [entry["action"] for entry in (await admin.get("/api/audit")).json()]
        assert audited.count("unsubscribe") == 2


async def test_what_the_configuration_follows_is_not_given_up(start: Start) -> None:
    site = await start(follow=("foo",))
    know(site, "foo")
    await site.add("root@example.com", superuser=True)
    async with await site.as_user("root@example.com") as admin:
        await admin.post("/api/subscribe/foo", params={"who": "site"})
        refused = await admin.post("/api/unsubscribe/foo", params={"who": "site"})
        assert refused.status_code == 409
        assert "configuration" in refused.json()["detail"]
    assert followed(site, "foo")


async def test_replicas_follow_what_anybody_subscribed_at_one_of_them(
    start: Start, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "STEP_S", 0.1)
    first, second = [await start(database={"url": database_url}) for _ in range(2)]
    for replica in (first, second):
        know(replica, "foo")
    await first.add("user@example.com")
    async with await first.as_user("user@example.com") as client:
        await client.post("/api/subscribe/foo")
        await until(second, "foo", True)
        await client.post("/api/unsubscribe/foo")
        await until(second, "foo", False)


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that the test may stop."""
    server = Postgres()
    try:
        yield server
    finally:
        server.close()


async def test_f4_subscribing_works_while_the_database_is_down_and_is_written_down_later(
    own_postgres: Postgres, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "STEP_S", 0.1)
    site = await start(database={"url": own_postgres.url(own_postgres.create())})
    know(site, "before", "mine", "visited")
    await site.add("user@example.com")
    async with await site.as_user("user@example.com") as user, site.client() as nobody:
        assert (await user.post("/api/subscribe/before")).json() == "Ok"
        assert (await user.get("/api/me")).status_code == 200
        own_postgres.kill()
        try:
            assert (await user.post("/api/subscribe/mine")).json() == "Ok"
            assert (await nobody.post("/api/subscribe/visited")).json() == "Ok"
            refused = await user.post("/api/unsubscribe/before")
            assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
            assert [followed(site, root) for root in ("before", "mine", "visited")] == [True, True, True]
            assert await state(nobody, "visited") == (True, False, False)
        finally:
            own_postgres.start()
        async with asyncio.timeout(PATIENCE_S):
            while (await user.get("/api/subscriptions")).status_code != 200 or not (await state(user, "mine"))[2]:
                await asyncio.sleep(0.1)
        assert await state(user, "before") == (True, False, True)
        assert await state(user, "visited") == (True, True, False)
