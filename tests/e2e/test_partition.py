"""A subscriber that is cut off from the bus, while the publisher can be reached (F11)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.content import wait_for_list, wait_for_value, wait_subscribed, write_array
from tests.support.nats import NatsServer
from tests.support.proxy import Proxy
from tests.support.site import Site


@pytest.fixture
def bus_link(nats_server: NatsServer) -> Iterator[Proxy]:
    """What lies between the subscriber and NATS."""
    with Proxy(nats_server.port) as proxy:
        yield proxy


def test_f11_changes_arrive_without_the_bus_and_again_with_it(
    tmp_path: Path, nats_server: NatsServer, bus_link: Proxy
) -> None:
    source = tmp_path / "source"
    write_array(source / "a.b2nd", 1)
    with Site(tmp_path / "site", env=nats_server.environment()) as site:
        site.subscriber.env["CATERVA2_NATS_URL"] = f"nats://127.0.0.1:{bus_link.port}"
        site.start(foo=source)
        client = site.client()
        wait_subscribed(client, "foo")
        wait_for_value(client, "foo/a.b2nd", 1)

        bus_link.refuse = True
        bus_link.drop()
        write_array(source / "a.b2nd", 2)
        write_array(source / "b.b2nd", 3)
        wait_for_list(client, "foo", {"a.b2nd", "b.b2nd"}, timeout_s=60)
        wait_for_value(client, "foo/a.b2nd", 2, timeout_s=60)
        assert site.subscriber.readiness()["status"] == "degraded"  # type: ignore[index]

        bus_link.heal()
        site.subscriber.wait_ready(parts=("bus",))
        write_array(source / "a.b2nd", 4)
        wait_for_value(client, "foo/a.b2nd", 4)
