"""T1, F20: damaged files on the way of people's own: uploaded, listed, read, unfolded over HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import httpx
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
            answer = await client.post(f"/api/upload/{path}", files={"file": (name, content)})
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
