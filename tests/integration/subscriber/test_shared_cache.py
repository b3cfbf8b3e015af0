"""Processes of one site that share a cache directory: each chunk crosses the link once, for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from tests.support.processes import Service
from tests.support.site import Site

from .published import chunk_requests, counter, decode, fetch, make_array, noise, subscribe, wait_cached


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("shared")
    data = directory / "data"
    make_array(data / "cold.b2nd", noise(200, 200), (50, 50))
    make_array(data / "kept.b2nd", noise(100, 100), (10, 100))
    with Site(directory / "site", env={"CATERVA2_CACHE_DIRECTORY": str(directory / "cache")}) as site:
        site.new_subscriber()
        site.start(foo=data)
        for subscriber in site.subscribers:
            subscribe(subscriber, "foo", count=2)
        yield site


@pytest.fixture
def pub(site: Site) -> Service:
    return site.publishers["foo"]


async def test_f23_fifty_readers_at_two_subscribers_cost_one_fetch(site: Site, pub: Service) -> None:
    before = chunk_requests(pub)
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        urls = [f"{site.subscribers[n % 2].url}/api/fetch/foo/cold.b2nd" for n in range(50)]
        answers = await asyncio.gather(
            *(http.get(url, params={"slice_": f"0:50,{n % 25}:50"}) for n, url in enumerate(urls))
        )
    for n, answer in enumerate(answers):
        np.testing.assert_array_equal(decode(answer.content), noise(200, 200)[0:50, n % 25 : 50])
    assert chunk_requests(pub) - before == 1
    assert sum(counter(each, "link_chunks_total") for each in site.subscribers) == 1


def test_what_one_subscriber_fetched_the_other_has_when_it_is_killed(site: Site, pub: Service) -> None:
    first, second = site.subscribers
    expected = noise(100, 100)
    np.testing.assert_array_equal(fetch(first, "foo/kept.b2nd", "0:95"), expected[0:95])
    wait_cached(second, "foo/kept.b2nd")
    first.kill()
    before = chunk_requests(pub)
    np.testing.assert_array_equal(fetch(second, "foo/kept.b2nd", "1:99"), expected[1:99])
    assert chunk_requests(pub) == before
    site.ensure_running()
    np.testing.assert_array_equal(fetch(first, "foo/kept.b2nd", "2:98"), expected[2:98])
    assert chunk_requests(pub) == before
