"""A real, small SMTP server on loopback, with a certificate of its own."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "caterva2", "the password of the mailbox"


@dataclass
class Mailbox:
    """What a server has received."""

    port: int = 0
    certificate: Path = Path()
    mails: list[Message] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    """Whether each mail came over TLS."""

    async def handle_DATA(self, _server: Any, session: Any, envelope: Envelope) -> str:
        """Take in a mail."""
        self.mails.append(message_from_bytes(envelope.content or b""))
        self.encrypted.append(session.ssl is not None)
        return "250 OK"


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """Make a key and a certificate of 127.0.0.1 that signs itself; return the files of certificate and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail server of the tests")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = directory / "mail.pem", directory / "mail.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    none = serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none))
    return files


@asynccontextmanager
async def run_smtp(directory: Path, *, tls: bool = True) -> AsyncIterator[Mailbox]:
    """Serve SMTP in this loop for as long as the block lasts: with STARTTLS and a login, or without both."""
    mailbox = Mailbox()
    options: dict[str, Any] = {}
    if tls:
        mailbox.certificate, key = make_certificate(directory)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(mailbox.certificate, key)

        def check(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
            good = isinstance(given, LoginPassword) and given == LoginPassword(USER.encode(), PASSWORD.encode())
            return AuthResult(success=good, handled=good)

        options = {"tls_context": context, "require_starttls": True, "auth_required": True, "authenticator": check}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, hostname="mail.test", loop=loop, **options), "127.0.0.1", 0)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
