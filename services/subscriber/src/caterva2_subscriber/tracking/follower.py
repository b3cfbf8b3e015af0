"""Following one root: events while the bus is there, the manifest on any doubt (N6 to N8).

The manifest is the truth, events accelerate. An event is applied only if it is the next one; anything else (a gap,
another epoch, a new connection, a heartbeat that is ahead, ten minutes without a look) means that the manifest is
asked for, which costs one small conditional request when nothing was missed.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from caterva2.errors import Caterva2Error, Unavailable
from caterva2.events import ALIVE_TTL_S, Heartbeat, Operation
from caterva2_service.log import get_logger
from caterva2_service.messaging import Bus, Subscription
from caterva2_service.threads import Threads

from ..catalog import Catalog, RootState
from ..library import Freshness
from ..upstream import ManifestStream, Upstream
from .changes import Changes
from .intake import Intake, is_canonical

log = get_logger(__name__)

RECONCILE_S = 600.0
"""Seconds after which the manifest is asked for although there is no doubt."""
_GRACE_S = 2.0
"""Seconds that events get to arrive before a heartbeat that is ahead counts as a doubt."""
_RECHECK_S = 2.0
"""Seconds for which a look at the publisher is good while its announcements cannot be heard."""
_READER_WAIT_S = 4.0
"""Seconds that a reader waits for such a look before it gets what is known."""
_RETRY_MIN_S, _RETRY_MAX_S = 0.5, 15.0
_REMEMBER_S = 30.0


@dataclass(frozen=True, slots=True)
class Beat:
    """The last heartbeat of a root."""

    heartbeat: Heartbeat
    heard: float
    """When, on the monotonic clock."""


class Follower:
    """Keeps the catalogue of one root equal to its publisher's.

    Parameters
    ----------
    poll_s
        Seconds between looks at the publisher while the bus is not there.
    """

    def __init__(
        self,
        root: str,
        *,
        catalog: Catalog,
        upstream: Upstream,
        bus: Bus | None,
        changes: Changes,
        threads: Threads,
        poll_s: float,
    ) -> None:
        self.root = root
        self.synced = asyncio.Event()
        """Set once the catalogue was equal to the publisher's since the start."""
        self.reachable = True
        """False while the last look at the publisher failed."""
        self._catalog = catalog
        self._upstream = upstream
        self._bus = bus
        self._changes = changes
        self._threads = threads
        self._poll_s = poll_s
        self._beat: Beat | None = None
        self._offline_since: float | None = None
        self._doubt = asyncio.Event()
        self._doubt.set()
        self._looked = -1e9
        self._lost = -1e9
        self._remembered = 0.0
        self._sync: asyncio.Task[None] | None = None

    # --- what is known ---------------------------------------------------------------------
    @property
    def state(self) -> RootState:
        """What the catalogue knows of the root."""
        return self._catalog.roots[self.root]

    @property
    def offline_since(self) -> float | None:
        """Unix time since which the publisher is known to be away; None while it is there, for all that is known."""
        return self._offline_since

    def live(self) -> bool:
        """Tell whether every change that the publisher announced is known to be applied."""
        beat = self._beat
        return (
            beat is not None
            and self._bus is not None
            and self._bus.connected
            and time.monotonic() - beat.heard < ALIVE_TTL_S
            and beat.heard > self._lost
            and beat.heartbeat.epoch == self.state.epoch
            and beat.heartbeat.seq <= self.state.seq
            and not self._doubt.is_set()
        )

    def freshness(self) -> Freshness:
        """Return how current the catalogue of the root is."""
        if self.live():
            assert self._beat is not None
            return Freshness(min(time.monotonic() - self._beat.heard, self._age_s()))
        age_s = self._age_s()
        return Freshness(age_s, None if self.reachable else age_s)

    def _age_s(self) -> float:
        if self._looked > 0:
            return time.monotonic() - self._looked
        verified = self.state.verified
        return max(0.0, time.time() - verified) if verified is not None else 0.0

    # --- what is heard ---------------------------------------------------------------------
    def heard(self, heartbeat: Heartbeat | None) -> None:
        """Take in a heartbeat, or None when they ended."""
        if heartbeat is None:
            self._beat = None
            self._went_offline()
            return
        ahead = heartbeat.epoch != self.state.epoch or heartbeat.seq > self.state.seq
        self._beat = Beat(heartbeat, time.monotonic())
        self._offline_since = None
        if ahead:
            asyncio.get_running_loop().call_later(_GRACE_S, self._doubt_if_behind)

    def suspect(self) -> None:
        """Ask for the manifest soon: something was seen that does not fit."""
        self._doubt.set()

    def lost(self) -> None:
        """Take in that the publisher did not answer somebody: its heartbeats are believed from the next one on."""
        self._lost = time.monotonic()
        self._unreachable()

    def _doubt_if_behind(self) -> None:
        beat, state = self._beat, self._catalog.roots.get(self.root)
        if (
            beat is not None
            and state is not None
            and (beat.heartbeat.epoch, beat.heartbeat.seq)
            > (
                state.epoch or "",
                state.seq,
            )
        ):
            self._doubt.set()

    def _went_offline(self) -> None:
        if self._offline_since is None:
            self._offline_since = time.time()
            log.info("root is offline", root=self.root)

    # --- looking at the publisher ---------------------------------------------------------------------
    async def ensure_fresh(self) -> None:
        """Return when the catalogue is as current as it can be had: at once while announcements are heard (N8).

        Otherwise the publisher is asked; if it does not answer in time, `freshness` says so.
        """
        if self.live() or time.monotonic() - self._looked < _RECHECK_S:
            return
        if self.synced.is_set() and self._upstream.publisher(self.state.root.http).breaker.wait_s:
            return
        try:
            async with asyncio.timeout(_READER_WAIT_S):
                await self.sync()
        except TimeoutError:
            self._unreachable()
        except Caterva2Error as error:
            log.debug("root cannot be verified", root=self.root, reason=str(error))

    async def sync(self) -> None:
        """Make the catalogue equal to the publisher's manifest. Callers share one request. Raises Caterva2Error."""
        if self._sync is None or self._sync.done():
            self._sync = asyncio.create_task(self._sync_once(), name=f"sync {self.root}")
            self._sync.add_done_callback(_retrieve)
        await asyncio.shield(self._sync)

    async def _sync_once(self) -> None:
        began = time.monotonic()
        self._doubt.clear()
        state = self.state
        known = (state.epoch, state.seq) if state.epoch is not None else None
        try:
            async with self._upstream.publisher(state.root.http).manifest(known) as manifest:
                if manifest is not None:
                    await self._take_in(manifest)
        except BaseException:
            self._doubt.set()
            self._unreachable()
            raise
        self.reachable = True
        self._offline_since = None
        self._looked = began
        self.synced.set()
        if time.monotonic() - self._remembered > _REMEMBER_S:
            self._remembered = time.monotonic()
            await self._threads.run(self._catalog.mark_verified, self.root, time.time())

    def _unreachable(self) -> None:
        self.reachable = False
        if not self.live():
            self._went_offline()

    async def _take_in(self, manifest: ManifestStream) -> None:
        intake = Intake(self._catalog, self.root, manifest.encoding)
        try:
            async for piece in manifest.pieces():
                await self._threads.run(intake.feed, piece)
            header, applied = await self._threads.run(intake.commit)
        finally:
            await self._threads.run(intake.discard)
        if applied:
            log.info("manifest applied", root=self.root, seq=header.seq, changes=len(applied))
            self._changes.publish(applied)

    # --- following ---------------------------------------------------------------------
    async def run(self, durable: str) -> None:
        """Follow until cancelled.

        Parameters
        ----------
        durable
            Name under which the bus remembers how far this subscriber is.
        """
        if self._bus is None:
            while True:
                await self._look()
                await self._wait_for_doubt(self._poll_s)
        async with self._bus.follow(self.root, durable=durable) as subscription:
            bindings = -1
            while True:
                if not self._bus.connected:
                    await self._look()
                    await self._wait_for_bus()
                    continue
                bindings = await self._step(subscription, bindings)

    async def _step(self, subscription: Subscription, bindings: int) -> int:
        """Take in what arrived; returns the binding of the subscription that was verified."""
        try:
            await subscription.bind()
        except Unavailable:
            await asyncio.sleep(_RETRY_MIN_S)
            return bindings
        # Everything that happens from here on is kept by the bus, so a manifest asked for now leaves no gap.
        if subscription.bindings != bindings or time.monotonic() - self._looked > RECONCILE_S:
            self._doubt.set()
        bindings = subscription.bindings
        if self._doubt.is_set() and not await self._look():
            await self._receive(subscription, random.uniform(_RETRY_MIN_S, 3 * _RETRY_MIN_S))
            return bindings
        await self._receive(subscription, 1.0)
        return bindings

    async def _look(self) -> bool:
        try:
            await self.sync()
        except Caterva2Error as error:
            log.debug("manifest cannot be had", root=self.root, reason=str(error))
            return False
        return True

    async def _receive(self, subscription: Subscription, timeout_s: float) -> None:
        for delivery in await subscription.fetch(100, timeout_s=timeout_s):
            event = delivery.event
            if event.root != self.root or not (event.operation is Operation.MANIFEST or is_canonical(event.path)):
                log.warning("event makes no sense and is ignored", root=self.root)
            elif (applied := await self._threads.run(self._catalog.apply, event)) is None:
                # Acknowledged all the same: the manifest, asked for at every start, holds what it says.
                self._doubt.set()
            else:
                self._changes.publish(applied)
            await delivery.ack()

    async def _wait_for_bus(self) -> None:
        assert self._bus is not None
        bus = asyncio.create_task(self._bus.wait_connected(self._poll_s))
        doubt = asyncio.create_task(self._doubt.wait())
        try:
            await asyncio.wait({bus, doubt} if self.reachable else {bus}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            bus.cancel()
            doubt.cancel()

    async def _wait_for_doubt(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._doubt.wait() if self.reachable else await asyncio.sleep(timeout_s)
        except TimeoutError:
            return


def _retrieve(task: asyncio.Task[None]) -> None:
    # Callers that went away leave nobody to look at the outcome.
    if not task.cancelled():
        task.exception()
