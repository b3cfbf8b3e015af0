"""Services killed again and again while data changes and is read: nothing lost, nothing wrong (T4, F22)."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import caterva2
from tests.support.load import Load
from tests.support.processes import wait_until
from tests.support.site import Site

RECOVERY_S = 60


def kill_nats(site: Site) -> None:
    site.kill_nats()


def kill_broker(site: Site) -> None:
    site.broker.restart()


def kill_publisher(site: Site) -> None:
    site.publishers["foo"].restart()


def kill_subscriber(site: Site) -> None:
    site.subscriber.restart()


KILLS: dict[str, Callable[[Site], None]] = {
    "nats": kill_nats,
    "broker": kill_broker,
    "publisher": kill_publisher,
    "subscriber": kill_subscriber,
}


@pytest.mark.timeout(900)
def test_t4_ten_crashes_under_load_lose_nothing(
    shared_site: Site, client: caterva2.Client, folder: Path, prefix: str
) -> None:
    with Load(folder, client, prefix) as load:
        for cycle in range(10):
            list(KILLS.values())[cycle % len(KILLS)](shared_site)
            shared_site.ensure_running()
    load.check_equal(timeout_s=RECOVERY_S)
    assert load.changes > 100
    assert load.reads > 20


@pytest.mark.chaos
@pytest.mark.parametrize("name", list(KILLS))
def test_t4_a_hundred_crashes_under_load_lose_nothing(
    shared_site: Site, client: caterva2.Client, folder: Path, prefix: str, name: str
) -> None:
    longest = 0.0
    with Load(folder, client, prefix, names=30) as load:
        for cycle in range(1, 101):
            KILLS[name](shared_site)
            shared_site.ensure_running()
            longest = max(longest, wait_for_reads(load))
            if cycle % 20 == 0:
                print(f"{name}: {cycle} crashes, {load.changes} changes, {load.reads} reads, {load.refusals} refused")
    load.check_equal(timeout_s=RECOVERY_S)
    print(f"{name}: reads were answered again within {longest:.1f} s")


def wait_for_reads(load: Load) -> float:
    """Wait until reads are answered again, and return the seconds that took."""
    before, began = load.reads, time.monotonic()
    wait_until(lambda: load.reads > before, timeout_s=RECOVERY_S, what="reads are answered again")
    return time.monotonic() - began


def test_f22_a_rolling_restart_fails_no_read_of_what_is_cached(
    shared_site: Site, client: caterva2.Client, folder: Path, prefix: str
) -> None:
    with Load(folder, client, prefix) as warm:
        while warm.reads < 30:
            assert warm.changes < 5000
    warm.check_equal()
    for each in (shared_site.broker, shared_site.publishers["foo"]):
        assert each.terminate(8) == 0
        assert all(client.fetch(f"{prefix}/{name}").min() > 0 for name in client.get_list(prefix))
        shared_site.ensure_running()
        assert all(client.fetch(f"{prefix}/{name}").min() > 0 for name in client.get_list(prefix))
