"""Follows the files of a root: hints from the kernel, looks at what is not settled yet, walks as the net.

What the kernel tells is only a hint. New directories are looked at again, because files are missed between their
creation and the start of their watch; a periodic walk of the whole root finds what no hint named.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import watchfiles

from caterva2.errors import StorageFailed
from caterva2_service.health import Health
from caterva2_service.metrics import Metrics
from caterva2_service.threads import Threads

from .indexer import Indexer, Outcome
from .tree import Top, Tree

log = logging.getLogger(__name__)

STEP_MS = 10
DEBOUNCE_MS = 50
START_MS = 100
"""How soon it is known that the kernel watches."""
CHECK_S = 1.0
"""How often it is checked that the watched directory is still the one at the root's place."""
LOOK_AGAIN_S = (0.2, 1.0)
"""Seconds after which a new directory is looked at again."""
BLIND_POLL_S = 2.0
"""Seconds between two walks while the kernel cannot watch."""
BLIND_SHARE = 10
"""While the kernel cannot watch, walks take at most one part in so many of the time."""
FAILED_WRITE_S = 5.0
PART_WATCH = "watch"
PART_INDEX = "index"


@dataclass(slots=True)
class _Plan:
    """What is to be looked at, and when (monotonic seconds)."""

    places: dict[str, float]
    paths: dict[str, float]

    def due(self, now: float) -> tuple[list[str], list[str]]:
        """Take out what is due."""
        places = [place for place, when in self.places.items() if when <= now]
        paths = [path for path, when in self.paths.items() if when <= now]
        for place in places:
            del self.places[place]
        for path in paths:
            del self.paths[path]
        return places, paths

    def next(self) -> float | None:
        """Return the time at which something is due."""
        return min((*self.places.values(), *self.paths.values()), default=None)


class Watcher:
    """Keeps the index up to date for as long as `run` runs.

    Parameters
    ----------
    poll_s
        Seconds between two walks of the whole root.
    on_walked
        Called when the first walk has ended.
    """

    def __init__(
        self,
        tree: Tree,
        indexer: Indexer,
        *,
        poll_s: float,
        threads: Threads,
        health: Health,
        metrics: Metrics,
        on_walked: Callable[[], None],
    ) -> None:
        self._tree = tree
        self._indexer = indexer
        self._poll_s = poll_s
        self._threads = threads
        self._watching = Threads(1, name="watch")
        self._health = health
        self._on_walked = on_walked
        self._plan = _Plan({}, {})
        self._new: dict[str, int] = {}
        """How often a place that may be a new directory was looked at."""
        self._planned = asyncio.Event()
        self._walk_now = asyncio.Event()
        self._walked = False
        self._blind = False
        self._forgiving = False
        """Whether directories that may not be read are left unwatched; it hides that there are too many to watch."""
        self._walk_seconds = metrics.histogram("scan_seconds", "Time to walk the root and index what changed")

    async def run(self) -> None:
        """Follow the root until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._collect_hints())
            tasks.create_task(self._walk())
            tasks.create_task(self._look())

    def close(self) -> None:
        """Give back the thread; `run` has ended."""
        self._watching.close()

    def walk_soon(self) -> None:
        """Walk the whole root now. Call it from the event loop."""
        self._walk_now.set()

    def look_soon(self, path: str) -> None:
        """Look at a listed path now. Call it from the event loop."""
        self._plan.paths[path] = time.monotonic()
        self._planned.set()

    # --- hints ------------------------------------------------------------------------
    async def _collect_hints(self) -> None:
        while True:
            try:
                await self._collect_hints_of(await self._threads.run(self._tree.top))
            except FileNotFoundError:
                self._health.set(PART_WATCH, ok=False, detail="the root is not there")
            except PermissionError as error:
                if self._forgiving:
                    self._set_blind(error)
                self._forgiving = True
            except (OSError, RuntimeError) as error:  # the watcher's own errors are of the second kind
                self._set_blind(error)
            await asyncio.sleep(CHECK_S)

    async def _collect_hints_of(self, top: Top | None) -> None:
        """Collect hints while the root is the directory `top`. Raises OSError if the kernel cannot watch it."""
        stop = threading.Event()
        following = asyncio.create_task(self._watching.run(self._follow, stop, asyncio.get_running_loop()))
        try:
            while not following.done():
                await asyncio.wait([following], timeout=CHECK_S)
                if await self._threads.run(self._tree.top) != top:
                    self.walk_soon()
                    return
            await following
        finally:
            stop.set()
            with suppress(OSError, RuntimeError):
                await following

    def _follow(self, stop: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        """Hand over what the kernel tells, in a thread of its own: setting up many watches takes a while."""
        place, recursive = self._tree.watched()
        hints_in_time = watchfiles.watch(
            place,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            rust_timeout=START_MS,
            yield_on_timeout=True,
            stop_event=stop,
            raise_interrupt=False,
            recursive=recursive,
            ignore_permission_denied=self._forgiving,
        )
        watching = False
        for hints in hints_in_time:
            if not watching:
                loop.call_soon_threadsafe(self._set_watching)
                watching = True
            if hints:
                loop.call_soon_threadsafe(self._plan_hints, hints)

    def _set_watching(self) -> None:
        self._blind = False
        self._health.set(PART_WATCH, ok=True)
        self.walk_soon()  # what happened before the watch began

    def _plan_hints(self, hints: set[tuple[watchfiles.Change, str]]) -> None:
        now = time.monotonic()
        for change, place in hints:
            relative = self._tree.relative(place)
            if relative is None:
                continue  # a neighbour of a published file
            if relative == ".":
                self.walk_soon()
                continue
            self._plan.places[relative] = now
            if change == watchfiles.Change.added:
                self._new[relative] = 0
        self._planned.set()

    def _set_blind(self, error: Exception) -> None:
        why = str(error).partition(" about [")[0]
        detail = f"the kernel cannot watch the root ({why}): it is walked every few seconds instead"
        if not self._blind:
            log.warning("%s", detail[0].upper() + detail[1:])
            self.walk_soon()
        self._blind = True
        self._health.set(PART_WATCH, ok=False, detail=detail)

    # --- walks ------------------------------------------------------------------------
    async def _walk(self) -> None:
        while True:
            self._walk_now.clear()
            start = time.monotonic()
            try:
                outcome = await self._threads.run(self._indexer.reconcile)
            except StorageFailed as error:
                self._cannot_write(error)
                outcome = Outcome(reconcile_in_s=FAILED_WRITE_S)
            else:
                self._health.set(PART_INDEX, ok=True)
                if not self._walked:
                    self._walked = True
                    self._on_walked()
            took = time.monotonic() - start
            self._walk_seconds.observe(took)
            self._plan_again(outcome)
            await self._pause(outcome, took)

    async def _pause(self, outcome: Outcome, took: float) -> None:
        wait_s = outcome.reconcile_in_s
        if wait_s is None:
            wait_s = min(self._poll_s, max(BLIND_POLL_S, BLIND_SHARE * took)) if self._blind else self._poll_s
        try:
            async with asyncio.timeout(wait_s):
                await self._walk_now.wait()
        except TimeoutError:
            return

    # --- looks ------------------------------------------------------------------------
    async def _look(self) -> None:
        while True:
            places, paths = self._plan.due(time.monotonic())
            if places or paths:
                await self._look_at(places, paths)
                continue
            self._planned.clear()
            due = self._plan.next()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - time.monotonic())):
                    await self._planned.wait()
            except TimeoutError:
                continue

    async def _look_at(self, places: list[str], paths: list[str]) -> None:
        try:
            outcome = await self._threads.run(self._indexer.look, places, paths)
        except StorageFailed as error:
            self._cannot_write(error)
            again = time.monotonic() + FAILED_WRITE_S
            self._plan.places.update(dict.fromkeys(places, again))
            self._plan.paths.update(dict.fromkeys(paths, again))
            return
        if outcome.changes:
            self._health.set(PART_INDEX, ok=True)
        self._plan_again(outcome)
        await self._plan_new_directories(places)
        if outcome.reconcile_in_s is not None:
            asyncio.get_running_loop().call_later(outcome.reconcile_in_s, self.walk_soon)

    async def _plan_new_directories(self, places: list[str]) -> None:
        new = [place for place in places if place in self._new]
        directories = await self._threads.run(self._tree.directories, new)
        for place in new:
            looks = self._new.pop(place)
            if place in directories and looks < len(LOOK_AGAIN_S):
                self._new[place] = looks + 1
                self._plan.places.setdefault(place, time.monotonic() + LOOK_AGAIN_S[looks])

    def _plan_again(self, outcome: Outcome) -> None:
        now = time.monotonic()
        for path, wait_s in outcome.again.items():
            self._plan.paths[path] = now + wait_s
        self._planned.set()

    def _cannot_write(self, error: StorageFailed) -> None:
        if self._health.ok(PART_INDEX):
            log.error("Changes cannot be recorded, and are not announced until they can: %s", error)
        self._health.set(PART_INDEX, ok=False, detail=str(error))
        asyncio.get_running_loop().call_later(FAILED_WRITE_S, self.walk_soon)
