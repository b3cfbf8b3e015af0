"""``cat2sub --migrate``: what compose and the chart's job run before an upgrade."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from caterva2 import errors
from caterva2_subscriber.db import Database, Users
from caterva2_subscriber.db.database import upgrade
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.processes import environment, run

DDL = (
    "CREATE TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "DROP TABLE audit",
    "ALTER TABLE users ADD COLUMN mine int",
    "TRUNCATE audit",
    "UPDATE alembic_version SET version_num = 'mine'",
)


def connect(url: str) -> asyncpg.connect_utils._ConnectionProxy:
    return asyncpg.connect(url.replace("+asyncpg", ""))


async def tables(url: str) -> set[str]:
    connection = await connect(url)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    finally:
        await connection.close()
    return {row["tablename"] for row in rows}


async def test_migrate_makes_the_tables_and_may_be_repeated(postgres_url: str) -> None:
    assert await tables(postgres_url) == set()
    for _ in range(2):
        done = run(["cat2sub", "--migrate"], env=environment({"CATERVA2_DATABASE_URL": postgres_url}))
        assert done.returncode == 0, done.stderr
    made = await tables(postgres_url)
    assert "alembic_version" in made
    assert len(made) > 5


def test_migrate_without_a_database_is_said_with_exit_code_1() -> None:
    url = f"postgresql+asyncpg://nobody:x@127.0.0.1:{free_port()}/none"
    done = run(["cat2sub", "--migrate"], env=environment({"CATERVA2_DATABASE_URL": url}))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("cat2sub: The database does not answer")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("revision", ["0001", "0002"])
async def test_migrate_brings_a_database_of_an_older_version_up_to_date_with_its_people(
    revision: str, postgres_url: str
) -> None:
    database = Database(postgres_url)
    try:
        async with database._engine.begin() as connection:
            await connection.run_sync(upgrade, to=revision)
        sql = "INSERT INTO users (id, email, hashed_password, is_active, is_superuser, is_verified, created_at)"
        older = await connect(postgres_url)
        await older.execute(f"{sql} VALUES ($1, 'ada@example.com', 'hash', true, true, true, 1.0)", uuid.uuid4())
        await older.close()
        done = run(["cat2sub", "--migrate"], env=environment({"CATERVA2_DATABASE_URL": postgres_url}))
        assert done.returncode == 0, done.stderr
        await database.migrate()
        kept = await Users(database).by_email("ada@example.com")
    finally:
        await database.close()
    assert kept is not None
    assert kept.is_superuser


# --- two roles ---------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Urls:
    """One database by two roles."""

    owner: str
    serving: str

    def with_password(self, password: str) -> Urls:
        """Return the same with another password of the role that serves people."""
        url = make_url(self.serving).set(password=password)
        return Urls(self.owner, url.render_as_string(hide_password=False))


@pytest.fixture
def urls(postgres: Postgres) -> Iterator[Urls]:
    """A database, and the name of a role that is not there yet. The server asks that role for its password."""
    name, role = postgres.create(), f"serving_{uuid.uuid4().hex[:12]}"
    owner = postgres.url(name)
    url = make_url(owner).set(username=role, password="first")
    yield Urls(owner, url.render_as_string(hide_password=False))
    postgres.drop(name)


@pytest.fixture
async def owner(urls: Urls) -> AsyncIterator[asyncpg.Connection]:
    """The owner's connection; what the server trusts for it, it does not for the role that serves people."""
    role = make_url(urls.serving).username
    connection = await connect(urls.owner)
    file = await connection.fetchval("SHOW hba_file")
    rule = f"host all {role} all scram-sha-256"
    before = await connection.fetchval("SELECT pg_read_file($1)", file)
    # FORMAT csv would quote the lines; the file has no backslashes, which text would double.
    copy = "COPY (SELECT regexp_split_to_table('{}', '\\n')) TO '{}'"
    await connection.execute(copy.format(f"{rule}\n{before}".replace("'", "''"), file))
    await connection.execute("SELECT pg_reload_conf()")
    yield connection
    await connection.execute(copy.format(before.replace("'", "''"), file))
    await connection.execute("SELECT pg_reload_conf()")
    if await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
        await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    await connection.close()


def migrate(urls: Urls) -> tuple[int, str]:
    variables = {"CATERVA2_DATABASE_URL": urls.serving, "CATERVA2_DATABASE_MIGRATION_URL": urls.owner}
    done = run(["cat2sub", "--migrate"], env=environment(variables))
    return done.returncode, done.stderr


async def test_a23_the_role_that_serves_people_writes_rows_and_cannot_change_tables(
    urls: Urls, owner: asyncpg.Connection
) -> None:
    assert migrate(urls) == (0, "")
    database = Database(urls.serving)
    try:
        await database.migrate()  # what every start does: nothing is left to change
        added = await Users(database).add("ada@example.com", "hash")
        assert await Users(database).by_email("ada@example.com") == added
    finally:
        await database.close()
    connection = await connect(urls.serving)
    for statement in DDL:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


async def test_a23_its_password_is_rotated_by_migrating_again(urls: Urls, owner: asyncpg.Connection) -> None:
    assert migrate(urls) == (0, "")
    rotated = urls.with_password("second 'one'")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connect(rotated.serving)
    assert migrate(rotated) == (0, "")
    await (await connect(rotated.serving)).close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connect(urls.serving)


async def test_a23_until_its_owner_migrates_the_database_counts_as_down(urls: Urls, owner: asyncpg.Connection) -> None:
    database = Database(urls.serving)
    try:
        with pytest.raises(errors.Unavailable):  # there is no such role
            await database.migrate()
        await owner.execute(f"CREATE ROLE {make_url(urls.serving).username} LOGIN PASSWORD 'first'")
        with pytest.raises(errors.Unavailable):  # there are no tables, and it must not make them
            await database.migrate()
        assert await tables(urls.owner) == set()
        assert migrate(urls) == (0, "")
        await database.migrate()
        assert await Users(database).list() == []
    finally:
        await database.close()


def test_a23_both_urls_must_name_one_database(urls: Urls) -> None:
    other = Urls(urls.owner, make_url(urls.serving).set(database="other").render_as_string(hide_password=False))
    code, said = migrate(other)
    assert code == 1
    assert said.startswith("cat2sub: database.url and database.migration_url must name one database")


async def test_a_database_that_a_newer_version_left_behind_is_used(urls: Urls, owner: asyncpg.Connection) -> None:
    assert migrate(urls) == (0, "")
    await owner.execute("UPDATE alembic_version SET version_num = 'of tomorrow'")
    database = Database(urls.serving)
    try:
        await database.migrate()
        assert await Users(database).list() == []
    finally:
        await database.close()
    assert await owner.fetchval("SELECT version_num FROM alembic_version") == "of tomorrow"
