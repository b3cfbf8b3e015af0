"""A link that is slow, cut, stalled or lies: readers get right bytes or an honest error, and it heals by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.support.processes import Service, wait_until
from tests.support.proxy import Proxy
from tests.support.site import Site

from .published import counter, fetch, info, make_array, noise, paths, subscribe


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Path, Proxy]]:
    directory = tmp_path_factory.mktemp("faults")
    data = directory / "data"
    make_array(data / "first.b2nd", noise(20, 30), (5, 30))
    with Site(directory / "site") as site:
        pub = site.new_publisher("foo", data)
        with Proxy(pub.port) as proxy:
            pub.command += ["--advertise", f"localhost:{proxy.port}"]
            site.subscriber.env["CATERVA2_UPSTREAM_SILENCE_TIMEOUT_S"] = "3"
            for service in site.services:
                service.start()
            for service in site.services:
                service.wait_ready(parts=["bus"])
            subscribe(site.subscriber, "foo")
            yield site, data, proxy


@pytest.fixture
def sub(running: tuple[Site, Path, Proxy]) -> Service:
    return running[0].subscriber


@pytest.fixture
def proxy(running: tuple[Site, Path, Proxy]) -> Iterator[Proxy]:
    proxy = running[2]
    yield proxy
    proxy.heal()
    proxy.drop()


numbers = count()


@pytest.fixture
def cold(running: tuple[Site, Path, Proxy], proxy: Proxy) -> str:
    """API path of an array of 400 kB in 20 chunks that nobody has read."""
    name = f"cold{next(numbers)}.b2nd"
    make_array(running[1] / name, noise(200, 256, seed=7), (10, 256))
    wait_until(lambda: name in paths(running[0].subscriber, "foo"), timeout_s=15, what="it is listed")
    # A breaker that the test before has opened is closed again by the first answer.
    wait_until(lambda: answers(running[0].subscriber, f"foo/{name}", "0:1"), timeout_s=40, what="the link works")
    return f"foo/{name}"


def answers(sub: Service, path: str, slice_: str) -> bool:
    return sub.get(f"/api/fetch/{path}", params={"slice_": slice_}, timeout=60).status_code == 200


WHOLE = noise(200, 256, seed=7)


def test_f13_a_connection_that_is_cut_in_the_middle_goes_on_where_it_was(sub: Service, proxy: Proxy, cold: str) -> None:
    proxy.cut_after = 150_000
    proxy.drop()
    before = counter(sub, "link_bytes_total")
    np.testing.assert_array_equal(fetch(sub, cold), WHOLE)
    assert counter(sub, "link_bytes_total") - before < 1.1 * WHOLE.nbytes


def flipped(piece: bytes) -> bytes:
    """Change a bit in every 2000th byte."""
    changed = bytearray(piece)
    changed[1000::2000] = bytes(byte ^ 4 for byte in changed[1000::2000])
    return bytes(changed)


def test_f13_a_flipped_byte_now_and_then_is_fetched_again(sub: Service, proxy: Proxy, cold: str) -> None:
    proxy.change = lambda piece: piece[:-20] + bytes([piece[-20] ^ 1]) + piece[-19:] if len(piece) > 5000 else piece
    np.testing.assert_array_equal(fetch(sub, cold, "1:199"), WHOLE[1:199])


def test_f13_flipped_bytes_are_never_served_and_the_version_is_quarantined(
    sub: Service, proxy: Proxy, cold: str, running: tuple[Site, Path, Proxy]
) -> None:
    proxy.change = flipped
    answer = sub.get(f"/api/fetch/{cold}", params={"slice_": "1:199"}, timeout=60)
    assert answer.status_code == 502
    assert answer.json()["code"] == "upstream_invalid"
    assert counter(sub, "link_rejected_total") > 0
    proxy.heal()
    again = sub.get(f"/api/fetch/{cold}", params={"slice_": "1:199"}, timeout=60)
    assert (again.status_code, "Retry-After" in again.headers) == (502, True)
    # A new version is a new start.
    name = cold.removeprefix("foo/")
    version = info(sub, cold)["version"]
    make_array(running[1] / name, WHOLE + 1, (10, 256))
    wait_until(lambda: info(sub, cold)["version"] != version, timeout_s=15, what="the new version is known")
    np.testing.assert_array_equal(fetch(sub, cold), WHOLE + 1)


def test_f13_a_page_of_html_is_not_a_chunk(sub: Service, proxy: Proxy, cold: str) -> None:
    page = b"<html>" + b"x" * 988 + b"</html>"
    proxy.change = lambda piece: page if len(piece) > 5000 else piece
    assert sub.get(f"/api/fetch/{cold}", params={"slice_": "1:199"}, timeout=60).status_code in (502, 504)


def test_f10_what_is_known_to_have_changed_is_not_served_from_old_chunks(
    sub: Service, proxy: Proxy, cold: str, running: tuple[Site, Path, Proxy]
) -> None:
    np.testing.assert_array_equal(fetch(sub, cold), WHOLE)
    fetch(sub, "foo/first.b2nd", "0:1")
    version = info(sub, cold)["version"]
    proxy.refuse = True
    proxy.drop()
    make_array(running[1] / cold.removeprefix("foo/"), WHOLE + 2, (10, 256))
    wait_until(lambda: info(sub, cold)["version"] != version, timeout_s=15, what="the event arrives by the bus")
    answer = sub.get(f"/api/fetch/{cold}", timeout=60)
    assert answer.status_code == 504
    np.testing.assert_array_equal(fetch(sub, "foo/first.b2nd", "0:1")[0], noise(20, 30)[0])
    proxy.heal()
    wait_until(lambda: answers(sub, cold, "0:200"), timeout_s=40, what="it heals by itself")
    np.testing.assert_array_equal(fetch(sub, cold), WHOLE + 2)


def test_f12_a_slow_link_is_not_a_lost_one_and_others_are_not_blocked(sub: Service, proxy: Proxy, cold: str) -> None:
    fetch(sub, "foo/first.b2nd")
    proxy.bytes_per_s = 80_000
    proxy.delay_s = 0.005
    with ThreadPoolExecutor(1) as other:
        began = time.monotonic()
        slow = other.submit(fetch, sub, cold)
        quick = []
        while not slow.done():
            start = time.monotonic()
            fetch(sub, "foo/first.b2nd", "0:3")
            quick.append(time.monotonic() - start)
        # Longer than the time that silence may last: bytes flowed all the while.
        assert time.monotonic() - began > 3
        np.testing.assert_array_equal(slow.result(), WHOLE)
    assert len(quick) > 20


def test_f6_a_link_that_stalls_is_given_up_after_silence(sub: Service, proxy: Proxy, cold: str) -> None:
    proxy.stall = True
    answer = sub.get(f"/api/fetch/{cold}", timeout=60)
    assert answer.status_code == 504
    proxy.heal()
    wait_until(lambda: answers(sub, cold, "0:200"), timeout_s=40, what="it heals by itself")


def test_readers_that_go_away_end_their_requests(sub: Service, proxy: Proxy, cold: str) -> None:
    proxy.bytes_per_s = 20_000
    before = counter(sub, "link_bytes_total")
    for _ in range(3):
        with pytest.raises(httpx.TimeoutException):
            sub.get(f"/api/fetch/{cold}", params={"slice_": "1:199"}, timeout=1.0)
    time.sleep(1.5)
    settled = counter(sub, "link_bytes_total")
    time.sleep(1.5)
    assert counter(sub, "link_bytes_total") == settled
    assert settled - before < 0.5 * WHOLE.nbytes
    proxy.heal()
    np.testing.assert_array_equal(fetch(sub, cold), WHOLE)
