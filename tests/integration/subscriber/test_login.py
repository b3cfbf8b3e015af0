"""Logging in, and everything that proves who somebody is, over HTTP (A1-A6, A10, A18, A19)."""

from __future__ import annotations

import asyncio
import re
import time
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
from argon2 import extract_parameters

from caterva2.errors import BadRequest
from caterva2_subscriber.db import Users

from .conftest import PASSWORD, Site, Start

USER = "user@example.com"


async def test_the_login_of_clients_of_the_original(site: Site) -> None:
    async with site.client() as client:
        form = {"username": USER, "password": PASSWORD, "grant_type": "password", "scope": ""}
        answer = await client.post("/auth/jwt/login", data=form)
        assert (answer.status_code, answer.content) == (204, b"")
        cookie = answer.headers["set-cookie"]
        assert re.fullmatch(r"c2subauth=[\w-]{43}; HttpOnly; Path=/; SameSite=lax", cookie)
        refused = await client.post("/auth/jwt/login", data={"username": USER, "password": "wrong password"})
        assert (refused.status_code, refused.json()["detail"]) == (400, "LOGIN_BAD_CREDENTIALS")
        assert (await client.post("/auth/jwt/login", data={"username": USER})).status_code == 422


async def test_a5_logout_ends_the_session_on_every_replica_within_a_second(start: Start) -> None:
    one, other = await start(), await start()
    await one.add(USER)
    async with (
        await one.as_user(USER) as client,
        other.client(headers={"Cookie": client.headers["Cookie"]}) as elsewhere,
    ):
        assert (await client.get("/api/me")).json()["email"] == USER
        assert (await elsewhere.get("/api/me")).json()["email"] == USER
        answer = await client.post("/auth/jwt/logout")
        assert answer.status_code == 204
        assert 'c2subauth=""' in answer.headers["set-cookie"]
        assert (await client.get("/api/me")).json()["email"] is None
        assert (await client.post("/auth/jwt/logout")).json()["detail"] == "Unauthorized"
        await asyncio.sleep(1.05)
        assert (await elsewhere.get("/api/me")).json()["email"] is None


async def test_a5_sessions_are_stored_hashed_and_cookies_are_secure_behind_tls(start: Start) -> None:
    site = await start(urlbase="https://data.example.org")
    await site.add(USER)
    async with site.client() as client:
        answer = await client.post("/auth/jwt/login", data={"username": USER, "password": PASSWORD})
    assert answer.headers["set-cookie"].endswith("; Path=/; SameSite=lax; Secure")
    value = answer.headers["set-cookie"].split(";")[0].partition("=")[2]
    stored = (Path(site.context.settings.statedir) / "db.sqlite").read_bytes()
    assert value.encode() not in stored


async def test_a5_another_secret_ends_all_sessions(start: Start) -> None:
    one = await start()
    await one.add(USER)
    async with await one.as_user(USER) as client:
        other = await start(secret="another secret for tests, as long as the first")
        async with other.client(headers={"Cookie": client.headers["Cookie"]}) as elsewhere:
            assert (await elsewhere.get("/api/me")).json()["email"] is None


async def test_a1_passwords_are_kept_as_argon2id(site: Site) -> None:
    account = await site.context.accounts.users.by_email(USER)
    assert account is not None
    assert account.hashed_password is not None
    parameters = extract_parameters(account.hashed_password)
    assert account.hashed_password.startswith("$argon2id$")
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (47104, 1, 1)


async def test_a1_weaker_hashes_are_renewed_at_login(site: Site) -> None:
    from argon2 import PasswordHasher

    accounts = site.context.accounts
    account = await accounts.users.by_email(USER)
    assert account is not None
    weak = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
    await accounts.users.change(account.id, hashed_password=weak)
    async with await site.as_user(USER):
        renewed = await accounts.users.by_email(USER)
    assert renewed is not None
    assert renewed.hashed_password != weak


async def test_a2_guessing_is_stopped_and_the_right_password_waits_too(site: Site) -> None:
    async with site.client() as client:
        guesses = [client.post("/auth/jwt/login", data={"username": USER, "password": f"guess {i}"}) for i in range(9)]
        statuses = [answer.status_code for answer in await asyncio.gather(*guesses)]
        assert sorted(statuses) == [400] * 5 + [429] * 4
        late = await client.post("/auth/jwt/login", data={"username": USER, "password": PASSWORD})
        assert late.status_code == 429
        assert 0 < int(late.headers["retry-after"]) <= 60
        other = await client.post("/auth/jwt/login", data={"username": "root@example.com", "password": PASSWORD})
        assert other.status_code == 204


async def test_a2_one_address_cannot_try_many_accounts(site: Site) -> None:
    async with site.client() as client:
        statuses = []
        for i in range(22):
            form = {"username": f"user{i}@example.com", "password": "wrong password"}
            statuses.append((await client.post("/auth/jwt/login", data=form)).status_code)
    assert statuses == [400] * 20 + [429] * 2


async def test_a2_successful_logins_are_not_counted(site: Site) -> None:
    async with site.client() as client:
        for _ in range(25):
            answer = await client.post("/auth/jwt/login", data={"username": USER, "password": PASSWORD})
            assert answer.status_code == 204


async def test_a3_answers_do_not_tell_who_has_an_account(site: Site) -> None:
    accounts = site.context.accounts
    await site.add("off@example.com")
    await accounts.change_user("off@example.com", active=False, superuser=None, actor="test", caller=_caller(0))
    seconds: dict[str, list[float]] = {}
    bodies = set()
    for i in range(8):
        for name, password in (
            (USER, "wrong password"),
            ("nobody@example.com", PASSWORD),
            ("off@example.com", PASSWORD),
        ):
            begin = time.perf_counter()
            with pytest.raises(BadRequest) as caught:
                await accounts.login(name, password, _caller(i))
            seconds.setdefault(name, []).append(time.perf_counter() - begin)
            bodies.add(caught.value.detail)
    assert bodies == {"LOGIN_BAD_CREDENTIALS"}
    # The shortest of each: what else the machine does only makes them longer.
    shortest = [min(values) for values in seconds.values()]
    # Hashing takes tens of milliseconds; leaving it out would show as a multiple.
    assert max(shortest) < 2.5 * min(shortest)


def _caller(i: int):  # type: ignore[no-untyped-def]
    from caterva2_subscriber.auth.caller import Caller

    return Caller(address=f"10.0.{i}.1")


async def test_registration_as_in_the_original(start: Start) -> None:
    site = await start(register=True, maxusers=2)
    async with site.client() as client:
        body = {"email": "New@example.com", "password": PASSWORD, "is_superuser": True}
        answer = await client.post("/auth/register", json=body)
        assert answer.status_code == 201
        made = answer.json()
        assert set(made) == {"id", "email", "is_active", "is_superuser", "is_verified"}
        assert (made["email"], made["is_superuser"], made["is_active"]) == ("new@example.com", False, True)
        short = await client.post("/auth/register", json={"email": "b@example.com", "password": "short"})
        assert short.json()["detail"] == {
            "code": "REGISTER_INVALID_PASSWORD",
            "reason": "Password should be at least 12 characters",
        }
        wrong = await client.post("/auth/register", json={"email": "b@", "password": PASSWORD})
        assert (wrong.status_code, wrong.json()["detail"][0]["loc"]) == (422, ["body", "email"])
        await site.add("second@example.com")
        full = await client.post("/auth/register", json={"email": "third@example.com", "password": PASSWORD})
        assert (full.status_code, full.json()["detail"]) == (400, "Only a maximum of 2 users are allowed")


async def test_a3_registration_does_not_tell_who_has_an_account(start: Start) -> None:
    site = await start(register=True)
    await site.add(USER)
    async with site.client() as client:
        answers = [
            await client.post("/auth/register", json={"email": email, "password": "quite another password"})
            for email in (USER, "new@example.com", "new@example.com")
        ]
        assert [answer.status_code for answer in answers] == [201] * 3
        facts = [{**answer.json(), "id": "", "email": ""} for answer in answers]
        assert facts == facts[:1] * 3
        assert len({answer.json()["id"] for answer in answers}) == 3
        form = {"username": USER, "password": "quite another password"}
        assert (await client.post("/auth/jwt/login", data=form)).status_code == 400, "nothing was changed"
        weak = [
            await client.post("/auth/register", json={"email": email, "password": "short"})
            for email in (USER, "another@example.com")
        ]
        assert weak[0].content == weak[1].content
    mail = await _mail_to(site, USER)
    assert "There is one already" in mail.get_payload()
    assert len(await site.context.accounts.users.list()) == 2


async def test_nobody_registers_where_that_is_off_and_nobody_logs_in_where_there_are_no_users(start: Start) -> None:
    site = await start()
    async with site.client() as client:
        body = {"email": "new@example.com", "password": PASSWORD}
        assert (await client.post("/auth/register", json=body)).status_code == 404
    closed = await start(login=False)
    async with closed.client() as client:
        form = {"username": USER, "password": PASSWORD}
        for answer in (
            await client.post("/auth/jwt/login", data=form),
            await client.post("/auth/register", json=body),
            await client.post("/auth/forgot-password", json={"email": USER}),
        ):
            assert answer.status_code == 404
        assert (await client.get("/api/me")).json()["login"] is False


async def test_a4_a_forgotten_password(site: Site) -> None:
    async with await site.as_user(USER) as client:
        for email in (USER, "nobody@example.com"):
            answer = await client.post("/auth/forgot-password", json={"email": email})
            assert (answer.status_code, answer.json()) == (202, None)
        token = await _mailed_token(site)
        weak = await client.post("/auth/reset-password", json={"token": token, "password": "short"})
        assert weak.json()["detail"]["code"] == "RESET_PASSWORD_INVALID_PASSWORD"
        done = await client.post("/auth/reset-password", json={"token": token, "password": "another password"})
        assert (done.status_code, done.json()) == (200, None)
        assert (await client.get("/api/me")).json()["email"] is None, "sessions end with the password"
        again = await client.post("/auth/reset-password", json={"token": token, "password": "yet another one"})
        assert (again.status_code, again.json()["detail"]) == (400, "RESET_PASSWORD_BAD_TOKEN")
        old = await client.post("/auth/jwt/login", data={"username": USER, "password": PASSWORD})
        new = await client.post("/auth/jwt/login", data={"username": USER, "password": "another password"})
        assert (old.status_code, new.status_code) == (400, 204)


async def _mail_to(site: Site, email: str) -> Message:
    """Wait for the mail to an address."""
    outbox = Path(site.context.settings.statedir) / "mail"
    async with asyncio.timeout(30):
        while True:
            for file in outbox.glob("*.eml"):
                message = message_from_bytes(file.read_bytes())
                if message["To"] == email:
                    assert file.stat().st_mode & 0o077 == 0
                    return message
            await asyncio.sleep(0.05)


async def _mailed_token(site: Site) -> str:
    link = re.search(r"http://localhost:8002/reset-password/([\w-]{43})", (await _mail_to(site, USER)).get_payload())
    assert link
    outbox = Path(site.context.settings.statedir) / "mail"
    assert len(list(outbox.glob("*.eml"))) == 1, "only the user who exists gets a mail"
    return link[1]


async def test_changing_the_own_password_ends_all_sessions(site: Site) -> None:
    async with await site.as_user(USER) as client:
        wrong = await client.post(
            "/auth/change-password", json={"old_password": "x" * 8, "new_password": "the new password"}
        )
        assert (wrong.status_code, wrong.json()["detail"]) == (400, "LOGIN_BAD_CREDENTIALS")
        body = {"old_password": PASSWORD, "new_password": "the new password"}
        assert (await client.post("/auth/change-password", json=body)).status_code == 204
        assert (await client.get("/api/me")).json()["email"] is None


async def test_a6_pages_of_other_sites_cannot_act_for_a_user(site: Site) -> None:
    cases = [
        ({}, True),
        ({"Origin": "http://localhost:8002"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "https://evil.example.com"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://other.localhost:8002"}, False),
    ]
    async with await site.as_user(USER) as client:
        for headers, allowed in cases:
            answer = await client.post("/api/tokens", json={"name": "x"}, headers=headers)
            assert answer.status_code == (201 if allowed else 403), headers


async def test_a6_nobody_is_led_to_delete_a_user_by_a_link(site: Site) -> None:
    async with await site.as_user("root@example.com") as client:
        browser = {"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Site": "cross-site"}
        assert (await client.get(f"/api/deluser/{USER}", headers=browser)).status_code == 403
        assert (await client.get(f"/api/deluser/{USER}")).json() == f"User deleted: {USER}"


async def test_a10_api_tokens(site: Site) -> None:
    async with await site.as_user(USER) as client, site.client() as script:
        made = (await client.post("/api/tokens", json={"name": "nightly", "scopes": ["read"], "days": 7})).json()
        assert re.fullmatch(r"cat2_[\w-]{43}", made["token"])
        script.headers["Authorization"] = f"Bearer {made['token']}"
        me = (await script.get("/api/me")).json()
        assert (me["email"], me["scopes"]) == (USER, ["read"])
        beyond = await script.post("/api/tokens", json={"name": "more", "scopes": ["write"]})
        assert (beyond.status_code, beyond.json()["detail"]) == (
            400,
            "a token cannot do more than who makes it: 'write'",
        )
        listed = (await client.get("/api/tokens")).json()
        assert [(token["name"], token["used_at"] is not None) for token in listed] == [("nightly", True)]
        assert made["token"] not in str(listed)
        assert (await client.delete(f"/api/tokens/{made['id']}")).status_code == 204
        refused = await script.get("/api/me")
        assert (refused.status_code, refused.json()["detail"]) == (401, "The token is not valid, or no longer")


async def test_a10_a_token_without_admin_scope_administrates_nothing(site: Site) -> None:
    async with await site.as_user("root@example.com") as client, site.client() as script:
        for scopes, expected in ((["read", "write"], 403), (["admin"], 200)):
            made = (await client.post("/api/tokens", json={"name": "x", "scopes": scopes})).json()
            script.headers["Authorization"] = f"Bearer {made['token']}"
            assert (await script.get("/api/audit")).status_code == expected


async def test_administration_of_users_as_clients_of_the_original_do_it(site: Site) -> None:
    new = {"username": "a@b.com", "password": "foobar11", "superuser": False}
    async with await site.as_user("root@example.com") as root, await site.as_user(USER) as user:
        said = "User added: username='a@b.com' password='foobar11' superuser=False"
        assert (await root.post("/api/adduser/", json=new)).json() == said
        assert (await root.post("/api/adduser/", json=new)).json() == said
        refused = await user.post("/api/adduser/", json=new)
        assert (refused.status_code, refused.json()["detail"]) == (401, "Only superusers can add users")
        bad = await root.post("/api/adduser/", json={**new, "username": "c@b.com", "password": "short"})
        assert bad.json()["detail"] == "Error in adding c@b.com: Password should be at least 8 characters"
        everyone = (await root.get("/api/listusers/")).json()
        assert {entry["email"] for entry in everyone} == {"root@example.com", USER, "a@b.com"}
        known = {"id", "email", "is_active", "is_superuser", "is_verified"}
        assert set(everyone[0]) == known | {"used_bytes", "quota_bytes"}
        assert [entry["email"] for entry in (await user.get("/api/listusers/")).json()] == [USER]
        assert (await root.get("/api/listusers/", params={"username": "x@y.zz"})).json() == []
        assert (await user.get("/api/deluser/a@b.com")).json()["detail"] == "Only superusers can delete users"
        assert (await root.get("/api/deluser/a@b.com")).json() == "User deleted: a@b.com"
        gone = await root.get("/api/deluser/a@b.com")
        assert (gone.status_code, gone.json()["detail"]) == (400, "Error in deleting a@b.com: UserNotExists")
        made_up = (await root.post("/api/adduser/", json={**new, "password": None})).json()
        password = re.fullmatch(r"User added: username='a@b.com' password='([\w-]{16})' superuser=False", made_up)
        assert password
        form = {"username": "a@b.com", "password": password[1]}
        assert (await root.post("/auth/jwt/login", data=form)).status_code == 204


async def test_a_deleted_user_leaves_no_files_and_no_session(site: Site) -> None:
    async with await site.as_user("root@example.com") as root, await site.as_user(USER) as user:
        account = await site.context.accounts.find_user(USER)
        files = Path(site.context.settings.statedir) / "personal" / str(account.id)
        files.mkdir(parents=True)
        (files / "x.b2").write_bytes(b"x")
        assert (await root.delete(f"/api/users/{USER}")).status_code == 204
        assert not files.exists()
        assert (await user.get("/api/me")).json()["email"] is None


async def test_a18_what_people_do_is_written_down_without_secrets(site: Site) -> None:
    async with await site.as_user("root@example.com") as root:
        await root.post("/auth/jwt/login", data={"username": USER, "password": "wrong password"})
        made = (await root.post("/api/tokens", json={"name": "nightly"})).json()
        await root.post("/api/groups", json={"name": "xray"})
        entries = (await root.get("/api/audit")).json()
        done = [(entry["action"], entry["actor"], entry["target"], entry["result"]) for entry in entries]
        assert done[:3] == [
            ("add group", "root@example.com", "xray", "ok"),
            ("create token", "root@example.com", "nightly", "ok"),
            ("login", USER, "", "failed"),
        ]
        assert all(entry["request_id"] for entry in entries[:3])
        assert made["token"] not in str(entries)
        assert "wrong password" not in str(entries)
    async with await site.as_user(USER) as user:
        assert (await user.get("/api/audit")).status_code == 403


async def test_a19_a_short_secret_is_good_for_loopback_only(start: Start) -> None:
    await start(secret="c2sikrit")
    with pytest.raises(BadRequest, match="CATERVA2_SECRET"):
        await start(secret="c2sikrit", http="*:8002")


async def test_a19_a_missing_secret_is_made_and_kept_private(start: Start, tmp_path: Path) -> None:
    first = await start(secret=None)
    await first.add(USER)
    async with await first.as_user(USER) as client:
        made = tmp_path / "sub" / "secret"
        assert made.stat().st_mode & 0o777 == 0o600
        second = await start(secret=None)
        async with second.client(headers={"Cookie": client.headers["Cookie"]}) as elsewhere:
            assert (await elsewhere.get("/api/me")).json()["email"] == USER


async def test_the_database_is_readable_by_its_owner_alone(site: Site) -> None:
    assert (Path(site.context.settings.statedir) / "db.sqlite").stat().st_mode & 0o077 == 0
    assert isinstance(site.context.accounts.users, Users)
