"""Streams of events while the rights of their readers end, at this replica or at another one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest

from caterva2.events import Operation
from caterva2.wire import Root
from caterva2_subscriber import rights
from caterva2_subscriber.auth import accounts
from caterva2_subscriber.catalog import Change

from .conftest import Site, Start

ROOT, MEMBER = "root@example.com", "member@example.com"
WAIT_S = 30.0

Revoke = Callable[[httpx.AsyncClient, httpx.AsyncClient], Awaitable[httpx.Response]]


class Reader:
    """Reads ``/api/events`` as they come, which the client for tests of applications cannot."""

    def __init__(self) -> None:
        self._parts: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._rest = b""

    async def run(self, site: Site, headers: dict[str, str]) -> None:
        """Ask for events until the answer ends."""
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/api/events",
            "raw_path": b"/api/events",
            "root_path": "",
            "query_string": b"",
            "headers": [
                (name.lower().encode(), value.encode()) for name, value in {"host": "localhost", **headers}.items()
            ],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 8002),
        }

        async def receive() -> dict[str, Any]:
            return await asyncio.Future()

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                await self._parts.put(message.get("body", b""))

        try:
            await site.app(scope, receive, send)
        finally:
            await self._parts.put(None)

    async def begun(self) -> None:
        """Wait until the stream has said where it begins: whatever happens from then on is in it."""
        async with asyncio.timeout(WAIT_S):
            while not (await self._parts.get() or b"").startswith(b"id: "):
                pass

    async def roots(self, last: str) -> list[str] | None:
        """Return the roots of events up to the next one of `last`; None if the stream ends before that."""
        found: list[str] = []
        async with asyncio.timeout(WAIT_S):
            while last not in found:
                part = await self._parts.get()
                if part is None:
                    return None
                *events, self._rest = (self._rest + part).split(b"\n\n")
                found += [json.loads(event.partition(b"data: ")[2])["root"] for event in events if b"data: " in event]
        return found


@asynccontextmanager
async def following(site: Site, headers: dict[str, str]) -> AsyncIterator[Reader]:
    """Follow the events of a site, from before the block on."""
    reader = Reader()
    task = asyncio.create_task(reader.run(site, headers))
    try:
        await reader.begun()
        yield reader
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def change(site: Site, *roots: str) -> None:
    site.context.tracking.changes.publish([Change(root, Operation.CHANGED, "ds.b2nd", "v") for root in roots])


@pytest.fixture
async def replicas(start: Start, monkeypatch: pytest.MonkeyPatch) -> tuple[Site, Site]:
    """Two replicas that know the roots ``open`` and ``lab``, the second one of group ``xray``'s; they believe nothing
    for longer than a moment."""
    monkeypatch.setattr(accounts, "FRESH_S", 0.0)
    monkeypatch.setattr(rights, "FRESH_S", 0.0)
    one, two = await start(), await start()
    await one.add(ROOT, superuser=True)
    await one.add(MEMBER, groups=("xray",))
    for site in (one, two):
        known = [Root(name="open", http="127.0.0.1:9"), Root(name="lab", http="127.0.0.1:9", access="group:xray")]
        site.context.catalog.know_roots(known, complete=False)
    return one, two


async def leave_group(admin: httpx.AsyncClient, _: httpx.AsyncClient) -> httpx.Response:
    return await admin.delete("/api/groups/xray")


async def hide_root(admin: httpx.AsyncClient, _: httpx.AsyncClient) -> httpx.Response:
    return await admin.put("/api/rights/lab", json={"read": [f"user:{ROOT}"]})


@pytest.mark.parametrize("revoke", [leave_group, hide_root])
async def test_a12_events_of_a_root_end_with_the_right_to_read_it(replicas: tuple[Site, Site], revoke: Revoke) -> None:
    one, two = replicas
    async with (
        await one.as_user(ROOT) as admin,
        await one.as_user(MEMBER) as member,
        following(two, {"cookie": member.headers["cookie"]}) as reader,
    ):
        change(two, "lab", "open")
        assert await reader.roots("open") == ["lab", "open"]
        (await revoke(admin, member)).raise_for_status()
        change(two, "lab", "open")
        assert await reader.roots("open") == ["open"]


async def log_out(_: httpx.AsyncClient, member: httpx.AsyncClient) -> httpx.Response:
    return await member.post("/auth/jwt/logout")


async def remove_user(admin: httpx.AsyncClient, _: httpx.AsyncClient) -> httpx.Response:
    return await admin.delete(f"/api/users/{MEMBER}")


@pytest.mark.parametrize("revoke", [log_out, remove_user])
async def test_a5_a_stream_ends_with_the_session_it_belongs_to(replicas: tuple[Site, Site], revoke: Revoke) -> None:
    one, two = replicas
    async with (
        await one.as_user(ROOT) as admin,
        await one.as_user(MEMBER) as member,
        following(two, {"cookie": member.headers["cookie"]}) as reader,
    ):
        (await revoke(admin, member)).raise_for_status()
        change(two, "open")
        assert await reader.roots("open") is None


async def test_a10_a_stream_ends_with_its_token(replicas: tuple[Site, Site]) -> None:
    one, two = replicas
    async with await one.as_user(MEMBER) as member:
        token = (await member.post("/api/tokens", json={"name": "t", "scopes": ["read"], "days": 1})).json()
        async with following(two, {"authorization": f"Bearer {token['token']}"}) as reader:
            change(two, "lab")
            assert await reader.roots("lab") == ["lab"]
            (await member.delete(f"/api/tokens/{token['id']}")).raise_for_status()
            change(two, "lab")
            assert await reader.roots("lab") is None
