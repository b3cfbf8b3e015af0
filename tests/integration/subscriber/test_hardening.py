"""What browsers are told, and what is refused before anybody looks at it (A14-A17)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from caterva2_service.metrics import Metrics
from caterva2_subscriber.hardening import FairShare
from caterva2_subscriber.settings import ShareSettings

from .conftest import Site, Start
from .test_spaces import USER, upload

EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/roots", 200), ("/api/info/@public/none", 404), ("/api/tokens", 401), ("/api/chunk/x", 422), ("/none", 404)],
)
async def test_a14_every_answer_has_the_headers_also_errors(site: Site, path: str, status: int) -> None:
    async with site.client() as client:
        answer = await client.get(path)
    assert answer.status_code == status
    assert {name: answer.headers[name] for name in EVERYWHERE} == EVERYWHERE
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    if path.startswith("/api/"):
        assert answer.headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in answer.headers


async def test_a14_what_users_uploaded_cannot_act_in_a_browser(site: Site) -> None:
    async with await site.as_user(USER) as client:
        await upload(client, "@public/page.html", b"<script>alert(1)</script>")
        answer = await client.get("/api/download/@public/page.html")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["content-security-policy"]


async def test_a13_a_site_behind_tls_tells_browsers_to_stay_there(start: Start) -> None:
    site = await start(urlbase="https://data.example.org")
    async with site.client() as client:
        assert "max-age" in (await client.get("/api/roots")).headers["strict-transport-security"]


async def test_a15_other_origins_get_no_cors_headers(site: Site) -> None:
    async with site.client() as client:
        answer = await client.get("/api/roots", headers={"Origin": "https://evil.example.com"})
        preflight = await client.options("/api/roots", headers={"Origin": "https://evil.example.com"})
    assert not [name for name in (*answer.headers, *preflight.headers) if name.startswith("access-control")]


async def test_a16_only_known_hosts_are_answered(start: Start) -> None:
    site = await start(allowed_hosts=("data.example.org",))
    async with site.client(base_url="http://data.example.org") as good, site.client(base_url="http://evil") as bad:
        assert (await good.get("/api/roots")).status_code == 200
        assert (await bad.get("/api/roots")).status_code == 400


async def test_a17_large_bodies_are_refused_where_no_file_is_expected(site: Site) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b'"' + b"x" * 2**16

    async with await site.as_user(USER) as client:
        declared = await client.post("/api/lazyexpr/", content=b"x" * (2**20 + 1))
        assert (declared.status_code, declared.json()["code"]) == (413, "too_large")
        streamed = await client.post("/api/lazyexpr/", content=endless(), headers={"content-type": "application/json"})
        assert streamed.status_code in (400, 413)
        assert (await upload(client, "@personal/big.bin", bytes(2**21))).status_code == 200


class Upload:
    """An upload of a client that has sent the beginning of a file, and waits before it sends the rest."""

    def __init__(self, client: httpx.AsyncClient, name: str) -> None:
        self._goes_on = asyncio.Event()
        self.arrived = asyncio.Event()
        head = {"content-type": "multipart/form-data; boundary=b"}
        self.answer = asyncio.create_task(client.post(f"/api/upload/{name}", content=self._parts(), headers=head))

    async def _parts(self) -> AsyncIterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="x.bin"\r\n\r\nx'
        self.arrived.set()
        await self._goes_on.wait()
        yield b"\r\n--b--\r\n"

    async def finish(self) -> int:
        self._goes_on.set()
        return (await self.answer).status_code


async def test_a17_the_burst_of_one_user_keeps_nobody_else_waiting(start: Start) -> None:
    site = await start(share={"requests": 2, "waiting": 1})
    await site.add("root@example.com", superuser=True)
    await site.add(USER)
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        user = await stack.enter_async_context(await site.as_user(USER))
        again = await stack.enter_async_context(await site.as_user(USER))
        uploads = [Upload(user, "@personal/a.bin"), Upload(again, "@personal/b.bin")]
        for each in uploads:
            await each.arrived.wait()
        waiting = asyncio.create_task(user.get("/api/roots"))
        while "caterva2_requests_waiting 1.0" not in (await user.get("/metrics")).text:
            await asyncio.sleep(0)
        refused = await again.get("/api/roots")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert int(refused.headers["retry-after"]) > 0
        assert refused.headers["x-content-type-options"] == "nosniff"
        root = await stack.enter_async_context(await site.as_user("root@example.com"))
        nobody = await stack.enter_async_context(site.client())
        for other in (root, nobody):
            assert (await other.get("/api/roots")).status_code == 200, "others are not kept waiting"
        assert not waiting.done()
        assert await uploads[0].finish() == 200
        assert (await waiting).status_code == 200, "its turn has come"
        assert await uploads[1].finish() == 200
        assert [(await user.get("/api/roots")).status_code for _ in range(4)] == [200] * 4


async def test_a17_a_request_waits_for_its_turn_so_long_and_no_longer(start: Start) -> None:
    site = await start(share={"requests": 1, "patience_s": 0.05})
    await site.add(USER)
    async with await site.as_user(USER) as user, asyncio.timeout(60):
        busy = Upload(user, "@personal/a.bin")
        await busy.arrived.wait()
        for _ in range(2):
            assert (await user.get("/api/roots")).status_code == 429
        assert await busy.finish() == 200
        assert (await user.get("/api/roots")).status_code == 200


async def test_a17_who_has_moved_the_bytes_of_a_minute_waits(start: Start) -> None:
    site = await start(share={"bytes_per_minute": 100_000})
    await site.add("root@example.com", superuser=True)
    await site.add(USER)
    async with await site.as_user(USER) as user, await site.as_user("root@example.com") as root:
        assert (await upload(user, "@personal/big.bin", bytes(300_000))).status_code == 200, (
            "what has begun is finished"
        )
        refused = await user.get("/api/roots")
        assert refused.status_code == 429
        assert 100 <= int(refused.headers["retry-after"]) <= 130, "200 kB too many are two minutes"
        assert (await root.get("/api/roots")).status_code == 200
    quick = await start(share={"bytes_per_minute": "6M"})
    async with await quick.as_user(USER) as user, asyncio.timeout(60):
        assert (await upload(user, "@personal/big.bin", bytes(6_300_000))).status_code == 200
        while (await user.get("/api/roots")).status_code == 429:
            await asyncio.sleep(0.05)


async def test_a17_changes_are_followed_at_so_many_places(start: Start) -> None:
    site = await start()
    following, goes_on = asyncio.Event(), asyncio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        following.set()
        await goes_on.wait()

    app = FairShare(stream, settings=ShareSettings(streams=1), metrics=Metrics())
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    def follow(address: str) -> Coroutine[Any, Any, None]:
        known = SimpleNamespace(state=SimpleNamespace(context=site.context))
        scope = {"type": "http", "path": "/api/events", "headers": [], "client": (address, 1), "app": known}
        return app(scope, receive, send)

    first = asyncio.create_task(follow("2001:db8::1"))
    await following.wait()
    await follow("2001:db8::2")
    assert sent[0]["status"] == 429, "addresses of one /64 are one host"
    following.clear()
    other = asyncio.create_task(follow("2001:db9::1"))
    await following.wait()
    goes_on.set()
    await asyncio.gather(first, other, follow("2001:db8::2"))
    assert len(sent) == 2, "the place is free again"


async def test_u7_names_that_lead_elsewhere_are_refused_and_touch_nothing(site: Site) -> None:
    paths = [
        "@public/../db.sqlite",
        "@public/%2e%2e/db.sqlite",
        "@public/..%2fdb.sqlite",
        "@public/..%2f..%2fetc%2fpasswd",
        "@public/%00",
        "@public/a%0ab",
        "@publicx/db.sqlite",
        "%2Fetc%2Fpasswd",
        "@public//etc/passwd",
        "@public/" + "a" * 300,
        "@public/" + "/".join("a" * 40),
        "@public/.cat2secret",
        "@public/%E2%80%AEtxt",
        "@public/con",
    ]
    async with await site.as_user(USER) as client:
        for path in paths:
            for method, route in (
                ("GET", "info"),
                ("GET", "fetch"),
                ("GET", "list"),
                ("GET", "download"),
                ("POST", "remove"),
            ):
                answer = await client.request(method, f"/api/{route}/{path}")
                assert answer.status_code in (400, 404) or answer.json() == [], (method, route, path, answer.text)
            assert (await upload(client, path, b"x")).status_code in (400, 404) or path == "@public//etc/passwd", path
        assert (await client.get("/api/me")).json()["email"] == USER, "the database of users is still there"
