"""One subscriber of several processes: one address, one cache, the same roots, and workers that may be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.support.processes import Service, wait_until
from tests.support.site import Site

from .published import chunk_requests, counter, decode, fetch, make_array, noise, subscribe

WORKERS = 2


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("workers")
    data = directory / "data"
    make_array(data / "cold.b2nd", noise(200, 200), (50, 50))
    make_array(data / "kept.b2nd", noise(100, 100), (10, 100))
    with Site(directory / "site", env={"CATERVA2_WORKERS": str(WORKERS)}) as site:
        site.start(foo=data)
        subscribe(site.subscriber, "foo", count=2)
        yield site


@pytest.fixture
def sub(site: Site) -> Service:
    return site.subscriber


def workers(service: Service) -> set[int]:
    """Return the process ids of a subscriber's workers."""
    return {int(pid) for pid in Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()}


def answering(service: Service, count: int = 40) -> list[httpx.Response]:
    """Ask for the same thing over many new connections, so that every worker answers some of them."""
    return [httpx.get(f"{service.url}/api/list/foo", trust_env=False, timeout=60) for _ in range(count)]


async def test_f23_fifty_readers_of_two_workers_cost_one_fetch(site: Site, sub: Service) -> None:
    publisher = site.publishers["foo"]
    before = chunk_requests(publisher)

    async def read(n: int) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            return await http.get(f"{sub.url}/api/fetch/foo/cold.b2nd", params={"slice_": f"0:50,{n % 25}:50"})

    answers = await asyncio.gather(*(read(n) for n in range(50)))
    for n, answer in enumerate(answers):
        np.testing.assert_array_equal(decode(answer.content), noise(200, 200)[0:50, n % 25 : 50])
    assert chunk_requests(publisher) - before == 1
    for name, count in (("link_chunks_total", 1), ("http_requests_total", 50)):
        labels = {"route": "/api/fetch/{path:path}"} if count == 50 else {}
        wait_until(
            lambda name=name, count=count, labels=labels: counter(sub, name, **labels) == count,
            timeout_s=60,
            what=f"the workers counted {count} together",
        )


def test_every_worker_follows_what_one_was_told_to_follow(sub: Service) -> None:
    assert len(workers(sub)) == WORKERS
    for answer in answering(sub):
        assert sorted(answer.json()) == ["cold.b2nd", "kept.b2nd"]


def test_f7_a_killed_worker_loses_nothing_and_is_replaced(site: Site, sub: Service) -> None:
    expected = noise(100, 100)
    kept = counter(sub, "cache_disk_bytes")
    np.testing.assert_array_equal(fetch(sub, "foo/kept.b2nd", "0:95"), expected[0:95])
    wait_until(
        lambda: counter(sub, "cache_disk_bytes") - kept > expected.nbytes // 2,
        timeout_s=60,
        what="the chunks are in the cache, a moment after their reader has them",
    )
    fetched = chunk_requests(site.publishers["foo"])
    for victim in workers(sub):
        os.kill(victim, signal.SIGKILL)
        wait_until(
            lambda victim=victim: victim not in workers(sub) and len(workers(sub)) == WORKERS,
            timeout_s=60,
            what="the worker is replaced",
        )
    sub.wait_ready(parts=("bus",))
    for answer in answering(sub):
        assert sorted(answer.json()) == ["cold.b2nd", "kept.b2nd"]
    np.testing.assert_array_equal(fetch(sub, "foo/kept.b2nd", "1:99"), expected[1:99])
    assert chunk_requests(site.publishers["foo"]) == fetched


def test_all_workers_end_with_their_parent(site: Site, sub: Service) -> None:
    processes = workers(sub)
    began = time.monotonic()
    assert sub.terminate(30) == 0
    assert time.monotonic() - began < 30
    assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]
    site.ensure_running()
    assert len(workers(sub)) == WORKERS
    before = workers(sub)
    sub.kill()
    wait_until(
        lambda: not [pid for pid in before if _runs(pid)], timeout_s=30, what="workers end when their parent is killed"
    )


def _runs(pid: int) -> bool:
    try:
        return "cat2sub" in Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
