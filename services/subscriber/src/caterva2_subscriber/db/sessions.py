"""What proves who somebody is: sessions, tokens, and the counting of attempts. Only hashes of secrets are stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID

from sqlalchemy import delete, func, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from caterva2.errors import NotFound

from .database import Database
from .people import load_account
from .records import ApiToken, Login
from .tables import ApiTokenRow, AttemptRow, OneTimeTokenRow, SessionRow, UsedFlowRow

USED_EVERY_S = 60.0
"""How exactly the last use of a session or token is kept."""


class Sessions:
    """Logins of browsers and clients (A5)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, token_hash: bytes, user_id: UUID, *, expires_at: float, address: str, agent: str) -> None:
        """Begin a session, and forget those that are over."""
        now = time.time()
        row = SessionRow(
            token_hash=token_hash,
            user_id=user_id,
            created_at=now,
            used_at=now,
            expires_at=expires_at,
            address=address[:64],
            agent=agent[:200],
        )
        async with self._database.writing() as session:
            await session.exec(delete(SessionRow).where(col(SessionRow.expires_at) < now))
            session.add(row)

    async def find(self, token_hash: bytes, *, idle_s: float) -> Login | None:
        """Return a session that is neither over nor idle for longer than `idle_s`."""
        now = time.time()
        async with self._database.reading() as session:
            row = await session.get(SessionRow, token_hash)
            if row is None or row.expires_at < now or row.used_at + idle_s < now:
                return None
            login = await _login(session, row)
        if row.used_at + USED_EVERY_S < now:
            await self._touch(token_hash, now)
        return login

    async def _touch(self, token_hash: bytes, now: float) -> None:
        async with self._database.writing() as session:
            await session.exec(update(SessionRow).where(col(SessionRow.token_hash) == token_hash).values(used_at=now))

    async def remove(self, token_hash: bytes) -> bool:
        """End one session; tell whether there was one."""
        async with self._database.writing() as session:
            row = await session.get(SessionRow, token_hash)
            if row is not None:
                await session.delete(row)
        return row is not None

    async def remove_all(self, user_id: UUID) -> None:
        """End all sessions of a user."""
        async with self._database.writing() as session:
            await session.exec(delete(SessionRow).where(col(SessionRow.user_id) == user_id))


async def _login(session: AsyncSession, row: SessionRow) -> Login | None:
    account = await load_account(session, row.user_id)
    if account is None:
        return None
    return Login(account, row.created_at, row.used_at, row.expires_at, row.address, row.agent)


class ApiTokens:
    """Tokens for scripts (A10)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, user_id: UUID, name: str, token_hash: bytes, scopes: list[str], expires_at: float) -> UUID:
        """Keep a new token; return the identity by which it is listed and revoked."""
        row = ApiTokenRow(
            user_id=user_id,
            name=name,
            token_hash=token_hash,
            scopes=scopes,
            created_at=time.time(),
            expires_at=expires_at,
        )
        async with self._database.writing() as session:
            session.add(row)
        return row.id

    async def find(self, token_hash: bytes) -> ApiToken | None:
        """Return a token that has not expired."""
        now = time.time()
        async with self._database.reading() as session:
            row = (await session.exec(select(ApiTokenRow).where(ApiTokenRow.token_hash == token_hash))).first()
            if row is None or row.expires_at < now:
                return None
            token = await _api_token(session, row)
        if row.used_at is None or row.used_at + USED_EVERY_S < now:
            async with self._database.writing() as session:
                await session.exec(update(ApiTokenRow).where(col(ApiTokenRow.id) == row.id).values(used_at=now))
        return token

    async def list(self, user_id: UUID) -> list[ApiToken]:
        """Return the tokens of a user, the newest first."""
        query = select(ApiTokenRow).where(ApiTokenRow.user_id == user_id).order_by(col(ApiTokenRow.created_at).desc())
        async with self._database.reading() as session:
            found = [await _api_token(session, row) for row in (await session.exec(query)).all()]
        return [token for token in found if token is not None]

    async def remove(self, token_id: UUID, *, user_id: UUID) -> None:
        """Revoke one token of a user. Raises NotFound."""
        async with self._database.writing() as session:
            row = await session.get(ApiTokenRow, token_id)
            if row is None or row.user_id != user_id:
                raise NotFound("there is no such token")
            await session.delete(row)


async def _api_token(session: AsyncSession, row: ApiTokenRow) -> ApiToken | None:
    account = await load_account(session, row.user_id)
    if account is None:
        return None
    return ApiToken(row.id, account, row.name, tuple(row.scopes), row.created_at, row.expires_at, row.used_at)


class OneTimeTokens:
    """Tokens that mails carry (A4)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, token_hash: bytes, user_id: UUID, purpose: str, *, expires_at: float) -> None:
        """Keep a new token, and forget those that are over."""
        row = OneTimeTokenRow(token_hash=token_hash, user_id=user_id, purpose=purpose, expires_at=expires_at)
        async with self._database.writing() as session:
            await session.exec(delete(OneTimeTokenRow).where(col(OneTimeTokenRow.expires_at) < time.time()))
            session.add(row)

    async def peek(self, token_hash: bytes, purpose: str) -> UUID | None:
        """Return whom a token that could be used belongs to."""
        async with self._database.reading() as session:
            row = await session.get(OneTimeTokenRow, token_hash)
            if row is None or row.purpose != purpose or row.used_at is not None or row.expires_at < time.time():
                return None
            return row.user_id

    async def use(self, token_hash: bytes, purpose: str) -> UUID | None:
        """Use a token up; return whom it belongs to, once, however many ask at the same time."""
        now = time.time()
        statement = (
            update(OneTimeTokenRow)
            .where(
                col(OneTimeTokenRow.token_hash) == token_hash,
                col(OneTimeTokenRow.purpose) == purpose,
                col(OneTimeTokenRow.used_at).is_(None),
                col(OneTimeTokenRow.expires_at) >= now,
            )
            .values(used_at=now)
            .returning(col(OneTimeTokenRow.user_id))
        )
        async with self._database.writing() as session:
            return (await session.exec(statement)).scalar_one_or_none()


class UsedFlows:
    """Answers of an OpenID provider, each of which is good once (A9)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def use(self, flow_hash: bytes, *, lifetime_s: float) -> bool:
        """Use an answer up; tell whether this was the first time."""
        now = time.time()
        try:
            async with self._database.writing() as session:
                await session.exec(delete(UsedFlowRow).where(col(UsedFlowRow.expires_at) < now))
                session.add(UsedFlowRow(flow_hash=flow_hash, expires_at=now + lifetime_s))
        except IntegrityError:
            return False
        return True


class Attempts:
    """Attempts to log in, counted per key in a sliding window (A2).

    Parameters
    ----------
    clock
        Returns the seconds since the Unix epoch.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self.clock = clock

    async def add(self, keys: list[str], *, window_s: float) -> None:
        """Count one attempt under each key, and forget those that no window holds any more."""
        now = self.clock()
        async with self._database.writing() as session:
            await session.exec(delete(AttemptRow).where(col(AttemptRow.at) < now - window_s))
            session.add_all(AttemptRow(key=key[:100], at=now) for key in keys)

    async def recent(self, key: str, *, window_s: float) -> tuple[int, float]:
        """Return how many attempts the window holds, and the time of the latest (0 for none)."""
        query = select(func.count(), func.max(AttemptRow.at)).where(
            AttemptRow.key == key[:100], col(AttemptRow.at) >= self.clock() - window_s
        )
        async with self._database.reading() as session:
            count, latest = (await session.exec(query)).one()
        return count, latest or 0.0

    async def forget(self, key: str) -> None:
        """Forget the attempts under one key."""
        async with self._database.writing() as session:
            await session.exec(delete(AttemptRow).where(col(AttemptRow.key) == key[:100]))
