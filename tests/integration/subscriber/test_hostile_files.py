"""T1, F19, F20: damaged and greedy files on the way of people's own: uploaded, listed, read, unfolded over HTTP."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import blosc2
import httpx
import numpy as np
import psutil
import pytest

from tests.security.mutants import blosc2_files, effort, hdf5_files, mutants

from .conftest import Site

USER = "user@example.com"


OVER_HTTP_EVERY = 5
"""Of the mutants of a long run, one in so many comes over HTTP; all of them are read in ``tests/security``."""


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("make", [blosc2_files, hdf5_files], ids=["blosc2", "hdf5"])
async def test_t1_damaged_uploads_never_harm_the_service(site: Site, make: Callable[[], dict[str, bytes]]) -> None:
    outcomes: Counter[str] = Counter()
    async with await site.as_user(USER, timeout=60) as client:
        for name, content in mutants(make(), effort(40 * OVER_HTTP_EVERY) // OVER_HTTP_EVERY, seed=42):
            path = f"@personal/{name}"
            files = {"file": (name, content)}
            answer = await patiently(partial(client.post, f"/api/upload/{path}", files=files))
            assert answer.status_code in (200, 422), (name, answer.status_code, answer.text)
            outcomes[f"upload {answer.status_code}"] += 1
            if answer.status_code == 200:
                for question in questions(name):
                    outcomes[f"read {await ask(client, f'{question}@personal/{name}')}"] += 1
        assert (await client.get("/api/roots")).status_code == 200
        good, content = next(iter(make().items()))
        assert (await client.post(f"/api/upload/@personal/{good}", files={"file": (good, content)})).status_code == 200
    print(dict(outcomes))
    assert outcomes["upload 200"]
    assert outcomes["upload 422"]
    assert outcomes["read 200"]


async def test_f20_refused_bytes_are_in_the_audit_trail(site: Site) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("bad.b2nd", b"junk")
    good = blosc2.asarray(np.arange(10)).to_cframe()
    async with await site.as_user(USER, timeout=60) as client:

        async def send(kind: str, path: str, content: bytes | None = None) -> int:
            files = None if content is None else {"file": ("x", content)}
            return (await client.post(f"/api/{kind}/@personal/{path}", files=files)).status_code

        assert await send("upload", "good.b2nd", good) == 200
        assert await send("upload", "z.zip", packed.getvalue()) == 200
        assert await send("upload", "bad.b2nd", b"junk") == 422
        assert await send("upload", "bad.h5", b"junk") == 422
        assert await send("append", "good.b2nd", good[:-20]) == 422
        assert await send("unfold", "z.zip") == 422
        assert (await client.get("/api/list/@personal")).json() == ["good.b2nd", "z.zip"]
    entries = await site.context.accounts.audit.read(actor=USER)
    refused = [(entry.action, entry.target) for entry in reversed(entries) if entry.result == "refused"]
    assert refused == [
        ("upload", "@personal/bad.b2nd"),
        ("upload", "@personal/bad.h5"),
        ("append", "@personal/good.b2nd"),
        ("unfold", "@personal/z.zip"),
    ]
    assert all(entry.detail for entry in entries if entry.result == "refused")


async def test_f19_a_small_file_that_claims_a_terabyte_costs_the_service_no_memory(site: Site) -> None:
    claims = blosc2.zeros(2**37, dtype=np.float64, chunks=(2**24,), blocks=(2**20,)).to_cframe()
    assert len(claims) < 4096
    async with await site.as_user(USER, timeout=60) as client:
        answer = await client.post("/api/upload/@personal/claims.b2nd", files={"file": ("claims.b2nd", claims)})
        assert answer.status_code == 200
        before = psutil.Process().memory_info().rss
        expression = {"name": "e", "expression": "a + 1", "operands": {"a": "@personal/claims.b2nd"}}
        computed = await client.post("/api/lazyexpr/", json={**expression, "compute": True})
        assert (computed.status_code, computed.json()["code"]) == (413, "too_large")
        shown = await client.get("/api/view/slice/@personal/claims.b2nd", params={"s": ":"})
        assert shown.status_code == 413
        assert psutil.Process().memory_info().rss - before < 256 * 2**20
        few = await client.get("/api/view/slice/@personal/claims.b2nd", params={"s": f"{2**36}:{2**36 + 3}"})
        assert few.content == bytes(24)


async def patiently(ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """Ask again, as an answer of 503 says: a busy machine has moments without time for a database."""
    for _ in range(20):
        answer = await ask()
        if answer.status_code != 503:
            break
        await asyncio.sleep(float(answer.headers["Retry-After"]))
    return answer


def questions(name: str) -> list[str]:
    """Return what is asked of a file, up to its path."""
    common = ["GET /api/info/", "GET /api/fetch/", "GET /api/download/", "GET /api/chunk/"]
    return [*common, "POST /api/unfold/", "member"] if name.endswith(".h5") else [*common, "slice"]


async def ask(client: httpx.AsyncClient, question: str) -> int:
    """Ask one question; return the status, which is never that of an accident."""
    method, _, url = question.partition(" ")
    if question.startswith("member"):
        method, url = "GET", f"/api/fetch/{question.removeprefix('member')}/group/x"
    elif question.startswith("slice"):
        method, url = "GET", f"/api/fetch/{question.removeprefix('slice')}?slice_=0:3"
    elif "/api/chunk/" in url:
        url += "?nchunk=0"
    answer = await client.request(method, url)
    assert answer.status_code in (200, 400, 404, 409, 422, 503), (question, answer.status_code, answer.text[:300])
    return answer.status_code
