"""Looking at a large picture over the link."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caterva2_formats.pyramid import reduce_mean
from tests.support.processes import Service, wait_until
from tests.support.site import Site

from .published import counter, info, make_array, subscribe

SIDE = 3000


def picture(seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 60_000, (SIDE, SIDE), dtype=np.uint16)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Path]]:
    directory = tmp_path_factory.mktemp("overview")
    data = directory / "data"
    make_array(data / "large.b2nd", picture(1), (512, 512))
    make_array(data / "stack.b2nd", np.stack([picture(2), picture(3)]), (1, 512, 512))
    with Site(directory / "site") as site:
        site.start(foo=data)
        subscribe(site.subscriber, "foo", count=2)
        yield site, data


def tile(sub: Service, path: str, s: str, level: int) -> np.ndarray[Any, Any]:
    answer = sub.get(f"/api/view/tile/{path}", params={"s": s, "level": level}, timeout=60)
    answer.raise_for_status()
    shape = json.loads(answer.headers["x-shape"])
    return np.frombuffer(answer.content, json.loads(answer.headers["x-dtype"])).reshape(shape)


def test_an_overview_of_a_large_picture_moves_a_small_part_of_it(running: tuple[Site, Path]) -> None:
    sub = running[0].subscriber
    before = counter(sub, "link_bytes_total")
    found = tile(sub, "foo/large.b2nd", ":375,:375", 3)
    np.testing.assert_array_equal(found, reduce_mean(picture(1), 3))
    moved = counter(sub, "link_bytes_total") - before
    assert 0 < moved < SIDE * SIDE * 2 / 40
    assert counter(sub, "link_chunks_total") == 0
    stats = sub.get("/api/view/stats/foo/large.b2nd", params={"s": ":,:"}).json()
    assert stats["mean"] == pytest.approx(picture(1).mean(), rel=0.01)
    assert counter(sub, "link_bytes_total") - before == moved


def test_each_picture_of_a_stack_has_its_own_overview(running: tuple[Site, Path]) -> None:
    sub = running[0].subscriber
    for index in range(2):
        found = tile(sub, "foo/stack.b2nd", f"{index},100:300,:375", 3)
        np.testing.assert_array_equal(found, reduce_mean(picture(2 + index), 3)[100:300])


def test_a_changed_picture_has_a_new_overview(running: tuple[Site, Path]) -> None:
    site, data = running
    tile(site.subscriber, "foo/large.b2nd", ":375,:375", 3)
    before = info(site.subscriber, "foo/large.b2nd")["version"]
    make_array(data / "large.b2nd", picture(9), (512, 512))
    wait_until(
        lambda: info(site.subscriber, "foo/large.b2nd")["version"] != before, timeout_s=20, what="the change is known"
    )
    found = tile(site.subscriber, "foo/large.b2nd", ":375,:375", 3)
    np.testing.assert_array_equal(found, reduce_mean(picture(9), 3))
