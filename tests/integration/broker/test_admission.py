"""Who the broker lets in, and what those may do on its bus (requirements U10, A11, A12)."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from caterva2.errors import Unavailable
from caterva2.events import DatasetEvent, Heartbeat, Operation, RootFact
from caterva2.wire import HEADER_JOIN
from caterva2.wire import Bus as BusAddress
from caterva2_broker.admission import accepted
from caterva2_broker.settings import BrokerSettings
from caterva2_service.messaging import Bus
from caterva2_service.trust import BROKER, Identity, Role
from tests.support.ports import free_port
from tests.support.processes import Service
from tests.support.trust import make_identity

READY = ("bus", "nats")


def make_broker(tmp_path: Path, **env: str) -> Service:
    return Service(["cat2bro"], port=free_port(), statedir=tmp_path / "bro", cwd=tmp_path, env=env)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A broker that does not trust its own machine, as if every caller were on another one."""
    tmp_path = tmp_path_factory.mktemp("strict")
    with make_broker(tmp_path, CATERVA2_TRUST_LOOPBACK="false").start_ready(parts=READY) as service:
        yield service


def join_token(broker: Service) -> str:
    return (broker.statedir / "join.token").read_text().strip()


@pytest.fixture
def publisher(strict: Service, tmp_path: Path) -> Identity:
    return make_identity(tmp_path / "pub", Role.PUBLISHER, join_token(strict))


@pytest.fixture
def subscriber(strict: Service, tmp_path: Path) -> Identity:
    return make_identity(tmp_path / "sub", Role.SUBSCRIBER, join_token(strict))


def register(broker: Service, identity: Identity | None, name: str = "foo") -> httpx.Response:
    auth = identity.auth(BROKER) if identity else None
    return register_at(broker, auth, name, "publisher.example.org:8001")


def register_at(broker: Service, auth: httpx.Auth | None, name: str, address: str) -> httpx.Response:
    return httpx.post(f"{broker.url}/api/roots", json={"name": name, "http": address}, auth=auth)


def test_u10_strangers_do_not_get_in(strict: Service, tmp_path: Path) -> None:
    stranger = make_identity(tmp_path / "x", Role.PUBLISHER)
    guesser = make_identity(tmp_path / "y", Role.PUBLISHER, "a-guess")
    assert register(strict, None).status_code == 401
    refusal = register(strict, stranger)
    assert refusal.status_code == 401
    assert "CATERVA2_JOIN_TOKEN" in refusal.json()["detail"]
    assert register(strict, guesser).status_code == 401
    assert strict.get("/api/bus").status_code == 401
    assert strict.get("/api/bus", auth=stranger.auth(BROKER)).status_code == 401
    assert strict.get("/api/services").json() == []


def test_u10_the_join_token_alone_opens_nothing_but_admission(strict: Service) -> None:
    headers = {HEADER_JOIN: join_token(strict)}
    assert strict.get("/api/bus", headers=headers).status_code == 401


def test_u10_a_service_joins_once_and_is_known_after_a_restart(strict: Service, tmp_path: Path) -> None:
    joined = make_identity(tmp_path / "pub", Role.PUBLISHER, join_token(strict))
    assert register(strict, joined, "joining").status_code == 200
    without = make_identity(tmp_path / "pub", Role.PUBLISHER)
    strict.restart().wait_ready(parts=READY)
    assert register(strict, without, "joining").status_code == 200
    keys = {key["kid"]: key["role"] for key in strict.get("/api/services").json()}
    assert keys[joined.public.kid] == "publisher"


def test_u10_a_subscriber_joins_by_asking_for_the_roots(strict: Service, subscriber: Identity) -> None:
    assert strict.get("/api/roots", auth=subscriber.auth(BROKER)).status_code == 200
    assert subscriber.public.kid in {key["kid"] for key in strict.get("/api/services").json()}


def test_u10_a_token_of_another_key_audience_or_time_is_refused(strict: Service, publisher: Identity) -> None:
    assert register(strict, publisher, "tokens").status_code == 200
    forged = publisher.token(BROKER)[:-8] + "AAAAAAAA"
    other_audience = publisher.token("publisher:localhost:8001")
    for token in (forged, other_audience, "nonsense", "a.b.c", "x" * 10_000):
        answer = strict.get("/api/bus", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 401, token[:40]


def test_u10_publishers_may_be_held_to_a_list(tmp_path: Path) -> None:
    known = make_identity(tmp_path / "pub", Role.PUBLISHER)
    other = make_identity(tmp_path / "other", Role.PUBLISHER)
    (tmp_path / "caterva2.toml").write_text(f'[broker.allow]\n"{known.public.kid}" = ["beam-*"]\n')
    with make_broker(tmp_path).start_ready() as broker:
        assert register(broker, known, "beam-3").status_code == 200
        assert register(broker, known, "other").status_code == 403
        refusal = register(broker, other, "beam-4")
        assert refusal.status_code == 403
        assert other.public.kid in refusal.json()["detail"]


def test_u10_names_may_be_listed_for_every_publisher_and_nothing_comes_without_a_key(tmp_path: Path) -> None:
    known = make_identity(tmp_path / "pub", Role.PUBLISHER)
    other = make_identity(tmp_path / "other", Role.PUBLISHER)
    kid = known.public.kid
    (tmp_path / "caterva2.toml").write_text(f'[broker.allow]\n"*" = ["foo", "lab-*"]\n"{kid}" = ["beam-*"]\n')
    with make_broker(tmp_path).start_ready() as broker:
        assert register(broker, other, "lab-1").status_code == 200
        assert register(broker, known, "foo").status_code == 200
        assert register(broker, known, "beam-3").status_code == 200
        assert register(broker, other, "beam-4").status_code == 403
        assert register(broker, other, "first-come").status_code == 403
        assert register(broker, None, "lab-2").status_code == 401, "on this machine, but by nobody who is listed"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "whoever shows the join token or runs on this machine may publish any root that nobody else holds;"),
        ({"trust_loopback": False}, "whoever shows the join token may publish any root"),
        ({"allow": {"k": ("a",)}}, "1 listed key may publish, nobody else"),
        (
            {"allow": {"k": ("a",), "*": ("foo",)}},
            "whoever shows the join token or runs on this machine may publish foo, and 1 listed key what the list says",
        ),
        (
            {"allow": {"*": ("foo", "lab-*")}, "trust_loopback": False},
            "whoever shows the join token may publish foo, lab-*",
        ),
    ],
)
def test_u10_a_broker_says_at_its_start_whom_it_accepts(settings: dict[str, Any], sentence: str) -> None:
    assert accepted(BrokerSettings(**settings)).startswith(sentence)


def announce(broker: Service, token: str, body: bytes) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    return httpx.post(f"{broker.url}/api/roots", content=body, headers=headers)


def test_u10_an_announcement_that_was_changed_or_is_repeated_is_refused(strict: Service, publisher: Identity) -> None:
    assert register(strict, publisher, "signed").status_code == 200
    body = b'{"name": "signed", "http": "publisher.example.org:8001"}'
    token = publisher.token_for(BROKER, body)
    elsewhere = announce(strict, token, body.replace(b"publisher.", b"evil."))
    assert (elsewhere.status_code, "signed" in elsewhere.json()["detail"]) == (401, True)
    assert announce(strict, publisher.token(BROKER), body).status_code == 401, "a token that names no body"
    assert announce(strict, token, body).status_code == 200
    assert announce(strict, token, body).status_code == 401, "an older announcement, sent again"
    assert strict.get("/api/roots/signed", auth=publisher.auth(BROKER)).json()["http"] == "publisher.example.org:8001"


def test_u10_publishers_may_be_held_to_addresses(tmp_path: Path) -> None:
    known = make_identity(tmp_path / "pub", Role.PUBLISHER)
    other = make_identity(tmp_path / "other", Role.PUBLISHER)
    allowed = '["pub.example.org:8001", "data.example.org", "https://tls.example.org", "run/pub.socket"]'
    (tmp_path / "caterva2.toml").write_text(f'[broker.addresses]\n"{known.public.kid}" = {allowed}\n')
    good = ("pub.example.org:8001", "data.example.org:9", "https://tls.example.org:443", "run/pub.socket")
    with make_broker(tmp_path).start_ready() as broker:
        for address in good:
            assert register_at(broker, known.auth(BROKER), "foo", address).status_code == 200, address
        bad = ("pub.example.org:8002", "evil.example.org:8001", "tls.example.org:443", "run/other.socket")
        for address in bad:
            refusal = register_at(broker, known.auth(BROKER), "foo", address)
            assert (refusal.status_code, known.public.kid in refusal.json()["detail"]) == (403, True), address
        assert register_at(broker, other.auth(BROKER), "bar", good[0]).status_code == 403


EVERYBODY = {"nobody", "stranger", "subscriber", "owner", "rival", "administrator"}
KNOWN = EVERYBODY - {"stranger"}
"""A key that is shown must be known, also where none is needed."""
RULES = {
    ("get", "/healthz"): EVERYBODY,
    ("get", "/readyz"): EVERYBODY,
    ("get", "/metrics"): EVERYBODY,
    ("get", "/api/server"): EVERYBODY,
    ("get", "/api/roots"): KNOWN,
    ("get", "/api/roots/{name}"): KNOWN,
    ("get", "/api/services"): KNOWN,
    ("get", "/api/bus"): {"subscriber", "owner", "rival"},
    ("post", "/api/roots"): {"owner"},
    ("delete", "/api/roots/{name}"): {"owner", "administrator"},
    ("delete", "/api/services/{kid}"): {"administrator"},
}


def test_a12_every_route_of_the_broker_has_a_rule_and_keeps_it(strict: Service, tmp_path: Path) -> None:
    token = join_token(strict)
    services = {
        "stranger": make_identity(tmp_path / "stranger", Role.PUBLISHER),
        "subscriber": make_identity(tmp_path / "subscriber", Role.SUBSCRIBER, token),
        "owner": make_identity(tmp_path / "owner", Role.PUBLISHER, token),
        "rival": make_identity(tmp_path / "rival", Role.PUBLISHER, token),
    }
    spare = make_identity(tmp_path / "spare", Role.SUBSCRIBER, token)
    admin = {"authorization": "Bearer " + (strict.statedir / "admin.token").read_text().strip()}
    document = strict.get("/openapi.json").json()["paths"]
    assert {(method, route) for route, methods in document.items() for method in methods} == RULES.keys()
    for (method, route), allowed in RULES.items():
        for role in sorted(EVERYBODY):
            # What the last one removed is there again.
            assert register(strict, services["owner"], "matrix").status_code == 200
            assert strict.get("/api/roots", auth=spare.auth(BROKER)).status_code == 200
            answer = httpx.request(
                method,
                strict.url + route.replace("{name}", "matrix").replace("{kid}", spare.public.kid),
                json={"name": "matrix", "http": "publisher.example.org:8001"} if method == "post" else None,
                auth=services[role].auth(BROKER) if role in services else None,
                headers=admin if role == "administrator" else None,
                trust_env=False,
            )
            if role in allowed:
                assert answer.status_code in (200, 204), (method, route, role, answer.text)
            else:
                assert answer.status_code in (401, 403, 409), (method, route, role, answer.text)


def test_u10_a_subscriber_publishes_nothing(strict: Service, subscriber: Identity) -> None:
    assert register(strict, subscriber, "subs").status_code == 403


def test_an_administrator_revokes_a_service(strict: Service, tmp_path: Path) -> None:
    identity = make_identity(tmp_path / "gone", Role.SUBSCRIBER, join_token(strict))
    assert strict.get("/api/bus", auth=identity.auth(BROKER)).status_code == 200
    url = f"{strict.url}/api/services/{identity.public.kid}"
    assert httpx.delete(url).status_code == 401
    admin = {"authorization": "Bearer " + (strict.statedir / "admin.token").read_text().strip()}
    assert httpx.delete(url, headers=admin).status_code == 204
    assert httpx.delete(url, headers=admin).status_code == 404
    without_join = make_identity(tmp_path / "gone", Role.SUBSCRIBER)
    assert strict.get("/api/bus", auth=without_join.auth(BROKER)).status_code == 401


@pytest.mark.parametrize(
    "address",
    ["localhost:8001", "127.0.0.1:80", "127.1.2.3:80", "[::1]:80", "169.254.169.254:80", "0.0.0.0:80", "[fe80::1]:80",
     "x.localhost:80", "run/pub.socket", "224.0.0.1:80"],
)  # fmt: skip
def test_u11_a_publisher_elsewhere_cannot_send_subscribers_to_themselves(
    strict: Service, publisher: Identity, address: str
) -> None:
    refusal = register_at(strict, publisher.auth(BROKER), "u11", address)
    assert refusal.status_code == 400
    assert "--advertise" in refusal.json()["detail"]


@contextlib.asynccontextmanager
async def bus_for(broker: Service, identity: Identity) -> object:
    """Connect to the bus with the account of a service."""

    async def locate() -> BusAddress:
        return BusAddress.model_validate(broker.get("/api/bus", auth=identity.auth(BROKER)).json())

    async with Bus.open(locate, name="test") as bus:
        assert await bus.wait_connected(10)
        yield bus


def event(root: str) -> DatasetEvent:
    return DatasetEvent(root=root, epoch="e", seq=1, operation=Operation.CHANGED, path="a.b2nd")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """nats-py reports what is not allowed as silence only, so the time-out is what such tests wait for."""
    monkeypatch.setattr("caterva2_service.messaging.REQUEST_TIMEOUT_S", 0.7)


@pytest.mark.usefixtures("impatient")
async def test_a11_a_publisher_tells_of_its_own_root_only(strict: Service, publisher: Identity) -> None:
    assert register(strict, publisher, "mine").status_code == 200
    async with bus_for(strict, publisher) as bus:
        await bus.publish(event("mine"))
        await bus.heartbeat("mine", Heartbeat(epoch="e", seq=1))
        with pytest.raises(Unavailable):
            await bus.publish(event("other"))
        with pytest.raises(Unavailable):
            await bus.heartbeat("other", Heartbeat(epoch="e", seq=1))
        with pytest.raises(Unavailable):
            await bus.put_root(RootFact(name="evil", http="x:1"))
        with pytest.raises(Unavailable):
            async with bus.follow("mine", durable="spy") as subscription:
                await subscription.bind()


@pytest.mark.usefixtures("impatient")
async def test_a11_a_subscriber_reads_and_writes_nothing(strict: Service, subscriber: Identity) -> None:
    async with bus_for(strict, subscriber) as bus:
        async with bus.follow("mine", durable="sub") as subscription:
            await subscription.bind()
            assert (await subscription.state()).last_seq >= 0
        async for roots in bus.watch_roots():
            assert isinstance(roots, dict)
            break
        with pytest.raises(Unavailable):
            await bus.publish(event("mine"))
        with pytest.raises(Unavailable):
            await bus.put_root(RootFact(name="evil", http="x:1"))
        with pytest.raises(Unavailable):
            await bus.heartbeat("mine", Heartbeat(epoch="e", seq=1))


@pytest.mark.usefixtures("impatient")
async def test_f21_who_loses_a_root_loses_its_subject(tmp_path: Path) -> None:
    with make_broker(tmp_path, CATERVA2_LEASE="1").start_ready(parts=READY) as broker:
        first = make_identity(tmp_path / "p1", Role.PUBLISHER)
        second = make_identity(tmp_path / "p2", Role.PUBLISHER)
        assert register(broker, first).status_code == 200
        while register(broker, second).status_code != 200:
            pass
        async with bus_for(broker, first) as bus:
            with pytest.raises(Unavailable):
                await bus.publish(event("foo"))
        async with bus_for(broker, second) as bus:
            await bus.publish(event("foo"))


def test_a11_nobody_gets_on_the_bus_without_an_account(strict: Service, subscriber: Identity) -> None:
    address = BusAddress.model_validate(strict.get("/api/bus", auth=subscriber.auth(BROKER)).json())
    assert address.url is not None
    host, _, port = address.url.removeprefix("nats://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        assert connection.recv(4096).startswith(b"INFO")
        # Nothing behind it: the server resets connections that it closes with something unread.
        connection.sendall(b'CONNECT {"verbose":true}\r\n')
        assert b"Authorization Violation" in connection.recv(4096)
