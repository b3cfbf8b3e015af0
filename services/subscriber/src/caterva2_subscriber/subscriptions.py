"""Who is subscribed to which root: users for themselves, and the site.

The site follows a root while anybody is subscribed to it. That is written in the database, which all replicas of a site
share; each of them compares it now and then with what it follows. What a replica follows is in its own catalogue too,
so that following goes on while the database is down, and subscriptions made meanwhile are written down later (F4).

The site's own subscriptions are made by administrators, by the configuration, and by visitors who have no account.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from caterva2.errors import Conflict, NotFound, PermissionDenied, RootNotFound, Unavailable
from caterva2_service.background import running
from caterva2_service.log import get_logger
from caterva2_service.siblings import Answers, Siblings
from caterva2_service.threads import Threads

from . import db
from .auth.principal import Principal, require_user
from .cache import ChunkStore
from .catalog import Catalog
from .tracking import FOLLOW_ALL, Tracking

SITE = "site"
_COMPARE = "compare-subscriptions"
STEP_S = 10.0
"""Seconds between two comparisons with the database."""

_log = get_logger(__name__)


class Who(StrEnum):
    """Whose subscription."""

    ME = "me"
    """That of the user who asks; of the site for visitors without an account."""
    SITE = "site"
    EVERYBODY = "everybody"


@dataclass(frozen=True, slots=True)
class Subscription:
    """What there is to know of one root."""

    root: str
    followed: bool
    """Whether the site follows the root."""
    site: bool
    """Whether the site itself is subscribed, or configured to follow the root."""
    mine: bool
    """Whether the user who asks is subscribed."""
    users: int
    """Number of users who are subscribed."""


class Subscriptions:
    """The subscriptions of the site. Make it with `open`.

    Parameters
    ----------
    configured
        Roots that the configuration tells to follow, `FOLLOW_ALL` for all.
    """

    def __init__(
        self,
        rows: db.Subscriptions,
        *,
        tracking: Tracking,
        catalog: Catalog,
        store: ChunkStore,
        threads: Threads,
        configured: Collection[str],
        siblings: Siblings,
    ) -> None:
        self._rows = rows
        self._tracking = tracking
        self._catalog = catalog
        self._store = store
        self._threads = threads
        self._configured = frozenset(configured)
        self._siblings = siblings
        self._held: dict[str, dict[str, float]] = {}
        """What the database said last."""
        self._lock = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        rows: db.Subscriptions,
        *,
        tracking: Tracking,
        catalog: Catalog,
        store: ChunkStore,
        threads: Threads,
        configured: Collection[str],
        siblings: Siblings,
    ) -> AsyncIterator[Self]:
        """Compare what is followed with the database, again and again until left."""
        subscriptions = cls(
            rows,
            tracking=tracking,
            catalog=catalog,
            store=store,
            threads=threads,
            configured=configured,
            siblings=siblings,
        )
        async with running(subscriptions._compare_for_ever(), name="subscriptions"):
            yield subscriptions

    # --- for people ---------------------------------------------------------------------
    async def subscribe(self, principal: Principal, root: str, who: Who = Who.ME) -> None:
        """Follow a root, and write down for whom. Repeating it changes nothing.

        Raises
        ------
        RootNotFound
            If nobody knows the root.
        PermissionDenied
            If somebody else than an administrator subscribes the site.
        """
        if who is not Who.ME:
            _require_administrator(principal)
        await self._tracking.require_known(root)
        holder = str(principal.user_id) if who is Who.ME and principal.user_id is not None else SITE
        async with self._lock:
            try:
                await self._rows.add(root, holder)
            except Unavailable:
                await self._threads.run(self._catalog.postpone_subscription, root, holder)
            else:
                self._held = {**self._held, root: {**self._held.get(root, {}), holder: 0.0}}
            await self._tracking.follow(root)
        await self._siblings.ask(_COMPARE, root)
        await self._tracking.subscribe(root)

    async def unsubscribe(self, principal: Principal, root: str, who: Who = Who.ME, *, free: bool = True) -> bool:
        """Remove a subscription; the root is followed no longer if it was the last one.

        Parameters
        ----------
        free
            Whether the cached chunks of a root that is followed no longer are forgotten.

        Returns
        -------
        bool
            Whether the site goes on following the root.

        Raises
        ------
        NotFound
            If there is no such subscription.
        Conflict
            If the configuration says that the site follows the root.
        PermissionDenied, Unavailable
        """
        if who is Who.ME:
            require_user(principal)
        else:
            _require_administrator(principal)
            if self._is_configured(root):
                raise Conflict(f"{root} is followed because the configuration of the site says so (follow)")
        async with self._lock:
            await self._compare()
            holder = {Who.ME: str(principal.user_id), Who.SITE: SITE, Who.EVERYBODY: None}[who]
            if not await self._rows.remove(root, holder):
                raise NotFound(f"{'you are' if who is Who.ME else 'the site is'} not subscribed to {root}")
            await self._compare()
            state = self._catalog.roots.get(root)
            followed = state is not None and state.subscribed
            if free and not followed:
                await self._threads.run(self._store.free, root)
        await self._siblings.ask(_COMPARE, root)
        return followed

    def answers(self) -> Answers:
        """Return what the other processes of this subscriber ask when a subscription was made or given up there."""

        async def compare(root: str) -> bytes:
            with contextlib.suppress(Unavailable, RootNotFound):
                await self._tracking.require_known(root)
                async with self._lock:
                    await self._compare()
            return b""

        return {_COMPARE: compare}

    def of(self, principal: Principal) -> frozenset[str]:
        """Return the roots that a user is subscribed to, as far as the database told lately."""
        user = str(principal.user_id)
        return frozenset(root for root, holders in self._held.items() if user in holders)

    async def describe(self, principal: Principal) -> list[Subscription]:
        """Return every root that somebody is subscribed to, or that is followed, by name. Raises Unavailable."""
        try:
            self._held = await self._rows.all()
        except Unavailable:
            # What is followed is known without the database; who subscribed is not.
            if not principal.is_anonymous or principal.unverified:
                raise
        followed = self._followed()
        return [self._describe(root, principal, followed) for root in sorted(followed | self._held.keys())]

    def _describe(self, root: str, principal: Principal, followed: set[str]) -> Subscription:
        holders = self._held.get(root, {})
        return Subscription(
            root,
            followed=root in followed,
            site=SITE in holders or self._is_configured(root),
            mine=str(principal.user_id) in holders,
            users=len(holders.keys() - {SITE}),
        )

    def _followed(self) -> set[str]:
        return {name for name, state in self._catalog.roots.items() if state.subscribed}

    def _is_configured(self, root: str) -> bool:
        return root in self._configured or FOLLOW_ALL in self._configured

    # --- in step with the database ---------------------------------------------------------------------
    async def _compare_for_ever(self) -> None:
        while True:
            try:
                async with self._lock:
                    await self._compare()
            except Unavailable as error:
                _log.debug("subscriptions cannot be compared", reason=error.detail)
            await asyncio.sleep(STEP_S)

    async def _compare(self) -> None:
        """Make what is followed here equal to what the database says. Call it under the lock. Raises Unavailable.

        What is followed here, and was unknown to the database at the last comparison, is new: a visitor subscribed,
        or the database was away. What it knew then and does not know now was given up elsewhere.
        """
        for root, holder in await self._threads.run(self._catalog.postponed_subscriptions):
            await self._rows.add(root, holder)
            await self._threads.run(self._catalog.forget_postponed_subscription, root, holder)
        held = await self._rows.all()
        before = await self._threads.run(self._catalog.agreed_subscriptions)
        for root in self._followed() - held.keys():
            if self._is_configured(root):
                continue
            if root in before:
                await self._tracking.unsubscribe(root)
            else:
                await self._rows.add(root, SITE)
                held[root] = {SITE: 0.0}
        for root in held.keys() - self._followed():
            if root in self._catalog.roots:
                await self._tracking.follow(root)
        self._held = held
        if before != held.keys():
            await self._threads.run(self._catalog.agree_on_subscriptions, held.keys())


def _require_administrator(principal: Principal) -> None:
    if not require_user(principal).is_superuser:
        raise PermissionDenied("Only administrators may do this")
