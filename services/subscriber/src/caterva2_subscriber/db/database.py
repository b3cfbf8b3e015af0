"""The connection to the database, and what happens while there is none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from caterva2.errors import BadRequest, Unavailable
from caterva2_service.log import get_logger

from . import roles

DEADLINE_S = 5.0
"""Longest time that one transaction may take before the database counts as down."""
MIGRATION_DEADLINE_S = 60.0
RETRY_S = 5.0
MIGRATION_LOCK = 0x63617432  # "cat2": replicas that start together migrate one after the other

_REFUSALS = {
    roles.INSUFFICIENT_PRIVILEGE: "tables of another version or of another role: run cat2sub --migrate as their owner",
    "28000": "login refused",
    "28P01": "login refused",
    "3D000": "there is no such database",
    "53300": "the server has no connection left",
}
"""What goes away without a change here, by SQLSTATE: the owner migrates, a password is rotated on both sides."""

_log = get_logger(__name__)


class Database:
    """One database, that may be away for a while.

    Every transaction runs against a deadline. While the database does not answer, transactions raise `Unavailable`,
    and the rest of the service goes on (F4).

    Parameters
    ----------
    url
        ``postgresql+asyncpg://...`` or ``sqlite+aiosqlite:///path``.
    report
        Told whenever the database comes or goes: (ok, detail).
    """

    def __init__(self, url: str, *, report: Callable[[bool, str], None] = lambda ok, detail: None) -> None:
        self._engine = _make_engine(url)
        self._report = report
        self._ready = False
        self._closed = False
        self._finding: asyncio.Task[None] | None = None

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file of this machine."""
        return self._engine.dialect.name == "sqlite"

    async def migrate(self, *, admit: str | None = None) -> None:
        """Bring the tables to the present version.

        Parameters
        ----------
        admit
            URL of the role that serves people, where this is the role that owns the tables; see `roles.admit`.

        Raises
        ------
        Unavailable
            If the database is away, or of an older version and this role may not change tables.
        """
        with _as_unavailable(self._lost):
            self._protect_file()
            async with asyncio.timeout(MIGRATION_DEADLINE_S), self._engine.begin() as connection:
                await connection.run_sync(upgrade)
                if admit is not None and not self.is_sqlite:
                    await connection.run_sync(roles.admit, admit)
        self._found()

    def _protect_file(self) -> None:
        file = self._engine.url.database
        if self.is_sqlite and file and file != ":memory:":
            Path(file).touch(mode=0o600)

    async def open(self) -> None:
        """Migrate now, or keep trying in the background while the database is away."""
        with contextlib.suppress(Unavailable):
            await self.migrate()

    async def close(self) -> None:
        """Give back all connections."""
        self._closed = True
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.gather(self._finding, return_exceptions=True)
        await self._engine.dispose()

    def reading(self) -> contextlib.AbstractAsyncContextManager[AsyncSession]:
        """Open a transaction that only reads. Raises Unavailable."""
        return self._transaction(writing=False)

    def writing(self) -> contextlib.AbstractAsyncContextManager[AsyncSession]:
        """Open a transaction that is committed at its end. Raises Unavailable, also if the commit is uncertain."""
        return self._transaction(writing=True)

    @contextlib.asynccontextmanager
    async def _transaction(self, *, writing: bool) -> AsyncIterator[AsyncSession]:
        if not self._ready:
            raise _unavailable()
        with _as_unavailable(self._lost):
            async with (
                asyncio.timeout(DEADLINE_S),
                AsyncSession(self._engine, expire_on_commit=False) as session,
                session.begin(),
            ):
                await session.connection(execution_options={"writing": writing})
                yield session
        self._found()

    async def ping(self) -> None:
        """Ask for nothing. Raises Unavailable."""
        async with self.reading():
            pass

    def _found(self) -> None:
        self._ready = True
        self._report(True, "")

    def _lost(self, detail: str) -> None:
        """Refuse transactions at once, instead of letting each wait for its deadline, until the database answers."""
        self._ready = False
        self._report(False, detail)
        if not self._closed and (self._finding is None or self._finding.done()):
            self._finding = asyncio.create_task(self._find(), name="database")

    async def _find(self) -> None:
        while not self._ready:
            try:
                await self.migrate()
            except Unavailable:
                await asyncio.sleep(RETRY_S / 2)


def check_url(url: str) -> str:
    """Return `url` if it names a database that can be used. Raises BadRequest."""
    try:
        driver = make_url(url).drivername
    except ArgumentError:
        raise BadRequest("the database URL cannot be read") from None
    if driver not in ("postgresql+asyncpg", "sqlite+aiosqlite"):
        raise BadRequest(f"the database URL must begin with postgresql+asyncpg:// or sqlite+aiosqlite://, not {driver}")
    return url


def _make_engine(url: str) -> AsyncEngine:
    if make_url(check_url(url)).drivername.startswith("sqlite"):
        engine = create_async_engine(url)
        event.listen(engine.sync_engine, "connect", _configure_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    return create_async_engine(
        url,
        pool_size=5,
        max_overflow=5,
        pool_timeout=DEADLINE_S,
        pool_pre_ping=True,
        connect_args={
            "timeout": DEADLINE_S,
            "command_timeout": DEADLINE_S,
            "server_settings": {"application_name": "caterva2-subscriber", "statement_timeout": "5000"},
        },
    )


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by `_begin_sqlite`
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "busy_timeout=5000", "foreign_keys=ON", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once if somebody wrote between: take the lock now.
    writing = connection.get_execution_options().get("writing", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def upgrade(connection: Connection, *, to: str = "head") -> None:
    """Run the migrations on an open connection, up to a revision, one process at a time."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    newer = set(MigrationContext.configure(connection).get_current_heads()) - known
    if newer:  # left by a newer version, before a rollback: what it changed is additive
        _log.warning("the database is of a newer version", revisions=sorted(newer))
        return
    command.upgrade(config, to)


@contextlib.contextmanager
def _as_unavailable(lost: Callable[[str], None]) -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except (
        OperationalError,
        InterfaceError,
        PoolTimeout,
        asyncpg.PostgresConnectionError,
        asyncpg.CannotConnectNowError,
        asyncpg.QueryCanceledError,
        OSError,
        TimeoutError,
    ) as error:
        reason = type(error).__name__
        _log.warning("database unavailable", reason=reason)
        lost(reason)
        raise _unavailable() from error
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None)
        if state in _REFUSALS:
            _log.warning("refused by the database", reason=str(error.orig))
            lost(_REFUSALS[state])
        elif error.connection_invalidated:
            lost("connection lost")
        else:
            raise
        raise _unavailable() from error


def _unavailable() -> Unavailable:
    return Unavailable("The database does not answer; try again in a few seconds", retry_after_s=RETRY_S)
