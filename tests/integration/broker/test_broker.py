"""The broker as a process, with the nats-server that it runs itself."""

import asyncio
import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from caterva2.events import DatasetEvent, Operation, RootFact
from caterva2.wire import Bus as BusAddress
from caterva2_service.messaging import Bus
from caterva2_service.trust import BROKER, Role
from tests.support.nats import NatsServer
from tests.support.ports import free_port
from tests.support.processes import Service, wait_until
from tests.support.trust import make_identity

READY = ("bus", "nats")


def make_broker(tmp_path: Path, **env: str) -> Service:
    return Service(["cat2bro"], port=free_port(), statedir=tmp_path / "bro", cwd=tmp_path, env=env)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Service]:
    with make_broker(tmp_path).start_ready(parts=READY) as service:
        yield service


def auth_of(broker: Service, name: str, role: Role = Role.PUBLISHER, join_token: str | None = None) -> httpx.Auth:
    """Return what signs requests of the service `name`; its key stays the same over calls."""
    return make_identity(broker.statedir.parent / name, role, join_token).auth(BROKER)


def register(broker: Service, publisher: str | None = None, **values: object) -> httpx.Response:
    """Register root foo, as the publisher of this name, or as the original did."""
    auth = auth_of(broker, publisher) if publisher else None
    registration = {"name": "foo", "http": "localhost:8001", "publisher": publisher, **values}
    return httpx.post(f"{broker.url}/api/roots", json=registration, auth=auth)


def nats_pid(broker: Service) -> int:
    return int((broker.statedir / "nats" / "nats.pid").read_text())


def is_alive(pid: int) -> bool:
    try:
        return b"nats-server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def bus_of(broker: Service) -> BusAddress:
    answer = broker.get("/api/bus", auth=auth_of(broker, "sub", Role.SUBSCRIBER))
    assert answer.status_code == 200, answer.text
    return BusAddress.model_validate(answer.json())


async def connect(broker: Service) -> BusAddress:
    return bus_of(broker)


def test_the_api_of_the_original_is_answered_as_it_did(broker: Service) -> None:
    assert broker.get("/api/roots").json() == {}
    answer = register(broker)
    assert answer.status_code == 200
    assert answer.json() == {"name": "foo", "http": "localhost:8001", "subscribed": None}
    assert broker.get("/api/roots").json() == {"foo": {"name": "foo", "http": "localhost:8001"}}
    assert broker.get("/api/roots/", follow_redirects=False).status_code == 307
    assert httpx.post(f"{broker.url}/api/roots", json={"name": "foo"}).status_code == 422


def test_f21_the_second_publisher_of_a_root_gets_409(broker: Service) -> None:
    assert register(broker, publisher="p1", epoch="e1", description="Beam line").status_code == 200
    refusal = register(broker, publisher="p2")
    assert refusal.status_code == 409
    assert refusal.json()["code"] == "root_taken"
    assert int(refusal.headers["retry-after"]) > 0
    root = broker.get("/api/roots").json()["foo"]
    assert (root["state"], root["publisher"], root["description"]) == ("online", "p1", "Beam line")


def test_a_bad_registration_is_refused_with_a_sentence(broker: Service) -> None:
    for bad in ({"name": "@public"}, {"name": "../x"}, {"http": "localhost:port"}, {"description": "x" * 5000}):
        refusal = register(broker, **bad)
        assert refusal.status_code == 400, bad
        assert len(refusal.json()["detail"]) > 10


def test_a_root_is_retired_by_its_publisher_or_an_administrator(broker: Service) -> None:
    register(broker, publisher="p1")
    url = f"{broker.url}/api/roots/foo"
    assert httpx.delete(url).status_code == 401
    assert httpx.delete(url, auth=auth_of(broker, "p2")).status_code == 403
    assert httpx.delete(url, headers={"authorization": "Bearer wrong"}).status_code == 401
    token = (broker.statedir / "admin.token").read_text().strip()
    assert httpx.delete(url, headers={"authorization": f"Bearer {token}"}).status_code == 204
    assert broker.get("/api/roots").json() == {}
    assert httpx.delete(url, headers={"authorization": f"Bearer {token}"}).status_code == 404


def test_a19_what_holds_secrets_is_readable_by_nobody_else(broker: Service) -> None:
    for name in ("admin.token", "join.token", "nats/account.json", "nats/nats.conf"):
        mode = stat.S_IMODE((broker.statedir / name).stat().st_mode)
        assert mode == 0o600, name
    assert bus_of(broker).password not in broker.output  # type: ignore[operator]


async def test_n3_the_bus_tells_of_roots_as_the_broker_does(broker: Service) -> None:
    async with Bus.open(lambda: connect(broker), name="test") as bus:
        register(broker, publisher="p1", epoch="e1")
        await told(bus, RootFact(name="foo", http="localhost:8001", publisher="p1", epoch="e1"))
        register(broker, publisher="p1", epoch="e2", http="localhost:9001")
        await told(bus, RootFact(name="foo", http="localhost:9001", publisher="p1", epoch="e2"))
        assert httpx.delete(f"{broker.url}/api/roots/foo", auth=auth_of(broker, "p1")).status_code == 204
        await told(bus, RootFact(name="foo", http="localhost:9001", publisher="p1", epoch="e2", retired=True))


async def told(bus: Bus, fact: RootFact) -> None:
    """Wait until the bus holds `fact`."""
    async with asyncio.timeout(15):
        async for roots in bus.watch_roots():
            if roots.get(fact.name) == fact:
                return


def test_n1_the_embedded_server_syncs_every_write_and_listens_on_loopback_only(broker: Service) -> None:
    conf = (broker.statedir / "nats" / "nats.conf").read_text()
    assert '"sync_interval": "always"' in conf
    assert bus_of(broker).url.startswith("nats://127.0.0.1:")  # type: ignore[union-attr]


async def test_f2_a_killed_nats_is_started_again_with_its_events(broker: Service) -> None:
    before = bus_of(broker)
    async with Bus.open(lambda: connect(broker), name="test") as bus:
        assert await bus.wait_connected(10)
        async with bus.follow("foo", durable="test") as subscription:
            await subscription.bind()
            register(broker, publisher="p1")
            event = DatasetEvent(root="foo", epoch="e", seq=1, operation=Operation.CHANGED, path="a.b2nd")
            await publish_as(broker, "p1", event)
            pid = nats_pid(broker)
            os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(wait_until, lambda: nats_pid(broker) != pid, timeout_s=10, what="a new server")
            async with asyncio.timeout(15):
                deliveries = []
                while not deliveries:
                    deliveries = await subscription.fetch(10, 1)
            assert [delivery.event for delivery in deliveries] == [event]
    assert bus_of(broker) == before
    broker.wait_ready(parts=READY)


async def publish_as(broker: Service, name: str, event: DatasetEvent) -> None:
    """Publish an event with the account of a publisher; raises Unavailable."""

    async def locate() -> BusAddress:
        answer = await asyncio.to_thread(broker.get, "/api/bus", auth=auth_of(broker, name))
        return BusAddress.model_validate(answer.json())

    async with Bus.open(locate, name=name) as bus:
        assert await bus.wait_connected(10)
        await bus.publish(event)


def test_sigterm_ends_the_broker_and_its_nats(broker: Service) -> None:
    pid = nats_pid(broker)
    assert broker.terminate(8) == 0
    assert not is_alive(pid)


def test_f5_a_killed_broker_takes_its_nats_along_and_comes_back_as_it_was(broker: Service) -> None:
    register(broker, publisher="p1", epoch="e1")
    before, pid = bus_of(broker), nats_pid(broker)
    broker.kill()
    wait_until(lambda: not is_alive(pid), timeout_s=10, what="the nats-server of a killed broker ends")
    broker.start_ready(parts=READY)
    assert bus_of(broker) == before
    assert broker.get("/api/roots").json()["foo"]["epoch"] == "e1"


def test_f5_a_nats_that_outlived_its_broker_is_replaced(broker: Service) -> None:
    pid = nats_pid(broker)
    os.kill(pid, signal.SIGSTOP)  # so that it does not end when its broker does
    broker.kill()
    assert is_alive(pid)
    broker.start_ready(parts=READY)
    assert nats_pid(broker) != pid
    assert not is_alive(pid)


def test_f3_a_wiped_store_is_declared_again(broker: Service) -> None:
    register(broker, publisher="p1", epoch="e1")
    broker.kill()
    store = broker.statedir / "nats" / "store"
    wait_until(lambda: not is_alive(nats_pid(broker)), timeout_s=10, what="the nats-server ends")
    store.rename(store.with_name("lost"))
    broker.start_ready(parts=READY)

    async def check() -> None:
        async with Bus.open(lambda: connect(broker), name="test") as bus:
            await told(bus, RootFact(name="foo", http="localhost:8001", publisher="p1", epoch="e1"))

    asyncio.run(check())


def test_f1_the_broker_answers_while_an_external_nats_is_down(tmp_path: Path, nats_server: NatsServer) -> None:
    nats_server.kill()
    with make_broker(tmp_path, **nats_server.environment()).start_ready() as broker:
        assert broker.readiness()["status"] == "degraded"  # type: ignore[index]
        assert register(broker, publisher="p1").status_code == 200
        assert bus_of(broker).url == nats_server.url
        assert bus_of(broker).password is None
        nats_server.start_ready()
        broker.wait_ready(parts=("bus",))
        assert not (broker.statedir / "nats").exists()


def test_a_port_of_nats_that_somebody_took_is_replaced_by_another(broker: Service) -> None:
    port = int(bus_of(broker).url.rpartition(":")[2])  # type: ignore[union-attr]
    pid = nats_pid(broker)
    broker.kill()
    wait_until(lambda: not is_alive(pid), timeout_s=10, what="the nats-server ends")
    with socket.create_server(("127.0.0.1", port)):
        broker.start_ready(parts=READY)
        assert not bus_of(broker).url.endswith(f":{port}")  # type: ignore[union-attr]


def test_n1_an_external_nats_that_does_not_sync_is_complained_about(tmp_path: Path) -> None:
    def nats_part(sync: str) -> tuple[dict[str, object], str]:
        directory = tmp_path / sync
        with NatsServer(directory / "nats", sync=sync).start_ready() as server:
            env = {**server.environment(), "CATERVA2_NATS_MONITOR": server.monitor_url}
            with make_broker(directory, **env).start_ready(parts=("bus",)) as broker:
                parts = wait_until(
                    lambda: (broker.readiness() or {"parts": {}})["parts"].get("nats sync"),
                    timeout_s=10,
                    what="a check",
                )
                return parts, broker.output

    lazy, said = nats_part("2m")
    assert not lazy["ok"]
    assert "sync_interval" in str(lazy["detail"])
    assert "power cut" in said
    assert nats_part("always")[0]["ok"]
