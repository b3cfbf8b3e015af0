"""Looking at large pictures and long lines over the link."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caterva2_formats.envelope import envelope
from caterva2_formats.pyramid import reduce_mean
from tests.support.processes import Service, wait_until
from tests.support.site import Site

from .published import chunk_requests, counter, fetch, info, make_array, noise, subscribe

SIDE = 3000
LONG = 400_000


def picture(seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 60_000, (SIDE, SIDE), dtype=np.uint16)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Path]]:
    directory = tmp_path_factory.mktemp("views")
    data = directory / "data"
    make_array(data / "large.b2nd", picture(1), (512, 512))
    make_array(data / "edited.b2nd", picture(4), (512, 512))
    make_array(data / "stack.b2nd", np.stack([picture(2), picture(3)]), (1, 512, 512))
    make_array(data / "line.b2nd", noise(LONG, 2), (20_000, 2))
    with Site(directory / "site") as site:
        site.start(foo=data)
        subscribe(site.subscriber, "foo", count=4)
        yield site, data


def view(sub: Service, what: str, path: str, **query: Any) -> np.ndarray[Any, Any]:
    answer = sub.get(f"/api/view/{what}/{path}", params=query, timeout=60)
    answer.raise_for_status()
    shape = json.loads(answer.headers["x-shape"])
    return np.frombuffer(answer.content, json.loads(answer.headers["x-dtype"])).reshape(shape)


def views_served(site: Site) -> float:
    return counter(site.publishers["foo"], "views_served_total")


def test_a_large_picture_is_looked_at_without_moving_it(running: tuple[Site, Path]) -> None:
    site, _ = running
    sub = site.subscriber
    before, requests = counter(sub, "link_bytes_total"), chunk_requests(site.publishers["foo"])
    np.testing.assert_array_equal(
        view(sub, "tile", "foo/large.b2nd", s=":375,:375", level=3), reduce_mean(picture(1), 3)
    )
    assert 0 < counter(sub, "link_bytes_total") - before < SIDE * SIDE * 2 / 40
    found = view(sub, "tile", "foo/large.b2nd", s="512:750,100:600", level=2)
    np.testing.assert_array_equal(found, reduce_mean(picture(1), 2)[512:750, 100:600])
    moved = counter(sub, "link_bytes_total") - before
    stats = sub.get("/api/view/stats/foo/large.b2nd", params={"s": ":,:"}).json()
    assert stats["approx"]
    assert stats["mean"] == pytest.approx(picture(1).mean(), rel=0.01)
    assert counter(sub, "link_bytes_total") - before == moved
    assert chunk_requests(site.publishers["foo"]) == requests, "no chunk of the picture crossed the link"


def test_tiles_are_kept_in_the_cache(running: tuple[Site, Path]) -> None:
    site, _ = running
    sub = site.subscriber
    view(sub, "tile", "foo/large.b2nd", s=":375,:375", level=3)
    served = views_served(site)
    view(sub, "tile", "foo/large.b2nd", s="10:20,:375", level=3)
    assert views_served(site) == served
    again = sub.get("/api/view/tile/foo/large.b2nd", params={"s": ":9,:9", "level": 3})
    assert again.headers["x-cat2-source"] == "cache"


def test_each_picture_of_a_stack_has_its_own_pyramid(running: tuple[Site, Path]) -> None:
    sub = running[0].subscriber
    for index in range(2):
        found = view(sub, "tile", "foo/stack.b2nd", s=f"{index},100:300,:375", level=3)
        np.testing.assert_array_equal(found, reduce_mean(picture(2 + index), 3)[100:300])


def test_a_changed_picture_has_a_new_pyramid(running: tuple[Site, Path]) -> None:
    site, data = running
    view(site.subscriber, "tile", "foo/edited.b2nd", s=":375,:375", level=3)
    before = info(site.subscriber, "foo/edited.b2nd")["version"]
    make_array(data / "edited.b2nd", picture(9), (512, 512))
    wait_until(
        lambda: info(site.subscriber, "foo/edited.b2nd")["version"] != before, timeout_s=20, what="the change is known"
    )
    found = view(site.subscriber, "tile", "foo/edited.b2nd", s=":375,:375", level=3)
    np.testing.assert_array_equal(found, reduce_mean(picture(9), 3))


def test_a_long_line_moves_its_extremes_and_they_are_exact(running: tuple[Site, Path]) -> None:
    site, _ = running
    sub = site.subscriber
    before, requests = counter(sub, "link_bytes_total"), chunk_requests(site.publishers["foo"])
    line = noise(LONG, 2)[:, 1]
    np.testing.assert_array_equal(view(sub, "line", "foo/line.b2nd", s=":,1", n=800), envelope(line, LONG // 800))
    found = view(sub, "line", "foo/line.b2nd", s="1000:391000:3,1", n=500)
    np.testing.assert_array_equal(found, envelope(line[1000:391000:3], 260))
    np.testing.assert_array_equal(
        view(sub, "line", "foo/line.b2nd", s="::-1,1", n=800), envelope(line, LONG // 800)[::-1]
    )
    assert counter(sub, "link_bytes_total") - before < 3 * 2 * 8 * 800
    assert chunk_requests(site.publishers["foo"]) == requests
    fetch(sub, "foo/line.b2nd", ":")
    served = views_served(site)
    np.testing.assert_array_equal(view(sub, "line", "foo/line.b2nd", s=":,1", n=700), envelope(line, -(-LONG // 700)))
    assert views_served(site) == served, "what is here is not asked for"
