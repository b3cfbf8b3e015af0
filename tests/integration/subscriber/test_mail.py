"""Mails to people, delivered to a real SMTP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from caterva2.errors import Unavailable
from caterva2_subscriber.auth.mail import Smtp
from caterva2_subscriber.auth.settings import MailSettings
from tests.support.smtp import PASSWORD, USER, Mailbox, run_smtp

from .conftest import Start

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:Requiring AUTH:UserWarning")


@pytest.fixture
async def mailbox(tmp_path: Path) -> AsyncIterator[Mailbox]:
    async with run_smtp(tmp_path) as running:
        yield running


def settings_for(mailbox: Mailbox, **changes: Any) -> dict[str, Any]:
    given = {
        "host": "127.0.0.1",
        "port": mailbox.port,
        "user": USER,
        "password": PASSWORD,
        "sender": "data@example.org",
    }
    return {**given, "tls_ca": mailbox.certificate, **changes}


async def test_a4_a_mail_for_a_forgotten_password_is_delivered_over_tls(start: Start, mailbox: Mailbox) -> None:
    site = await start(urlbase="https://data.example.org", mail=settings_for(mailbox))
    await site.add("ada@example.org")
    async with site.client(headers={"Host": "evil.example.com"}) as client:
        answer = await client.post("/auth/forgot-password", json={"email": "ada@example.org"})
        assert answer.status_code == 202
        async with asyncio.timeout(60):
            while not mailbox.mails:
                await asyncio.sleep(0.02)
    (mail,) = mailbox.mails
    assert (mail["From"], mail["To"]) == ("data@example.org", "ada@example.org")
    text = mail.get_payload()
    assert "https://data.example.org/reset-password/" in text
    assert "evil" not in text, "links are made of the settings, never of the request"
    assert mailbox.encrypted == [True]


@pytest.mark.parametrize(
    "changes", [{"password": "wrong"}, {"tls_ca": None}, {"tls": "tls"}, {"tls": "none"}, {"host": "localhost.invalid"}]
)
async def test_a4_a_mail_that_cannot_be_sent_safely_is_not_sent(
    mailbox: Mailbox, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    mailer = Smtp(MailSettings(**settings_for(mailbox, **changes)))
    with pytest.raises(Unavailable):
        await mailer.send("ada@example.org", "subject", "secret link")
    assert mailbox.mails == []
    said = "".join(capsys.readouterr())
    assert "secret link" not in said
    assert PASSWORD not in said


async def test_a4_no_mail_is_sent_without_tls_unless_the_settings_say_so(tmp_path: Path) -> None:
    async with run_smtp(tmp_path, tls=False) as plain:
        given = {"host": "127.0.0.1", "port": plain.port}
        with pytest.raises(Unavailable):
            await Smtp(MailSettings(**given)).send("ada@example.org", "subject", "text")
        assert plain.mails == []
        await Smtp(MailSettings(**given, tls="none")).send("ada@example.org", "Grüße", "Zoë")
    (mail,) = plain.mails
    assert mail.get_payload(decode=True) == "Zoë\r\n".encode()


async def test_a4_an_address_cannot_add_headers(mailbox: Mailbox) -> None:
    mailer = Smtp(MailSettings(**settings_for(mailbox)))
    with pytest.raises(ValueError, match="linefeed"):
        await mailer.send("ada@example.org\r\nBcc: all@example.org", "subject", "text")
    assert mailbox.mails == []
