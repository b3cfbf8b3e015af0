"""Servers in containers do for the fixtures what those of this machine do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.engine import docker
from tests.support.containers import NATS_IMAGE, POSTGRES_IMAGE, NatsContainer, PostgresContainer
from tests.support.processes import wait_until

pytestmark = pytest.mark.usefixtures("engine")


def images_running() -> list[str]:
    return docker("ps", "--format", "{{.Image}}").split()


def test_a_nats_that_is_killed_comes_back_with_its_store(tmp_path: Path) -> None:
    before = images_running().count(NATS_IMAGE)
    with NatsContainer(tmp_path / "nats").start_ready() as server:
        assert images_running().count(NATS_IMAGE) == before + 1
        kept = sorted(path.name for path in server.store.rglob("*"))
        server.kill()
        assert not server.running
        server.start_ready()
        assert server.running
        assert sorted(path.name for path in server.store.rglob("*")) == kept
        assert server.output.count("Server is ready") == 2
    assert images_running().count(NATS_IMAGE) == before


def test_a_postgresql_that_hangs_or_is_killed_comes_back_with_its_databases() -> None:
    before = images_running().count(POSTGRES_IMAGE)
    server = PostgresContainer()
    try:
        assert images_running().count(POSTGRES_IMAGE) == before + 1
        name = server.create()
        server.hang()
        server.resume()
        server.kill()
        server.start()
        server.drop(name)
        with pytest.raises(AssertionError, match="does not exist"):
            server.drop(name)
    finally:
        server.close()
    wait_until(lambda: images_running().count(POSTGRES_IMAGE) == before, timeout_s=60, what="the container gone")
