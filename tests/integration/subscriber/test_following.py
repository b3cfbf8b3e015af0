"""What a subscriber knows of published roots, while files change and services come and go."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.support.processes import wait_until
from tests.support.site import PASSWORD, USER, Site

from .published import fetch, info, make_array, noise, paths, raw_fetch, subscribe


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Path]]:
    directory = tmp_path_factory.mktemp("following")
    data = directory / "data"
    make_array(data / "a.b2nd", noise(40, 50, seed=1), (10, 50))
    make_array(data / "sub/b.b2nd", noise(30, seed=2), (7,))
    (data / "README.md").write_text("# data")
    with Site(directory / "site") as site:
        yield site.start(foo=data), data


@pytest.fixture
def site(running: tuple[Site, Path]) -> Iterator[Site]:
    """The site of this module, whole again after each test."""
    site, _ = running
    yield site
    for service in site.services:
        if not service.running:
            service.start()
    for service in site.services:
        service.wait_ready(parts=["bus"])


@pytest.fixture
def data(running: tuple[Site, Path]) -> Path:
    """Directory of root ``foo``: ``README.md``, ``a.b2nd`` and ``sub/b.b2nd``, and what tests added."""
    return running[1]


def unsubscribed(site: Site) -> None:
    """Start the subscriber with nothing in its state directory."""
    site.subscriber.kill()
    shutil.rmtree(site.subscriber.statedir)
    site.subscriber.start_ready()


def test_a_root_is_listed_only_after_it_is_subscribed_to(site: Site) -> None:
    sub = site.subscriber
    unsubscribed(site)
    wait_until(lambda: "foo" in sub.get("/api/roots").json(), timeout_s=10, what="the root is known")
    assert sub.get("/api/roots").json()["foo"]["subscribed"] is None
    assert sub.get("/api/list/foo").json() == []
    assert sub.get("/api/list/nope").json()["detail"] == "nope not known by the broker"
    assert httpx.post(f"{sub.url}/api/subscribe/nope").json()["detail"] == "nope not known by the broker"
    for _ in range(2):
        answer = httpx.post(f"{sub.url}/api/subscribe/foo", timeout=60)
        assert (answer.status_code, answer.json()) == (200, "Ok")
    assert sub.get("/api/list/foo").json() == ["README.md", "a.b2nd", "sub/b.b2nd"]
    assert sub.get("/api/list/foo/sub/").json() == ["b.b2nd"]
    assert sub.get("/api/list/foo/sub/b.b2nd").json() == ["b.b2nd"]
    assert sub.get("/api/list/foo/README.md").json() == ["README.md"]
    assert sub.get("/api/list/foo/none").json() == []
    roots = sub.get("/api/roots").json()
    assert roots["foo"]["subscribed"] is True
    assert roots["foo"]["http"] == site.publishers["foo"].http
    assert list(roots) == ["foo", "@public"]


def test_changes_are_seen_in_list_info_and_slices_and_old_chunks_never_again(site: Site, data: Path) -> None:
    sub = site.subscriber
    subscribe(sub, "foo")
    make_array(data / "c/changing.b2nd", noise(40, 50, seed=1), (10, 50))
    wait_until(lambda: "c/changing.b2nd" in paths(sub, "foo"), timeout_s=5, what="a new dataset is listed")
    np.testing.assert_array_equal(fetch(sub, "foo/c/changing.b2nd"), noise(40, 50, seed=1))

    version = info(sub, "foo/c/changing.b2nd")["version"]
    changed = noise(40, 60, seed=3)
    make_array(data / "c/changing.b2nd", changed, (10, 50))
    wait_until(lambda: info(sub, "foo/c/changing.b2nd")["version"] != version, timeout_s=5, what="a change is known")
    assert info(sub, "foo/c/changing.b2nd")["shape"] == [40, 60]
    np.testing.assert_array_equal(fetch(sub, "foo/c/changing.b2nd"), changed)

    (data / "c/changing.b2nd").unlink()
    wait_until(lambda: "c/changing.b2nd" not in paths(sub, "foo"), timeout_s=10, what="a removal is known")
    assert sub.get("/api/info/foo/c/changing.b2nd").status_code == 404
    assert sub.get("/api/fetch/foo/c/changing.b2nd").status_code == 404


def test_n7_what_happened_while_the_subscriber_was_away_is_known_after_its_start(site: Site, data: Path) -> None:
    sub = site.subscriber
    make_array(data / "away.b2nd", noise(40, 50, seed=1), (10, 50))
    (data / "gone.md").write_text("# gone")
    subscribe(sub, "foo")
    wait_until(lambda: {"away.b2nd", "gone.md"} < set(paths(sub, "foo")), timeout_s=10, what="all is listed")
    fetch(sub, "foo/away.b2nd")
    sub.kill()
    make_array(data / "away.b2nd", noise(4, 4, seed=9), (2, 4))
    (data / "gone.md").unlink()
    make_array(data / "late.b2nd", np.arange(3), (3,))
    sub.start_ready()
    wait_until(
        lambda: "late.b2nd" in (found := paths(sub, "foo")) and "gone.md" not in found, timeout_s=20, what="caught up"
    )
    np.testing.assert_array_equal(fetch(sub, "foo/away.b2nd"), noise(4, 4, seed=9))


def test_n7_a_publisher_that_lost_its_index_is_followed_on(site: Site, data: Path) -> None:
    sub, pub = site.subscriber, site.publishers["foo"]
    subscribe(sub, "foo")
    pub.kill()
    shutil.rmtree(pub.statedir)
    make_array(data / "reborn.b2nd", noise(3, seed=4), (3,))
    pub.start_ready()
    wait_until(lambda: "reborn.b2nd" in paths(sub, "foo"), timeout_s=30, what="the new index is known")
    np.testing.assert_array_equal(fetch(sub, "foo/reborn.b2nd"), noise(3, seed=4))
    make_array(data / "afterwards.b2nd", np.arange(3), (3,))
    wait_until(lambda: "afterwards.b2nd" in paths(sub, "foo"), timeout_s=10, what="events of the new life are followed")


def test_f6_with_the_publisher_down_the_cache_answers_and_the_rest_is_an_honest_error(site: Site) -> None:
    sub, pub = site.subscriber, site.publishers["foo"]
    subscribe(sub, "foo")
    known = paths(sub, "foo")
    first, later = noise(40, 50, seed=1)[:10], noise(40, 50, seed=1)[20:30]
    np.testing.assert_array_equal(fetch(sub, "foo/a.b2nd", "0:10"), first)
    pub.kill()
    np.testing.assert_array_equal(fetch(sub, "foo/a.b2nd", "0:10"), first)
    answer = sub.get("/api/fetch/foo/a.b2nd", params={"slice_": "20:30"}, timeout=60)
    assert answer.status_code == 504
    assert answer.json() == {"code": "upstream_unavailable", "detail": "The publisher cannot be reached"}
    # From here on the subscriber knows, and says so.
    assert float(raw_fetch(sub, "foo/a.b2nd", "0:10").headers["X-Cat2-Stale"]) > 0
    assert info(sub, "foo/a.b2nd")["freshness"]["stale_s"] > 0
    assert sub.get("/api/roots").json()["foo"]["state"] == "offline"
    sub.restart().wait_ready()
    assert paths(sub, "foo") == known
    np.testing.assert_array_equal(fetch(sub, "foo/a.b2nd", "0:10"), first)
    pub.start_ready()
    wait_until(lambda: fetched(site, "20:30") is not None, timeout_s=40, what="it heals by itself")
    np.testing.assert_array_equal(fetch(sub, "foo/a.b2nd", "20:30"), later)
    assert "X-Cat2-Stale" not in raw_fetch(sub, "foo/a.b2nd", "20:30").headers


def fetched(site: Site, slice_: str) -> httpx.Response | None:
    """Return the answer if there is one."""
    try:
        return raw_fetch(site.subscriber, "foo/a.b2nd", slice_)
    except httpx.HTTPStatusError:
        return None


def test_f6_a_publisher_that_hangs_does_not_hang_cached_reads(site: Site) -> None:
    sub, pub = site.subscriber, site.publishers["foo"]
    subscribe(sub, "foo")
    fetch(sub, "foo/a.b2nd", "0:10")
    pub.send(signal.SIGSTOP)
    try:
        began = time.monotonic()
        fetch(sub, "foo/a.b2nd", "0:10")
        assert time.monotonic() - began < 8
    finally:
        pub.send(signal.SIGCONT)


def test_f5_n8_with_the_broker_down_reads_and_changes_go_on(site: Site, data: Path) -> None:
    sub = site.subscriber
    make_array(data / "f5.b2nd", noise(40, 50, seed=1), (10, 50))
    subscribe(sub, "foo")
    wait_until(lambda: "f5.b2nd" in paths(sub, "foo"), timeout_s=10, what="it is listed")
    site.broker.kill()
    np.testing.assert_array_equal(fetch(sub, "foo/f5.b2nd"), noise(40, 50, seed=1))
    # The embedded nats-server ended with its broker: reads ask the publisher now (N8).
    make_array(data / "f5.b2nd", noise(5, seed=5), (5,))
    wait_until(lambda: info(sub, "foo/f5.b2nd")["shape"] == [5], timeout_s=20, what="a change without bus")
    np.testing.assert_array_equal(fetch(sub, "foo/f5.b2nd"), noise(5, seed=5))
    sub.restart().wait_ready()
    assert "f5.b2nd" in paths(sub, "foo")


def test_unsubscribing_frees_the_cache_and_forgets_the_catalogue(tmp_path: Path) -> None:
    data = tmp_path / "data"
    make_array(data / "a.b2nd", noise(40, 50, seed=1), (10, 50))
    with Site(tmp_path / "site", login=True) as site:
        sub = site.subscriber
        sub.env["CATERVA2_REFUSE_STALE"] = "foo"
        site.start(foo=data)
        site.add_user(superuser=True)
        subscribe(sub, "foo")
        fetch(sub, "foo/a.b2nd")
        assert httpx.post(f"{sub.url}/api/unsubscribe/foo").status_code == 401
        with httpx.Client(base_url=sub.url, trust_env=False) as http:
            http.post("/auth/jwt/login", data={"username": USER, "password": PASSWORD})
            assert http.get("/api/cache/status").json()["roots"]["foo"]["chunks"] == 5
            assert http.post("/api/unsubscribe/foo?who=site").json() == "Ok"
            assert sub.get("/api/list/foo").json() == []
            status = http.get("/api/cache/status").json()
            assert (status["roots"], status["used"]) == ({}, 0)
        _the_policy_to_refuse_holds(site)


def _the_policy_to_refuse_holds(site: Site) -> None:
    sub = site.subscriber
    subscribe(sub, "foo")
    fetch(sub, "foo/a.b2nd", "0:10")
    site.publishers["foo"].kill()
    site.broker.kill()
    answer = wait_until(
        lambda: (a := sub.get("/api/fetch/foo/a.b2nd", params={"slice_": "0:10"})).is_error and a,
        timeout_s=20,
        what="what may be old is refused",
    )
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
