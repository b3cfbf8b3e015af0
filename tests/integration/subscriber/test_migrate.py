"""``cat2sub --migrate``: what the chart's job runs before an upgrade."""

from __future__ import annotations

import asyncpg

from tests.support.ports import free_port
from tests.support.processes import environment, run


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
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
