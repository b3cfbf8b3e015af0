"""The repositories behave the same on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import uuid
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlmodel import SQLModel

from caterva2 import errors
from caterva2_subscriber.db import (
    ApiTokens,
    Attempts,
    AuditEntry,
    AuditTrail,
    Database,
    Grants,
    Groups,
    Identities,
    OneTimeTokens,
    Quotas,
    Sessions,
    Subscriptions,
    Users,
)


async def test_migrations_make_the_tables_that_the_code_declares(database: Database) -> None:
    async with database._engine.connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync), SQLModel.metadata)
        )
    assert differences == []


async def test_migrating_twice_and_at_the_same_time_is_harmless(database_url: str) -> None:
    replicas = [Database(database_url) for _ in range(3)]
    try:
        await asyncio.gather(*(replica.migrate() for replica in replicas))
        await replicas[0].migrate()
        assert await Users(replicas[2]).list() == []
    finally:
        for replica in replicas:
            await replica.close()


async def test_accounts_of_the_original_are_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite"
    known = uuid.uuid4()
    with sqlite3.connect(path) as old:
        old.execute(
            "CREATE TABLE user (id CHAR(36) PRIMARY KEY, email VARCHAR(320), hashed_password VARCHAR(1024),"
            " is_active BOOLEAN, is_superuser BOOLEAN, is_verified BOOLEAN)"
        )
        old.execute("INSERT INTO user VALUES (?, 'Ada@Example.com', '$argon2id$x', 1, 0, 1)", (str(known),))
    old.close()
    database = Database(f"sqlite+aiosqlite:///{path}")
    await database.migrate()
    account = await Users(database).by_email("ada@example.com")
    await database.close()
    assert account is not None
    assert (account.id, account.hashed_password, account.is_superuser) == (known, "$argon2id$x", False)


async def test_email_addresses_are_unique_whatever_their_case(database: Database) -> None:
    users = Users(database)
    added = await users.add("Ada@Example.com", "hash", superuser=True)
    with pytest.raises(errors.AlreadyExists):
        await users.add("ada@example.COM", "other")
    assert await users.by_email("ADA@example.com") == added
    assert added.is_superuser
    assert await users.by_email("nobody@example.com") is None


async def test_maxusers_holds_when_many_register_at_once(database: Database) -> None:
    users = Users(database)
    outcomes = await asyncio.gather(
        *(users.add(f"user{i}@example.com", None, maxusers=3) for i in range(8)), return_exceptions=True
    )
    assert sum(isinstance(outcome, errors.Conflict) for outcome in outcomes) == 5
    assert len(await users.list()) == 3


async def test_groups_and_what_goes_with_a_removed_user(database: Database) -> None:
    users, groups, grants = Users(database), Groups(database), Grants(database)
    ada = await users.add("ada@example.com", None)
    await groups.add("xray", "beamline")
    await groups.add_member("xray", ada.id)
    await groups.add_member("xray", ada.id)
    await grants.set("foo", "read", ["group:xray", "user:ada@example.com"])
    assert [(group.name, group.members) for group in await groups.list()] == [("xray", ("ada@example.com",))]
    found = await users.get(ada.id)
    assert found is not None
    assert found.groups == {"xray"}
    await users.remove(ada.id)
    assert (await groups.list())[0].members == ()
    assert await grants.all() == {("foo", "read"): frozenset({"group:xray"})}
    await groups.remove("xray")
    assert await grants.all() == {}
    with pytest.raises(errors.UserNotFound):
        await groups.remove("xray")


async def test_memberships_from_claims_come_and_go_with_them(database: Database) -> None:
    users, groups = Users(database), Groups(database)
    ada = await users.add("ada@example.com", None)
    await groups.add("manual")
    await groups.add_member("manual", ada.id)
    await groups.follow_claims(ada.id, ["one", "two"])
    assert {g.name for g in await groups.list() if g.members} == {"manual", "one", "two"}
    await groups.follow_claims(ada.id, ["two"])
    assert {g.name for g in await groups.list() if g.members} == {"manual", "two"}


async def test_an_identity_belongs_to_one_user(database: Database) -> None:
    users, identities = Users(database), Identities(database)
    ada, bob = await users.add("ada@example.com", None), await users.add("bob@example.com", None)
    await identities.link("https://id.example.com", "1", ada.id)
    with pytest.raises(errors.AlreadyExists):
        await identities.link("https://id.example.com", "1", bob.id)
    found = await identities.find("https://id.example.com", "1")
    assert found is not None
    assert found.id == ada.id
    assert await identities.find("https://evil.example.com", "1") is None


async def test_a5_sessions_end_by_age_idleness_and_removal(database: Database) -> None:
    sessions, users = Sessions(database), Users(database)
    ada = await users.add("ada@example.com", None)
    now = time.time()
    for name, expires_at in ((b"a" * 32, now + 60), (b"b" * 32, now - 1), (b"c" * 32, now + 60)):
        await sessions.add(name, ada.id, expires_at=expires_at, address="127.0.0.1", agent="test")
    found = await sessions.find(b"a" * 32, idle_s=10)
    assert found is not None
    assert found.account.email == "ada@example.com"
    assert await sessions.find(b"b" * 32, idle_s=10) is None
    assert await sessions.find(b"a" * 32, idle_s=-1) is None
    assert await sessions.remove(b"a" * 32)
    assert not await sessions.remove(b"a" * 32)
    await sessions.remove_all(ada.id)
    assert await sessions.find(b"c" * 32, idle_s=10) is None


async def test_a4_a_one_time_token_is_used_once_however_many_try(database: Database) -> None:
    tokens, users = OneTimeTokens(database), Users(database)
    ada = await users.add("ada@example.com", None)
    await tokens.add(b"t" * 32, ada.id, "reset", expires_at=time.time() + 60)
    await tokens.add(b"o" * 32, ada.id, "reset", expires_at=time.time() + 60)
    assert await tokens.peek(b"t" * 32, "verify") is None
    assert await tokens.peek(b"t" * 32, "reset") == ada.id
    used = await asyncio.gather(*(tokens.use(b"t" * 32, "reset") for _ in range(5)))
    assert sorted(used, key=str) == sorted([ada.id, None, None, None, None], key=str)
    assert await tokens.peek(b"t" * 32, "reset") is None


async def test_a10_api_tokens_expire_and_are_revoked_by_their_owner_only(database: Database) -> None:
    tokens, users = ApiTokens(database), Users(database)
    ada, bob = await users.add("ada@example.com", None), await users.add("bob@example.com", None)
    token_id = await tokens.add(ada.id, "script", b"1" * 32, ["read"], time.time() + 60)
    await tokens.add(ada.id, "old", b"2" * 32, ["read"], time.time() - 1)
    found = await tokens.find(b"1" * 32)
    assert found is not None
    assert found.scopes == ("read",)
    assert await tokens.find(b"2" * 32) is None
    assert [token.name for token in await tokens.list(ada.id)] == ["old", "script"]
    with pytest.raises(errors.NotFound):
        await tokens.remove(token_id, user_id=bob.id)
    await tokens.remove(token_id, user_id=ada.id)
    assert await tokens.find(b"1" * 32) is None


async def test_a2_attempts_are_counted_in_their_window(database: Database) -> None:
    attempts = Attempts(database)
    for _ in range(3):
        await attempts.add(["login:x"], window_s=3600)
    count, latest = await attempts.recent("login:x", window_s=60)
    assert count == 3
    assert abs(latest - time.time()) < 30
    assert await attempts.recent("login:y", window_s=60) == (0, 0.0)


async def test_quotas_never_exceed_a_limit_when_many_write_at_once(database: Database) -> None:
    quotas = Quotas(database)
    await quotas.set_limit("site", 100)
    outcomes = await asyncio.gather(
        *(quotas.reserve(["site", f"user{i}"], 30) for i in range(6)), return_exceptions=True
    )
    assert sum(isinstance(outcome, errors.QuotaExceeded) for outcome in outcomes) == 3
    assert (await quotas.usage("site")).used_bytes == 90
    assert sum([(await quotas.usage(f"user{i}")).used_bytes for i in range(6)]) == 90
    await quotas.release(["site"], 1000)
    assert (await quotas.usage("site")).used_bytes == 0


async def test_a18_audit_entries_are_single_lines_and_come_newest_first(database: Database) -> None:
    trail = AuditTrail(database)
    for action in ("login", "upload"):
        await trail.add(AuditEntry(time.time(), action, "ada", "x\r\nforged", "ok", "127.0.0.1", "r", "d" * 2000))
    entries = await trail.read()
    assert [entry.action for entry in entries] == ["upload", "login"]
    assert entries[0].target == "x\\r\\nforged"
    assert len(entries[0].detail) == 500
    assert [entry.action for entry in await trail.read(before=entries[0].id)] == ["login"]
    assert await trail.read(actor="bob") == []


async def test_f4_a_database_that_cannot_be_reached_is_unavailable_at_once() -> None:
    database = Database("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    try:
        await database.open()
        with pytest.raises(errors.Unavailable) as caught:
            await Users(database).list()
        assert caught.value.retry_after_s
        assert "127.0.0.1" not in caught.value.detail
    finally:
        await database.close()


@pytest.mark.parametrize("url", ["mysql://x", "sqlite:///x", "not a url"])
def test_only_the_two_engines_are_accepted(url: str) -> None:
    with pytest.raises(errors.BadRequest):
        Database(url)


async def test_sqlite_writers_wait_for_each_other(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'people.sqlite'}"
    first, second = Database(url), Database(url)
    await first.migrate()
    await second.migrate()
    try:
        await asyncio.gather(
            *(
                Users(database).add(f"{n}-{i}@example.com", None)
                for n, database in enumerate((first, second))
                for i in range(20)
            )
        )
        async with first.reading() as session:
            count = (await (await session.connection()).execute(text("SELECT count(*) FROM users"))).scalar_one()
        assert count == 40
    finally:
        await first.close()
        await second.close()


async def test_subscriptions_are_kept_once_and_go_with_their_user(database: Database) -> None:
    users, subscriptions = Users(database), Subscriptions(database)
    user = await users.add("user@example.com", None)
    await asyncio.gather(*(subscriptions.add("foo", holder) for holder in ("site", str(user.id), str(user.id))))
    await subscriptions.add("bar", str(user.id))
    (since,) = (await subscriptions.all())["bar"].values()
    await subscriptions.add("bar", str(user.id))
    assert await subscriptions.all() == {
        "foo": {"site": pytest.approx(since, abs=60), str(user.id): pytest.approx(since, abs=60)},
        "bar": {str(user.id): since},
    }
    assert not await subscriptions.remove("bar", "site")
    await users.remove(user.id)
    assert {root: set(holders) for root, holders in (await subscriptions.all()).items()} == {"foo": {"site"}}
    assert await subscriptions.remove("foo")
    assert await subscriptions.all() == {}
