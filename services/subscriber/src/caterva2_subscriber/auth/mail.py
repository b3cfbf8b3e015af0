"""Mails to people: by SMTP, or into a folder of the state directory where no server is configured."""

from __future__ import annotations

import asyncio
import time
import uuid
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol

import aiosmtplib

from caterva2.errors import Unavailable
from caterva2_service.log import get_logger

from .settings import MailSettings

_log = get_logger(__name__)


class Mailer(Protocol):
    """Something that delivers mails."""

    async def send(self, to: str, subject: str, text: str) -> None:
        """Deliver a mail. Raises Unavailable."""
        ...


class Smtp:
    """Delivers by an SMTP server."""

    def __init__(self, settings: MailSettings) -> None:
        self._settings = settings

    async def send(self, to: str, subject: str, text: str) -> None:
        """Deliver a mail. Raises Unavailable."""
        settings = self._settings
        try:
            await aiosmtplib.send(
                _message(settings.sender, to, subject, text),
                hostname=settings.host,
                port=settings.port,
                username=settings.user,
                password=settings.secret(),
                use_tls=settings.tls == "tls",
                start_tls={"starttls": True, "none": False}.get(settings.tls),
                cert_bundle=str(settings.tls_ca) if settings.tls_ca is not None else None,
                timeout=10,
            )
        except (aiosmtplib.SMTPException, OSError) as error:
            _log.error("mail not sent", reason=type(error).__name__)
            raise Unavailable("The mail could not be sent; try again later", retry_after_s=60) from error


class Outbox:
    """Puts mails into a folder, one file each, for a demo or an administrator who passes them on."""

    def __init__(self, directory: Path, sender: str) -> None:
        self._directory = directory
        self._sender = sender

    async def send(self, to: str, subject: str, text: str) -> None:
        """Write a mail down. Its text is readable by the owner of the service alone."""
        path = self._directory / f"{int(time.time())}-{uuid.uuid4().hex[:8]}.eml"
        await asyncio.to_thread(self._write, path, bytes(_message(self._sender, to, subject, text)))
        _log.warning("no mail server is configured; the mail is in a file", path=str(path))

    def _write(self, path: Path, content: bytes) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(content)


def make_mailer(settings: MailSettings, statedir: Path) -> Mailer:
    """Return what delivers mails under `settings`."""
    return Smtp(settings) if settings.host else Outbox(statedir / "mail", settings.sender)


def _message(sender: str, to: str, subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = to
    message["Subject"] = subject
    message.set_content(text, cte="8bit")  # a link stays in one piece, also for who reads the file
    return message
