"""An external NATS that the operator runs: user and password, nkey, TLS, each against a real server."""

import asyncio
import datetime
import ipaddress
import os
import uuid
from pathlib import Path

import nkeys
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import ValidationError

from caterva2.events import DatasetEvent, Operation
from caterva2.wire import Bus as BusAddress
from caterva2_service.health import Health
from caterva2_service.messaging import PART, Bus
from caterva2_service.settings import NatsSettings
from tests.support.nats import PASSWORD, USER, NatsServer


async def works(url: str, settings: NatsSettings) -> None:
    """Send an event over a bus whose address comes without credentials, as from the broker, and receive it."""

    async def locate() -> BusAddress:
        return BusAddress(url=url)

    health = Health()
    async with Bus.open(locate, name="test", nats_settings=settings, health=health) as bus:
        assert await bus.wait_connected(20), health.snapshot()[PART].detail
        await bus.declare()
        name = uuid.uuid4().hex
        async with bus.follow(name, durable=name) as subscription:
            await subscription.bind()
            await bus.publish(DatasetEvent(root=name, epoch="e", seq=1, operation=Operation.REMOVED, path="a"))
            async with asyncio.timeout(20):
                while not (found := await subscription.fetch(1, 1)):
                    pass
            assert found[0].event.root == name


async def is_refused(url: str, settings: NatsSettings) -> str:
    """Return why a bus cannot connect."""

    async def locate() -> BusAddress:
        return BusAddress(url=url)

    health = Health()
    async with Bus.open(locate, name="test", nats_settings=settings, health=health) as bus:
        assert not await bus.wait_connected(1)
        return health.snapshot()[PART].detail


async def test_by_user_and_password_also_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    with NatsServer(tmp_path / "nats").start_ready() as server:
        await works(server.url, NatsSettings(user=USER, password_file=secret))
        assert "uthorization" in await is_refused(server.url, NatsSettings())


async def test_by_nkey(tmp_path: Path) -> None:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    file = tmp_path / "seed"
    file.write_bytes(seed + b"\n")
    other = tmp_path / "other"
    other.write_bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER))
    with NatsServer(tmp_path / "nats", authorization=f"users: [ {{ nkey: {public} }} ]").start_ready() as server:
        await works(server.url, NatsSettings(nkey_file=file))
        assert "uthorization" in await is_refused(server.url, NatsSettings(nkey_file=other))


class Certificates:
    """A certificate authority, a server on loopback and a client, as files."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        self.authority, _ = self._write("ca", self._issue("tests", self._key, is_authority=True), self._key)

    def make(self, name: str) -> tuple[Path, Path]:
        """Return the files of a certificate for 127.0.0.1 and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._write(name, self._issue(name, key), key)

    def _issue(self, name: str, key: ec.EllipticCurvePrivateKey, *, is_authority: bool = False) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        local = x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(local), critical=False)
        )
        if not is_authority:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> tuple[Path, Path]:
        plain = serialization.NoEncryption()
        pem = serialization.Encoding.PEM
        crt, private = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        crt.write_bytes(certificate.public_bytes(pem))
        private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
        return crt, private


async def test_by_tls_with_certificates_on_both_sides(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path / "certificates")
    crt, key = certificates.make("server")
    tls = f'cert_file: "{crt}", key_file: "{key}", ca_file: "{certificates.authority}", verify: true'
    mine, mine_key = certificates.make("client")
    by_password = {"user": USER, "password": PASSWORD}
    settings = NatsSettings(**by_password, tls_ca=certificates.authority, tls_cert=mine, tls_key=mine_key)
    stranger = Certificates(tmp_path / "others")
    with NatsServer(tmp_path / "nats", tls=tls).start_ready() as server:
        await works(server.url.replace("nats://", "tls://"), settings)
        await works(server.url, settings)
        assert await is_refused(server.url, NatsSettings(**by_password, tls_ca=certificates.authority))
        wrong = NatsSettings(**by_password, tls_ca=stranger.authority, tls_cert=mine, tls_key=mine_key)
        assert "certificate" in (await is_refused(server.url, wrong)).lower()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"nkey_file": "/nowhere/seed"}, "no file /nowhere/seed"),
        ({"tls_ca": "/nowhere/ca.pem"}, "no file /nowhere/ca.pem"),
        ({"tls_cert": __file__}, "belong together"),
        ({"tls_key": __file__}, "belong together"),
        ({"nkey_file": __file__, "password": "mine"}, "set one of them"),
    ],
)
def test_wrong_settings_are_said_at_the_start(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        NatsSettings(**settings)  # type: ignore[arg-type]
