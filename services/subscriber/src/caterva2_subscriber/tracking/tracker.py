"""All roots: which ones exist, which are followed, which are alive."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Self

from caterva2.errors import NotFound, RootNotFound, Unavailable
from caterva2.wire import Bus as BusAddress
from caterva2.wire import Root, RootState
from caterva2_service.background import end
from caterva2_service.health import Health
from caterva2_service.log import get_logger
from caterva2_service.messaging import Bus, Locate
from caterva2_service.metrics import Metrics
from caterva2_service.settings import NatsSettings
from caterva2_service.threads import Threads
from caterva2_service.trust import Identity

from ..catalog import Catalog
from ..catalog import RootState as CatalogState
from ..library import Freshness
from ..settings import StalePolicy, SubscriberSettings
from ..upstream import Upstream
from .broker import Broker
from .changes import Changes
from .follower import Follower

log = get_logger(__name__)

FOLLOW_ALL = "*"
_FIRST_SYNC_S = 15.0
"""Seconds that a subscriber to a root waits for its catalogue."""


class Tracking:
    """What this subscriber knows of the roots of its broker. Make it with `open`.

    `changes` offers every change that was applied.
    """

    def __init__(
        self,
        settings: SubscriberSettings,
        *,
        catalog: Catalog,
        upstream: Upstream,
        broker: Broker | None,
        bus: Bus | None,
        threads: Threads,
        health: Health,
    ) -> None:
        self.changes = Changes()
        self._settings = settings
        self._catalog = catalog
        self._upstream = upstream
        self._broker = broker
        self._bus = bus
        self._threads = threads
        self._health = health
        self._followers: dict[str, Follower] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._asking = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: SubscriberSettings,
        *,
        identity: Identity,
        catalog: Catalog,
        upstream: Upstream,
        health: Health,
        metrics: Metrics,
    ) -> AsyncIterator[Self]:
        """Start to follow in the background, whatever else is down; stops when left."""
        threads = Threads(2, name="catalogue")
        broker = Broker(settings.broker, identity) if settings.broker is not None else None
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(threads.close)
            bus = None
            if broker is not None:
                stack.push_async_callback(broker.close)
                bus = await stack.enter_async_context(
                    Bus.open(
                        _locate(settings.nats, broker, catalog, threads),
                        name=f"subscriber {catalog.subscriber_id}",
                        health=health,
                        metrics=metrics,
                        nats_settings=settings.nats,
                    )
                )
            tracking = cls(
                settings,
                catalog=catalog,
                upstream=upstream,
                broker=broker,
                bus=bus,
                threads=threads,
                health=health,
            )
            metrics.gauge("roots_followed", "Roots that are followed").set_function(
                lambda: float(len(tracking._followers))
            )
            try:
                tracking._start()
                yield tracking
            finally:
                await tracking._stop()

    # --- for readers ---------------------------------------------------------------------
    def roots(self) -> list[Root]:
        """Return every root that is known, in order of registration, with the state that is known here."""
        return [self._shown(state.root) for state in self._catalog.roots.values()]

    def _shown(self, root: Root) -> Root:
        follower = self._followers.get(root.name)
        if follower is None:
            return root
        away = follower.offline_since
        state = RootState.ONLINE if away is None else RootState.OFFLINE
        return root.model_copy(update={"state": state, "offline_since": away})

    async def subscribe(self, name: str) -> None:
        """Follow a root, and wait a little for its catalogue if it was not followed before.

        Raises
        ------
        RootNotFound
            If neither the broker nor the catalogue knows the root.
        """
        state = await self.require_known(name)
        follower = await self.follow(name)
        if state.epoch is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_SYNC_S):
                    await self._first_sync(follower)

    async def follow(self, name: str) -> Follower:
        """Begin to follow a root that is known, without waiting for its catalogue."""
        if not self._catalog.roots[name].subscribed:
            await self._threads.run(self._catalog.mark_subscribed, name, True)
        return self._follow(name)

    async def require_known(self, name: str) -> CatalogState:
        """Return what is known of a root, after a look at the broker if it is new. Raises RootNotFound."""
        if name not in self._catalog.roots:
            await self._ask_broker()
        state = self._catalog.roots.get(name)
        if state is None:
            raise RootNotFound(f"{name} not known by the broker")
        return state

    async def _first_sync(self, follower: Follower) -> None:
        while not follower.synced.is_set() and follower.reachable:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await follower.synced.wait()

    async def unsubscribe(self, name: str) -> None:
        """Follow a root no longer and forget its catalogue. Raises NotFound if it is not followed."""
        state = self._catalog.roots.get(name)
        if state is None or not state.subscribed:
            raise NotFound(f"{name} is not subscribed to")
        self._followers.pop(name, None)
        task = self._tasks.pop(f"follow {name}", None)
        if task is not None:
            await end([task])
        await self._threads.run(self._catalog.mark_subscribed, name, False)
        if self._bus is not None:
            with contextlib.suppress(Unavailable):
                await self._bus.forget(self._durable(name))

    async def ensure_fresh(self, name: str) -> Freshness:
        """Make sure that the catalogue of a root is current, if it can be had, and say how current it is.

        Raises
        ------
        RootNotFound
            If the root is not known.
        Unavailable
            If its publisher cannot be reached and the policy of the root is not to serve what may be old.
        """
        follower = self._followers.get(name)
        if follower is None:
            await self.subscribe(name)
            follower = self._followers[name]
        await follower.ensure_fresh()
        freshness = follower.freshness()
        if freshness.stale_s is not None and self._policy(name) is StalePolicy.REFUSE:
            raise Unavailable(f"The publisher of {name} cannot be reached", retry_after_s=5)
        return freshness

    def suspect(self, name: str) -> None:
        """Look at the publisher of a root soon: a reader met another version than the catalogue's."""
        follower = self._followers.get(name)
        if follower is not None:
            follower.suspect()

    def lost(self, name: str) -> None:
        """Take in that the publisher of a root did not answer a reader."""
        follower = self._followers.get(name)
        if follower is not None:
            follower.lost()

    async def sync(self, name: str) -> None:
        """Make the catalogue of a followed root equal to its publisher's now. Raises Caterva2Error."""
        follower = self._followers.get(name)
        if follower is not None:
            await follower.sync()

    def _policy(self, name: str) -> StalePolicy:
        return StalePolicy.REFUSE if name in self._settings.refuse_stale else self._settings.stale

    # --- in the background ---------------------------------------------------------------------
    def _start(self) -> None:
        if self._broker is None:
            return
        assert self._bus is not None
        self._health.set("broker", ok=False, detail="not asked yet")
        for name, state in self._catalog.roots.items():
            if state.subscribed:
                self._follow(name)
        self._spawn("broker", self._watch_broker())
        self._spawn("roots", self._watch_roots(self._bus))
        self._spawn("alive", self._watch_alive(self._bus))

    async def _stop(self) -> None:
        await end(self._tasks.values())

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks[name] = task
        task.add_done_callback(_report)

    def _follow(self, name: str) -> Follower:
        follower = self._followers.get(name)
        if follower is None:
            follower = self._followers[name] = Follower(
                name,
                catalog=self._catalog,
                upstream=self._upstream,
                bus=self._bus,
                changes=self.changes,
                threads=self._threads,
                poll_s=self._settings.poll_s,
            )
            self._spawn(f"follow {name}", follower.run(self._durable(name)))
        return follower

    def _durable(self, name: str) -> str:
        return f"sub_{self._catalog.subscriber_id}_{name}"

    async def _watch_broker(self) -> None:
        while True:
            await self._ask_broker()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.poll_s * random.uniform(0.8, 1.0)):
                    await self._wake.wait()

    async def _ask_broker(self) -> None:
        """Take over what the broker says; keep what is known when it is down (F5)."""
        if self._broker is None:
            return
        async with self._asking:
            try:
                roots = await self._broker.roots()
            except Unavailable as error:
                self._health.set("broker", ok=False, detail=str(error))
                return
            self._health.set("broker", ok=True)
            await self._know(roots, complete=True)

    async def _know(self, roots: list[Root], *, complete: bool) -> None:
        for name in await self._threads.run(self._catalog.know_roots, roots, complete=complete):
            follower = self._followers.get(name)
            if follower is not None:
                follower.suspect()
        wanted = self._settings.follow
        for root in roots:
            state = self._catalog.roots.get(root.name)
            if state is not None and not state.subscribed and (root.name in wanted or FOLLOW_ALL in wanted):
                await self._threads.run(self._catalog.mark_subscribed, root.name, True)
                self._follow(root.name)

    async def _watch_roots(self, bus: Bus) -> None:
        """Hear of roots at once; the broker is asked for what the bus does not say."""
        async for facts in bus.watch_roots():
            known = []
            for fact in facts.values():
                state = self._catalog.roots.get(fact.name)
                if fact.retired or (state is None and self._health.ok("broker")):
                    continue
                before = state.root if state is not None else Root(name=fact.name)
                known.append(before.model_copy(update=fact.model_dump(exclude={"retired"}, exclude_none=True)))
            await self._know(known, complete=False)
            self._wake.set()

    async def _watch_alive(self, bus: Bus) -> None:
        async for name, heartbeat in bus.watch_alive():
            follower = self._followers.get(name)
            if follower is not None:
                follower.heard(heartbeat)


def _locate(settings: NatsSettings, broker: Broker, catalog: Catalog, threads: Threads) -> Locate:
    """Return the function that says where the bus is: the settings, the broker, or what it said last."""

    async def locate() -> BusAddress | None:
        if settings.url is not None:
            return BusAddress(url=settings.url, user=settings.user, password=settings.secret())
        try:
            found = await broker.bus()
        except Unavailable:
            return await threads.run(lambda: catalog.bus)
        await threads.run(catalog.remember_bus, found)
        return found

    return locate


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a background task ended", task=task.get_name(), error=repr(error))
