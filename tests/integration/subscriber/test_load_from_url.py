"""Files that the subscriber downloads for its users: only from where its operator allows (U11)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from .conftest import Site, Start
from .test_spaces import USER, frame

ARRAY = frame(np.arange(1000).reshape(10, 100), chunks=(3, 30))
OPEN = {"hosts": ["127.0.0.1:*"], "allow": ["127.0.0.0/8"], "plain": True}


class Elsewhere:
    """A web server that counts what reaches it."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.port = 0
        self.files: dict[str, bytes] = {"/run7.b2nd": ARRAY, "/notes.txt": b"a note", "/large.bin": bytes(300_000)}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        path = head.split(" ")[1]
        self.requests.append(path)
        content = self.files.get(path)
        if path == "/moved":
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n")
        elif path == "/cut":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly the beginning")
        elif path == "/silent":
            await reader.read()
        elif content is None:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        else:
            size = b"" if path == "/large.bin" else b"Content-Length: %d\r\n" % len(content)
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + size + b"\r\n" + content)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def _served() -> AsyncIterator[Elsewhere]:
    elsewhere = Elsewhere()
    server = await asyncio.start_server(elsewhere.answer, "127.0.0.1", 0)
    elsewhere.port = server.sockets[0].getsockname()[1]
    yield elsewhere
    server.close()
    await server.wait_closed()


@pytest.fixture
async def elsewhere() -> AsyncIterator[Elsewhere]:
    async with _served() as made:
        yield made


async def user_of(start: Start, elsewhere: Elsewhere, **settings: Any) -> tuple[Site, httpx.AsyncClient]:
    hosts = [host.replace("*", str(elsewhere.port)) for host in settings.get("hosts", ())]
    site = await start(load_from_url={**settings, "hosts": hosts})
    await site.add(USER)
    return site, await site.as_user(USER)


async def load(client: httpx.AsyncClient, url: str, path: str = "@personal/got.b2nd") -> httpx.Response:
    return await client.post(f"/api/load_from_url/{path}", data={"remote_url": url})


async def test_a_file_of_a_listed_host_is_stored_as_if_it_were_uploaded(start: Start, elsewhere: Elsewhere) -> None:
    site, client = await user_of(start, elsewhere, **OPEN)
    async with client:
        url = f"http://127.0.0.1:{elsewhere.port}"
        assert (await load(client, f"{url}/run7.b2nd")).json() == "@personal/got.b2nd"
        assert (await client.get("/api/fetch/@personal/got.b2nd")).content == ARRAY
        assert (await load(client, f"{url}/run7.b2nd", "@personal")).json() == "@personal/run7.b2nd"
        assert (await load(client, f"{url}/notes.txt", "@shared/new/")).json() == "@shared/new/notes.txt"
        assert (await client.get("/api/download/@shared/new/notes.txt")).content == b"a note"
        assert (await load(client, f"{url}/notes.txt")).status_code == 422, "a note is no array"
        assert (await load(client, f"{url}/run7.b2nd", "foo/x.b2nd")).status_code == 400
    async with site.client() as anonymous:
        assert (await load(anonymous, f"{url}/run7.b2nd", "@public/x.b2nd")).status_code == 401


async def test_u11_nothing_is_loaded_unless_hosts_are_listed(start: Start, elsewhere: Elsewhere) -> None:
    _, client = await user_of(start, elsewhere)
    async with client:
        answer = await load(client, f"http://127.0.0.1:{elsewhere.port}/run7.b2nd")
    assert (answer.status_code, answer.json()["detail"]) == (403, "This site does not load files from URLs")
    assert elsewhere.requests == []


NOT_LISTED = [
    "http://127.0.0.1:PORT/run7.b2nd",
    "http://localhost:PORT/run7.b2nd",
    "http://2130706433:PORT/run7.b2nd",
    "http://0.0.0.0:PORT/run7.b2nd",
    "http://[::ffff:127.0.0.1]:PORT/run7.b2nd",
    "http://user:password@listed.example.org:PORT/run7.b2nd",
    "http://listed.example.org@127.0.0.1:PORT/run7.b2nd",
    "http://127.0.0.1:PORT#.example.org/run7.b2nd",
    "file:///etc/passwd",
    "ftp://listed.example.org/x",
    "//listed.example.org/x",
    "not a url",
    "http://[",
]


async def test_u11_hosts_that_are_not_listed_are_not_reached(start: Start, elsewhere: Elsewhere) -> None:
    hosts = ["listed.example.org", "*.example.org"]
    _, client = await user_of(start, elsewhere, hosts=hosts, allow=["127.0.0.0/8"], plain=True)
    async with client:
        for url in NOT_LISTED:
            answer = await load(client, url.replace("PORT", str(elsewhere.port)))
            assert answer.status_code in (400, 403), url
    assert elsewhere.requests == []


async def test_u11_a_listed_host_must_not_lead_to_this_machine(start: Start, elsewhere: Elsewhere) -> None:
    _, client = await user_of(start, elsewhere, hosts=["127.0.0.1:*", "localhost:*"], plain=True)
    async with client:
        for base in ("http://127.0.0.1", "http://localhost", "https://127.0.0.1", "https://localhost"):
            answer = await load(client, f"{base}:{elsewhere.port}/run7.b2nd")
            assert answer.status_code == 403, base
    assert elsewhere.requests == []


async def test_u11_redirects_errors_and_limits_end_the_download(start: Start, elsewhere: Elsewhere) -> None:
    _, client = await user_of(start, elsewhere, **OPEN, size="200K", silence_timeout_s=0.5)
    async with client:
        found = {
            path: (await load(client, f"http://127.0.0.1:{elsewhere.port}/{path}", f"@personal/{path}")).status_code
            for path in ("moved", "nope", "cut", "silent", "large.bin")
        }
        assert found == {"moved": 502, "nope": 502, "cut": 504, "silent": 504, "large.bin": 413}
        assert (await client.get("/api/list/@personal")).json() == [], "nothing half is left"
    assert elsewhere.requests == ["/moved", "/nope", "/cut", "/silent", "/large.bin"], "each was asked once"


async def test_a_file_that_exceeds_the_quota_is_not_kept(start: Start, elsewhere: Elsewhere, tmp_path: Path) -> None:
    site = await start(quota="100K", load_from_url={**OPEN, "hosts": [f"127.0.0.1:{elsewhere.port}"]})
    await site.add(USER)
    elsewhere.files["/noise.bin"] = np.random.default_rng(0).bytes(200_000)
    async with await site.as_user(USER) as client:
        answer = await load(client, f"http://127.0.0.1:{elsewhere.port}/noise.bin", "@personal/noise.bin")
        assert (answer.status_code, answer.json()["code"]) == (400, "quota_exceeded")
        assert (await client.get("/api/list/@personal")).json() == []
