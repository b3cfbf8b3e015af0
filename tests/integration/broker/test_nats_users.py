"""A NATS that the broker does not run: the users of compose.yaml, and those that ``cat2nats`` writes (A11)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from caterva2.errors import Unavailable
from caterva2.events import DatasetEvent, Heartbeat, Operation, RootFact
from caterva2.wire import Bus as BusAddress
from caterva2_service.messaging import Bus
from caterva2_service.settings import NatsSettings
from tests.support.ports import free_port
from tests.support.processes import Process, run

CONFIGURATION = Path(__file__).parents[3] / "docker" / "nats"
USERS = ("broker", "publisher-examples", "publisher-hdf5", "subscriber")


@dataclass(frozen=True, slots=True)
class External:
    """A running server and how each user gets on it."""

    url: str
    settings: Callable[[str], NatsSettings]

    @contextlib.asynccontextmanager
    async def as_user(self, user: str) -> AsyncIterator[Bus]:
        settings = self.settings(user)

        async def locate() -> BusAddress:
            return BusAddress(url=self.url, user=user, password=settings.secret())

        async with Bus.open(locate, name=user, nats_settings=settings) as bus:
            assert await bus.wait_connected(20)
            yield bus


@contextlib.asynccontextmanager
async def serving(directory: Path, configuration: Path, variables: dict[str, str]) -> AsyncIterator[int]:
    """Run a nats-server on this configuration, apart from its ports."""
    port = free_port()
    options = ["-a", "127.0.0.1", "-p", str(port), "-m", str(free_port())]
    command = ["nats-server", "-c", configuration, *options]
    with Process(command, log_path=directory / "nats.log", env=variables):
        yield port


@pytest.fixture
async def compose(tmp_path: Path) -> AsyncIterator[External]:
    """The server of compose.yaml, with its own configuration but for the store."""
    copy = tmp_path / "nats"
    shutil.copytree(CONFIGURATION, copy)
    common = (copy / "common.conf").read_text()
    (copy / "common.conf").write_text(common.replace("store_dir: /data", f'store_dir: "{tmp_path / "store"}"'))
    passwords = {user: f"s{os.urandom(16).hex()}" for user in USERS}
    variables = {f"NATS_{user.replace('-', '_').upper()}_PASSWORD": secret for user, secret in passwords.items()}
    async with serving(tmp_path, copy / "nats.conf", variables) as port:
        yield External(f"nats://127.0.0.1:{port}", lambda user: NatsSettings(password=passwords[user]))


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of a certificate authority, and of a server and a client that it vouches for."""

    authority: Path
    certificate: Path
    key: Path


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """A certificate authority of this test."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])

    def signed(name: x509.Name, public: ec.EllipticCurvePublicKey, *, authority: bool) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        )
        return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    made = Certificates(tmp_path / "ca.crt", tmp_path / "tls.crt", tmp_path / "tls.key")
    made.authority.write_bytes(signed(authority_name, authority_key.public_key(), authority=True))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made.certificate.write_bytes(signed(name, key.public_key(), authority=False))
    plain = serialization.NoEncryption()
    made.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return made


@pytest.fixture
async def written(tmp_path: Path, certificates: Certificates) -> AsyncIterator[External]:
    """A server with the users of ``cat2nats``, who sign with nkeys, and TLS on both sides."""
    users = tmp_path / "users"
    done = run(["cat2nats", "--publisher", "examples", "--publisher", "hdf5", users])
    assert done.returncode == 0, done.stderr
    configuration = tmp_path / "nats.conf"
    configuration.write_text(
        f'jetstream {{ store_dir: "{tmp_path / "store"}" }}\n'
        f"include {users.name}/authorization.conf\n"
        f'tls {{ cert_file: "{certificates.certificate}", key_file: "{certificates.key}",'
        f' ca_file: "{certificates.authority}", verify: true }}\n'
    )
    async with serving(tmp_path, configuration, {}) as port:
        yield External(
            f"tls://localhost:{port}",
            lambda user: NatsSettings(
                nkey_file=users / f"{user}.nk",
                tls_ca=certificates.authority,
                tls_cert=certificates.certificate,
                tls_key=certificates.key,
            ),
        )


@pytest.fixture(params=["compose", "written"])
def external(request: pytest.FixtureRequest) -> External:
    """Both kinds of server in turn."""
    found: External = request.getfixturevalue(request.param)
    return found


def event(root: str) -> DatasetEvent:
    return DatasetEvent(root=root, epoch="e", seq=1, operation=Operation.CHANGED, path="a.b2nd")


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """nats-py reports what is not allowed as silence only, so the time-out is what such tests wait for."""
    monkeypatch.setattr("caterva2_service.messaging.REQUEST_TIMEOUT_S", 1.5)


@pytest.mark.usefixtures("_impatient")
async def test_a11_each_user_of_an_external_nats_does_its_part_and_no_more(external: External) -> None:
    async with external.as_user("broker") as bus:
        await bus.declare()
        await bus.put_root(RootFact(name="examples", http="publisher:8001"))
    async with external.as_user("publisher-examples") as bus:
        await bus.publish(event("examples"))
        await bus.heartbeat("examples", Heartbeat(epoch="e", seq=1))
        await refused(bus, "hdf5")
        with pytest.raises(Unavailable):
            async with bus.follow("examples", durable="spy") as subscription:
                await subscription.bind()
    async with external.as_user("publisher-hdf5") as bus:
        await bus.publish(event("hdf5"))
    async with external.as_user("subscriber") as bus:
        async with bus.follow("examples", durable="reader") as subscription:
            await subscription.bind()
            assert (await subscription.state()).last_seq >= 0
        async for roots in bus.watch_roots():
            assert list(roots) == ["examples"]
            break
        await refused(bus, "examples")


async def refused(bus: Bus, root: str) -> None:
    for attempt in (
        bus.publish(event(root)),
        bus.heartbeat(root, Heartbeat(epoch="e", seq=1)),
        bus.put_root(RootFact(name="evil", http="x:1")),
    ):
        with pytest.raises(Unavailable):
            await attempt


async def test_a11_without_its_key_or_certificate_nobody_gets_in(written: External, certificates: Certificates) -> None:
    good = written.settings("broker")
    strangers = [
        good.model_copy(update={"nkey_file": None}),
        good.model_copy(update={"tls_cert": None, "tls_key": None}),
        good.model_copy(update={"tls_ca": None}),
    ]
    for settings in strangers:

        async def locate() -> BusAddress:
            return BusAddress(url=written.url, user="broker")

        async with Bus.open(locate, name="stranger", nats_settings=settings) as bus:
            assert not await bus.wait_connected(1.5)
    async with written.as_user("broker") as bus:
        assert bus.connected


def test_a11_writing_users_again_keeps_their_secrets_and_adds_new_ones(tmp_path: Path) -> None:
    assert run(["cat2nats", "--publisher", "foo", tmp_path / "users"]).returncode == 0
    before = {path.name: path.read_text() for path in (tmp_path / "users").glob("*.nk")}
    done = run(["cat2nats", "--publisher", "foo", "--publisher", "bar", "--subscriber", "far", tmp_path / "users"])
    assert done.stdout.strip().endswith("broker, publisher-bar, publisher-foo, subscriber, subscriber-far")
    after = {path.name: path.read_text() for path in (tmp_path / "users").glob("*.nk")}
    assert before.items() <= after.items()
    assert set(after) == {
        f"{user}.nk" for user in ("broker", "publisher-bar", "publisher-foo", "subscriber", "subscriber-far")
    }
    configuration = (tmp_path / "users" / "authorization.conf").read_text().partition(":")[2]
    assert len({entry["nkey"] for entry in json.loads(configuration)["users"]}) == len(after)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "users").iterdir())
    assert not any(seed.strip() in configuration for seed in after.values())


@pytest.mark.parametrize("root", ["Foo", "../foo", "@public", "foo.>"])
def test_a11_only_names_of_roots_get_users(root: str, tmp_path: Path) -> None:
    done = run(["cat2nats", "--publisher", root, tmp_path / "users"])
    assert done.returncode == 2
    assert not (tmp_path / "users").exists()


def test_a_damaged_seed_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "broker.nk").write_text("SU not a seed")
    done = run(["cat2nats", tmp_path])
    assert done.returncode == 1
    assert done.stderr == f"cat2nats: {tmp_path / 'broker.nk'} holds no nkey seed\n"
