"""The PostgreSQL that other tests stand on."""

import asyncpg
import pytest

from tests.support.postgres import Postgres


def plain(url: str) -> str:
    return url.replace("+asyncpg", "")


async def test_each_test_has_a_database_of_its_own(postgres: Postgres, postgres_url: str) -> None:
    connection = await asyncpg.connect(plain(postgres_url))
    await connection.execute("CREATE TABLE t (n int)")
    await connection.close()
    other = postgres.create()
    connection = await asyncpg.connect(plain(postgres.url(other)))
    with pytest.raises(asyncpg.UndefinedTableError):
        await connection.fetch("SELECT * FROM t")
    await connection.close()
    postgres.drop(other)


async def test_a_crashed_server_comes_back(postgres: Postgres, postgres_url: str) -> None:
    postgres.kill()
    with pytest.raises(ConnectionError):
        await asyncpg.connect(plain(postgres_url))
    postgres.start()
    connection = await asyncpg.connect(plain(postgres_url))
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_a_server_that_hangs_can_be_made_and_resumed(postgres: Postgres, postgres_url: str) -> None:
    postgres.hang()
    try:
        with pytest.raises(TimeoutError):
            await asyncpg.connect(plain(postgres_url), timeout=0.5)
    finally:
        postgres.resume()
    connection = await asyncpg.connect(plain(postgres_url))
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
