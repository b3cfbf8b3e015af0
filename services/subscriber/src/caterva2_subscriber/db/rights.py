"""Who was granted what on which root."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete
from sqlmodel import col, select

from .database import Database
from .tables import GrantRow


class Grants:
    """The grants of all roots: ``{(root, access): grantees}``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> dict[tuple[str, str], frozenset[str]]:
        """Return every grant that was set."""
        grants: dict[tuple[str, str], set[str]] = {}
        async with self._database.reading() as session:
            for row in (await session.exec(select(GrantRow))).all():
                grants.setdefault((row.root, row.access), set()).add(row.grantee)
        return {key: frozenset(grantees) for key, grantees in grants.items()}

    async def set(self, root: str, access: str, grantees: Iterable[str] | None) -> None:
        """Replace the grantees of one access to one root; None brings back its default."""
        async with self._database.writing() as session:
            await session.exec(delete(GrantRow).where(col(GrantRow.root) == root, col(GrantRow.access) == access))
            if grantees is not None:
                session.add_all(
                    GrantRow(root=root, access=access, grantee=grantee) for grantee in sorted(set(grantees))
                )
