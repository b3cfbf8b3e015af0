"""What is counted and written down: bytes used, and who did what."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import case, or_, update
from sqlmodel import col, select

from caterva2.errors import QuotaExceeded

from .database import Database
from .records import AuditEntry, Usage
from .tables import AuditRow, QuotaRow

SITE = "site"
MAX_AUDIT_PAGE = 1000


class Quotas:
    """Bytes used by users and by the site, counted as they change; replicas share the counts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set_limit(self, scope: str, limit_bytes: int | None) -> None:
        """Allow a scope so many bytes (None: any number)."""
        async with self._database.writing() as session:
            row = await session.get(QuotaRow, scope) or QuotaRow(scope=scope)
            row.limit_bytes = limit_bytes
            session.add(row)

    async def set_used(self, scope: str, used_bytes: int) -> None:
        """Set what a scope uses to what was measured on disk."""
        async with self._database.writing() as session:
            row = await session.get(QuotaRow, scope) or QuotaRow(scope=scope)
            row.used_bytes = used_bytes
            session.add(row)

    async def usage(self, scope: str) -> Usage:
        """Return what a scope uses and may use."""
        async with self._database.reading() as session:
            row = await session.get(QuotaRow, scope)
        return Usage(0, None) if row is None else Usage(row.used_bytes, row.limit_bytes)

    async def all(self) -> dict[str, Usage]:
        """Return what every scope that is known uses and may use."""
        async with self._database.reading() as session:
            rows = (await session.exec(select(QuotaRow))).all()
        return {row.scope: Usage(row.used_bytes, row.limit_bytes) for row in rows}

    async def reserve(self, scopes: list[str], nbytes: int) -> None:
        """Take `nbytes` from every scope, or from none.

        Raises
        ------
        QuotaExceeded
            If one of them has not so much left.
        """
        async with self._database.writing() as session:
            for scope in sorted(scopes):
                if await session.get(QuotaRow, scope) is None:
                    session.add(QuotaRow(scope=scope))
                    await session.flush()
                statement = (
                    update(QuotaRow)
                    .where(
                        col(QuotaRow.scope) == scope,
                        or_(
                            col(QuotaRow.limit_bytes).is_(None),
                            col(QuotaRow.used_bytes) + nbytes <= col(QuotaRow.limit_bytes),
                        ),
                    )
                    .values(used_bytes=col(QuotaRow.used_bytes) + nbytes)
                    .execution_options(synchronize_session=False)
                )
                if (await session.exec(statement)).rowcount == 0:
                    raise QuotaExceeded("quota limit has been exceeded")

    async def release(self, scopes: list[str], nbytes: int) -> None:
        """Give `nbytes` back to every scope."""
        left = col(QuotaRow.used_bytes) - nbytes
        statement = (
            update(QuotaRow)
            .where(col(QuotaRow.scope).in_(scopes))
            .values(used_bytes=case((left > 0, left), else_=0))
            .execution_options(synchronize_session=False)
        )
        async with self._database.writing() as session:
            await session.exec(statement)

    async def forget(self, scope: str) -> None:
        """Forget a scope, whose data are gone."""
        async with self._database.writing() as session:
            row = await session.get(QuotaRow, scope)
            if row is not None:
                await session.delete(row)


class AuditTrail:
    """Who did what (A18). Entries are added and read, never changed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, entry: AuditEntry) -> None:
        """Write one entry down."""
        facts = asdict(entry)
        del facts["id"]
        limits = {"target": 1100, "actor": 320, "detail": 500, "address": 64, "request_id": 64}
        async with self._database.writing() as session:
            session.add(AuditRow.model_validate({name: _line(v, limits.get(name)) for name, v in facts.items()}))

    async def read(
        self, *, limit: int = 100, before: int | None = None, action: str | None = None, actor: str | None = None
    ) -> list[AuditEntry]:
        """Return entries, the newest first; `before` is the id of the last one already seen."""
        query = select(AuditRow).order_by(col(AuditRow.id).desc()).limit(min(limit, MAX_AUDIT_PAGE))
        if before is not None:
            query = query.where(col(AuditRow.id) < before)
        if action is not None:
            query = query.where(AuditRow.action == action)
        if actor is not None:
            query = query.where(AuditRow.actor == actor)
        async with self._database.reading() as session:
            rows = (await session.exec(query)).all()
        return [AuditEntry(**{name: getattr(row, name) for name in AuditEntry.__dataclass_fields__}) for row in rows]


def _line(value: object, limit: int | None) -> object:
    """Return text without line breaks and other control characters, so that nobody can forge an entry."""
    if not isinstance(value, str):
        return value
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)[:limit]
