"""Changes at a publisher, seen at a subscriber, whatever is killed meanwhile."""

import itertools
import shutil
import stat
from pathlib import Path

import pytest

import caterva2
from tests.support.content import settle, wait_for_list, wait_for_value, wait_subscribed, write_array
from tests.support.processes import Service, wait_until
from tests.support.site import Site


def test_changes_arrive_and_old_chunks_are_never_answered(client: caterva2.Client, folder: Path, prefix: str) -> None:
    wait_for_value(client, f"{prefix}/a.b2nd", 1)
    for value in range(10, 15):
        write_array(folder / "a.b2nd", value)
        wait_for_value(client, f"{prefix}/a.b2nd", value)
    write_array(folder / "new" / "c.b2nd", 3)
    (folder / "sub" / "b.b2nd").unlink()
    wait_for_list(client, prefix, {"a.b2nd", "new/c.b2nd"})
    wait_for_value(client, f"{prefix}/new/c.b2nd", 3)


def service(site: Site, name: str) -> Service:
    return {"broker": site.broker, "publisher": site.publishers["foo"], "subscriber": site.subscriber}[name]


@pytest.mark.parametrize("name", ["broker", "publisher", "subscriber"])
def test_f5_f6_f7_changes_while_a_service_is_dead_are_not_lost(
    shared_site: Site, client: caterva2.Client, folder: Path, prefix: str, name: str
) -> None:
    wait_for_value(client, f"{prefix}/a.b2nd", 1)
    victim = service(shared_site, name)
    victim.kill()
    settle()
    write_array(folder / "a.b2nd", 7)
    write_array(folder / "new.b2nd", 8)
    (folder / "sub" / "b.b2nd").unlink()
    shared_site.ensure_running()
    wait_for_list(client, prefix, {"a.b2nd", "new.b2nd"}, timeout_s=30)
    wait_for_value(client, f"{prefix}/a.b2nd", 7)
    wait_for_value(client, f"{prefix}/new.b2nd", 8)


def test_f2_changes_while_nats_is_killed_are_not_lost(
    shared_site: Site, client: caterva2.Client, folder: Path, prefix: str
) -> None:
    for value in range(20, 23):
        shared_site.kill_nats()
        write_array(folder / "a.b2nd", value)
        wait_for_value(client, f"{prefix}/a.b2nd", value)


def test_f3_a_wiped_nats_loses_nothing(shared_site: Site, client: caterva2.Client, folder: Path, prefix: str) -> None:
    wait_for_value(client, f"{prefix}/a.b2nd", 1)
    shared_site.broker.kill()
    shutil.rmtree(shared_site.broker.statedir / "nats" / "store", ignore_errors=True)
    write_array(folder / "a.b2nd", 30)
    (folder / "sub" / "b.b2nd").unlink()
    shared_site.ensure_running()
    wait_for_list(client, prefix, {"a.b2nd"}, timeout_s=40)
    wait_for_value(client, f"{prefix}/a.b2nd", 30)


def test_f5_reads_go_on_while_the_broker_is_dead(
    shared_site: Site, client: caterva2.Client, folder: Path, prefix: str
) -> None:
    wait_for_list(client, prefix, {"a.b2nd", "sub/b.b2nd"})
    shared_site.broker.kill()
    wait_for_value(client, f"{prefix}/a.b2nd", 1)
    wait_for_value(client, f"{prefix}/sub/b.b2nd", 2)
    assert client.get_roots()["foo"]["name"] == "foo"
    write_array(folder / "a.b2nd", 3)
    wait_for_value(client, f"{prefix}/a.b2nd", 3, timeout_s=40)


def test_f6_cached_data_stays_readable_while_the_publisher_is_dead(
    shared_site: Site, client: caterva2.Client, folder: Path, prefix: str
) -> None:
    wait_for_list(client, prefix, {"a.b2nd", "sub/b.b2nd"})
    wait_for_value(client, f"{prefix}/a.b2nd", 1)
    shared_site.publishers["foo"].kill()
    wait_for_value(client, f"{prefix}/a.b2nd", 1)
    uncached = shared_site.subscriber.get(f"/api/fetch/{prefix}/sub/b.b2nd", timeout=60)
    assert uncached.status_code == 504
    assert uncached.json()["code"] == "upstream_unavailable"


def test_f21_a_second_publisher_of_a_root_does_not_get_in(
    shared_site: Site, client: caterva2.Client, tmp_path: Path
) -> None:
    first = shared_site.publishers["foo"]
    write_array(tmp_path / "other" / "intruder.b2nd", 666)
    second = shared_site.new_publisher("foo", tmp_path / "other", statedir="pub.second").start()
    try:
        wait_until(lambda: "another publisher" in second.output, timeout_s=20, what="the second publisher is refused")
        assert first.running
        assert shared_site.broker.get("/api/roots").json()["foo"]["http"] == first.http
        assert "intruder.b2nd" not in client.get_list("foo")
    finally:
        shared_site.drop(second)
        shared_site.publishers["foo"] = first


def test_every_service_tells_its_health_metrics_and_versions(shared_site: Site) -> None:
    for each in shared_site.services:
        assert each.get("/healthz").json() == {"status": "ok"}
        assert each.get("/readyz").json()["status"] == "ready"
        assert "caterva2_http_requests_total" in each.get("/metrics").text
        assert each.get("/api/server").json()["version"]
        assert each.get("/openapi.json").status_code == 200


def test_a19_state_directories_hold_no_secret_that_others_may_read(shared_site: Site) -> None:
    for path in shared_site.directory.rglob("*"):
        if path.is_file() and any(word in path.name for word in ("token", "secret", "key", "account", ".conf")):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


ORDERS = sorted(itertools.permutations(("broker", "publisher", "subscriber")))


def check_order(site: Site, tmp_path: Path, order: tuple[str, ...]) -> None:
    """Start services for the first time in `order`, see that data and changes arrive, and end them by SIGTERM."""
    write_array(tmp_path / "source" / "a.b2nd", 1)
    site.new_publisher("foo", tmp_path / "source")
    for name in order:
        service(site, name).start_ready()
    client = site.client()
    wait_subscribed(client, "foo")
    wait_for_value(client, "foo/a.b2nd", 1)
    write_array(tmp_path / "source" / "a.b2nd", 5)
    wait_for_value(client, "foo/a.b2nd", 5)
    for name in order:
        each = service(site, name)
        assert each.terminate(6) == 0, each.output
        assert "Traceback" not in each.output


def test_f1_services_start_in_reverse_order_and_end_without_complaint(site: Site, tmp_path: Path) -> None:
    check_order(site, tmp_path, ("subscriber", "publisher", "broker"))


@pytest.mark.chaos
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_f1_services_start_in_any_order(site: Site, tmp_path: Path, order: tuple[str, ...]) -> None:
    check_order(site, tmp_path, order)
