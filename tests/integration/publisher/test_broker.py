"""Registration at a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.publisher.conftest import Publisher
from tests.support.ports import free_port
from tests.support.processes import Service, wait_until


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Service]:
    with Service(["cat2bro"], port=free_port(), statedir=tmp_path / "bro", cwd=tmp_path) as service:
        yield service.wait_ready()


def publisher_of(root: Path, broker: Service, statedir: Path, *options: str) -> Publisher:
    service = Publisher(root, statedir, {}, *options)
    place = service.command.index("--broker")
    service.command[place + 1] = broker.http
    return service


def test_a_publisher_registers_and_finds_the_bus_by_the_broker(broker: Service, root: Path, tmp_path: Path) -> None:
    with publisher_of(root, broker, tmp_path / "pub", "--description", "Cats", "--access", "users") as publisher:
        publisher.wait_ready(parts=("broker", "bus", "index"))
        found = broker.get("/api/roots").json()["foo"]
        assert found["http"] == publisher.http
        assert (found["description"], found["access"], found["state"]) == ("Cats", "users", "online")
        identity = publisher.manifest()[0]
        assert found["epoch"] == identity["epoch"]
        wait_until(
            lambda: broker.get("/api/roots").json()["foo"].get("ndatasets") == 3, timeout_s=15, what="counts follow"
        )
        assert publisher.terminate() == 0


def test_f5_a_publisher_serves_without_a_broker_and_registers_when_it_comes(
    broker: Service, root: Path, tmp_path: Path
) -> None:
    broker.kill()
    with publisher_of(root, broker, tmp_path / "pub") as publisher:
        publisher.wait_ready(parts=("index",))
        assert publisher.list()
        assert not publisher.part("broker")["ok"]
        broker.start_ready()
        wait_until(lambda: "foo" in broker.get("/api/roots").json(), timeout_s=10, what="registered")
        publisher.wait_ready(parts=("broker", "bus"))


def test_f21_a_second_publisher_of_a_root_is_told_and_goes_on_asking(
    broker: Service, root: Path, tmp_path: Path
) -> None:
    with publisher_of(root, broker, tmp_path / "one") as first:
        first.wait_ready(parts=("broker",))
        with publisher_of(root, broker, tmp_path / "two") as second:
            second.wait_ready(parts=("index",))
            detail = wait_until(
                lambda: second.part("broker").get("detail"),
                timeout_s=10,
                what="the broker's answer",
            )
            assert "another publisher" in detail
            assert broker.get("/api/roots").json()["foo"]["http"] == first.http
