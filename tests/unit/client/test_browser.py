"""What is particular to browsers: which modules are needed, and requests that the browser makes for us."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest

import caterva2
from caterva2 import _transport, errors

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"numpy", "blosc2", "rich", "textual", "uvloop", "orjson", "h5py", "zstandard"}:
            raise ModuleNotFoundError(f"{name} is not there", name=name)

sys.meta_path.insert(0, Blocked())
import caterva2
from caterva2 import AsyncClient, Client, errors, events, paths, slices, wire
client = Client("http://localhost:1")
assert slices.parse_slice("1:3") == (slice(1, 3),)
print(client, AsyncClient("http://localhost:1"))
"""


def test_nothing_compiled_is_needed_until_arrays_are_read() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    assert done.stdout == "<Client: http://localhost:1> <AsyncClient: http://localhost:1>\n"


class Page:
    """What a page offers for requests, as far as it is used; answers as a browser does."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, dict[str, str], bytes | None]] = []

    def answer(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
        self.sent.append((method, url, headers, body))
        if url.endswith("/api/roots"):
            return 200, b'{"foo":{"name":"foo","http":""}}'
        if url.endswith("/api/chunk/foo/x.b2nd?nchunk=0"):
            return 200, bytes(range(256))
        return 404, b'{"detail":"Not Found","code":"dataset_not_found"}'

    async def pyfetch(self, url: str, method: str, headers: dict[str, str], body: bytes | None = None) -> Any:
        if "nowhere" in url:
            raise OSError("Failed to fetch")
        status, content = self.answer(method, url, headers, body)

        async def read() -> bytes:
            return content

        # A browser has undone the encoding, and still tells of it.
        told = {"content-encoding": "zstd", "content-length": "3", "content-type": "application/json"}
        return SimpleNamespace(status=status, headers=told, bytes=read)

    def new(self) -> Any:
        page = self

        class Xhr:
            def open(self, method: str, url: str, wait: bool) -> None:
                self.method, self.url, self.headers = method, url, {}
                assert wait is False

            def setRequestHeader(self, name: str, value: str) -> None:
                self.headers[name] = value

            def overrideMimeType(self, mime: str) -> None:
                assert mime.endswith("x-user-defined")

            def send(self, body: bytes | None) -> None:
                if "nowhere" in self.url:
                    raise RuntimeError("NetworkError")
                self.status, content = page.answer(self.method, self.url, self.headers, body)
                # Bytes from 128 on become characters of a private area.
                self.responseText = "".join(chr(b if b < 128 else 0xF700 + b) for b in content)

            def getAllResponseHeaders(self) -> str:
                return "content-encoding: zstd\r\ncontent-type: application/json\r\n"

        return Xhr()


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    """A browser around us."""
    found = Page()
    modules = {
        "js": SimpleNamespace(XMLHttpRequest=found),
        "pyodide": ModuleType("pyodide"),
        "pyodide.http": SimpleNamespace(pyfetch=found.pyfetch),
        "pyodide.ffi": SimpleNamespace(to_js=bytes),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(_transport, "IN_BROWSER", True)
    return found


def test_a_blocking_client_makes_requests_by_the_page(page: Page) -> None:
    with caterva2.Client("https://data.example.org", caterva2.TokenAuth("secret")) as client:
        assert client.get_roots() == {"foo": {"name": "foo", "http": ""}}
        assert client.get_chunk("foo/x.b2nd", 0) == bytes(range(256)), "every byte survives"
        with pytest.raises(errors.NotFound):
            client.remove("@personal/x")
    method, url, headers, _ = page.sent[0]
    assert (method, url) == ("GET", "https://data.example.org/api/roots")
    assert headers["authorization"] == "Bearer secret"
    assert not {"host", "connection", "accept-encoding", "user-agent"} & headers.keys(), "pages may not set these"
    with caterva2.Client("https://nowhere.example.org") as client, pytest.raises(httpx.ConnectError):
        client.remove("@personal/x")


def test_an_asynchronous_client_makes_requests_by_the_page(page: Page) -> None:
    async def tour() -> None:
        async with caterva2.AsyncClient("https://data.example.org") as client:
            assert await client.get_roots() == {"foo": {"name": "foo", "http": ""}}
            with pytest.raises(errors.NotFound):
                await client.move("@personal/x", "@personal/y")
        async with caterva2.AsyncClient("https://nowhere.example.org") as client:
            with pytest.raises(httpx.ConnectError):
                await client.remove("@personal/x")

    asyncio.run(tour())
    assert page.sent[1][3] == b'{"src":"@personal/x","dst":"@personal/y"}'
