"""Who wants which root to be followed."""

from __future__ import annotations

import time

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from .database import Database
from .tables import SubscriptionRow


class Subscriptions:
    """The subscriptions of a site: a root, and who holds it: a user's id, or ``site``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> dict[str, dict[str, float]]:
        """Return who holds which root, and since when (Unix time in seconds)."""
        held: dict[str, dict[str, float]] = {}
        async with self._database.reading() as session:
            for row in (await session.exec(select(SubscriptionRow))).all():
                held.setdefault(row.root, {})[row.holder] = row.created_at
        return held

    async def add(self, root: str, holder: str) -> None:
        """Write a subscription down; one that exists keeps its date."""
        try:
            async with self._database.writing() as session:
                if await session.get(SubscriptionRow, (root, holder)) is None:
                    session.add(SubscriptionRow(root=root, holder=holder, created_at=time.time()))
        except IntegrityError:
            return  # another replica was faster

    async def remove(self, root: str, holder: str | None = None) -> bool:
        """Remove one subscription to a root, or all of them; tell whether there was any."""
        statement = delete(SubscriptionRow).where(col(SubscriptionRow.root) == root)
        if holder is not None:
            statement = statement.where(col(SubscriptionRow.holder) == holder)
        async with self._database.writing() as session:
            return (await session.exec(statement)).rowcount > 0
