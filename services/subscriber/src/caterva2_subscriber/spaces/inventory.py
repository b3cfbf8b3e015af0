"""What is in the spaces: an inventory for search and events, so that no query has to open files.

The truth is on disk, where people, and subscribers on other machines, may change it at any moment. An entry holds as
long as the stamp of its file does. What this process writes is noted at once, what the kernel tells is a hint that is
looked at within a moment, and walks find what nobody told. Descriptions (types, shapes, attributes) of what is new are
read in the background; until then an entry is known by its name.

A space is ``@public``, ``@shared`` or ``@personal/USER-ID``.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
import unicodedata
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import watchfiles

from caterva2.errors import Caterva2Error, Unavailable, VersionChanged
from caterva2.events import Operation
from caterva2.paths import PERSONAL
from caterva2_formats.base import Found
from caterva2_formats.directory import DirectoryRoot, kind_of, listed_name
from caterva2_service.log import get_logger
from caterva2_service.threads import Threads

from ..auth.principal import Principal, require_user
from ..catalog import MANY_CHANGES, Catalog, Change, Entry
from ..summary import brief_attributes, nbytes_of
from . import records
from .provider import SpaceProvider
from .resource import SpaceResource, UnreadableResource

WALK_S = 10.0
"""Least seconds between two walks of a space at rest: changes made on other machines are told by no kernel."""
WALK_SHARE = 50
"""Walks at rest take at most one part in so many of the time."""
QUERY_SHARE = 10
"""The same for walks that queries ask for."""
PATIENCE_S = 1.5
"""Seconds that a query waits for descriptions of what is new."""
IN_USE_S = 600.0
"""Seconds after its last query for which a personal space is walked."""
HELD = 64
"""Spaces held in memory; the others stay in the catalogue."""
BATCH = 32
"""Files that are described in one go."""
MANY_HINTS = 200
"""More hints than these are one walk."""
LOOK_AGAIN_S = (0.3, 1.5)
"""Seconds after which a new directory is looked at again: files are missed until the kernel watches it."""
CHECK_S = 2.0
"""How often it is checked that the watched directories are still those in their places."""
WATCH_STEP_MS = 50
NEVER = float("-inf")
WHOLE = "."
READ_BY_READER = "record"
"""Key of the description of what has to be opened by each reader, with the reader's rights."""
SOURCE = "source"
"""Key that names the HDF5 file, of the same space, that a dataset is in."""

_log = get_logger(__name__)


class _Space:
    """One space, as far as it is known. `known` and `unread` are changed under `lock`."""

    def __init__(self, key: str, directory: Path, owner: UUID | None) -> None:
        self.key = key
        self.root = key.partition("/")[0]
        self.directory = directory
        self.owner = owner
        self.files = DirectoryRoot(directory)
        self.lock = asyncio.Lock()
        self.known: dict[str, str] | None = None
        """Version of each path; None until the catalogue was read."""
        self.unread: dict[str, None] = {}
        """Paths that have no description yet, in order."""
        self.sources: dict[str, set[str]] = {}
        """Datasets that are described by another file of the space."""
        self.hints: set[str] = set()
        self.answered_early = False
        """Whether somebody was answered before everything was described, and waits to hear that it is."""
        self.asked = NEVER
        self.walked = NEVER
        self.took = 0.0

    def wants_walk(self, at_least_s: float, share: int) -> bool:
        """Tell whether a walk is due, given the part of the time that walks may take."""
        return time.monotonic() - self.walked > max(at_least_s, share * self.took)

    @property
    def at_rest(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.hints or self.unread or self.lock.locked())


@dataclass(frozen=True, slots=True)
class _Difference:
    """What a look at the disk found."""

    found: list[Found]
    """New or at another version."""
    new: frozenset[str]
    removed: list[str]


class Inventory:
    """The inventory of all spaces. Make it with `open`.

    Parameters
    ----------
    directory
        Holds ``public``, ``shared`` and ``personal/USER-ID``.
    publish
        Told what changed.
    """

    def __init__(
        self, directory: Path, catalog: Catalog, provider: SpaceProvider, publish: Callable[[Iterable[Change]], None]
    ) -> None:
        self._directory = directory.resolve()
        self._catalog = catalog
        self._provider = provider
        self._publish = publish
        self._threads = Threads(1, name="inventory")
        self._watching = Threads(1, name="watch")
        self._spaces: OrderedDict[str, _Space] = OrderedDict()
        self._wake = asyncio.Event()
        self._noted: Callable[[str, Iterable[str]], None] = lambda key, paths: None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        directory: Path,
        *,
        roots: Iterable[str],
        catalog: Catalog,
        provider: SpaceProvider,
        publish: Callable[[Iterable[Change]], None],
    ) -> AsyncIterator[Self]:
        """Keep the inventory of the special `roots` up to date until left."""
        inventory = cls(directory, catalog, provider, publish)
        for root in roots:
            if root != PERSONAL:
                inventory._space(root)
        tops = [inventory._directory / root.removeprefix("@") for root in roots]
        tasks = [asyncio.create_task(inventory._work()), asyncio.create_task(inventory._watch(tops))]
        try:
            yield inventory
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            inventory._threads.close()
            inventory._watching.close()

    # --- for writers and readers ---------------------------------------------------------------------
    @staticmethod
    def key(principal: Principal, root: str) -> str:
        """Return the name of the space that a special root is for `principal`. Raises NotAuthenticated."""
        return f"{PERSONAL}/{require_user(principal).user_id}" if root == PERSONAL else root

    def on_noted(self, noted: Callable[[str, Iterable[str]], None]) -> None:
        """Let `noted` be called with a space and the paths of it whose entries changed in the catalogue."""
        self._noted = noted

    def touch(self, place: Path) -> None:
        """Look soon at a file or directory of a space, which was changed. Call it from the event loop."""
        found = self._locate(place)
        if found is not None:
            key, rel = found
            self._space(key).hints.add(rel)
            self._wake.set()

    async def refresh(self, key: str) -> int:
        """Look at what is known to have changed in a space.

        Returns
        -------
        int
            Files that have no description yet.
        """
        space = self._space(key)
        space.asked = time.monotonic()
        until = space.asked + PATIENCE_S
        await self._attend(space, walk=space.wants_walk(0.0, QUERY_SHARE))
        while space.unread and time.monotonic() < until and await self._attend(space, walk=False):
            pass
        if space.unread:
            space.answered_early = True
            self._wake.set()
        return len(space.unread)

    def _space(self, key: str) -> _Space:
        space = self._spaces.get(key)
        if space is None:
            root, _, owner = key.partition("/")
            directory = self._directory / root.removeprefix("@") / owner
            space = self._spaces[key] = _Space(key, directory, UUID(owner) if owner else None)
        self._spaces.move_to_end(key)
        return space

    def _locate(self, place: Path) -> tuple[str, str] | None:
        """Return the space and the path in it of a place of the file system."""
        try:
            top, *below = place.relative_to(self._directory).parts
        except ValueError:
            return None
        if top in ("public", "shared"):
            return f"@{top}", "/".join(below) or WHOLE
        if top != "personal" or not below:
            return None
        try:
            owner = UUID(below[0])
        except ValueError:
            return None
        return f"{PERSONAL}/{owner}", "/".join(below[1:]) or WHOLE

    # --- looking at the disk ---------------------------------------------------------------------
    async def _update(self, space: _Space, *, walk: bool) -> None:
        async with space.lock:
            if space.known is None:
                await self._load(space)
                walk = True
            hints, space.hints = space.hints, set()
            walk = walk or WHOLE in hints or len(hints) > MANY_HINTS
            if not (walk or hints):
                return
            began = time.monotonic()
            # What was there before anybody ever looked is no news.
            first = not space.known and space.walked == NEVER
            try:
                difference = await self._threads.run(self._look, space, None if walk else hints)
            except Unavailable as error:
                _log.warning("a space cannot be read", space=space.root, reason=error.detail)
                space.walked = began
                return
            if walk:
                space.walked, space.took = time.monotonic(), time.monotonic() - began
            self._take_over(space, difference, hints if first and walk else None)

    async def _load(self, space: _Space) -> None:
        def read() -> dict[str, Entry]:
            found: dict[str, Entry] = {}
            after = ""
            while page := self._catalog.entries(space.key, after=after, limit=2000):
                found.update((entry.path, replace(entry, info=_kept(entry.info))) for entry in page)
                after = page[-1].path
            return found

        entries = await self._threads.run(read)
        space.known = {path: entry.etag for path, entry in entries.items()}
        space.unread = dict.fromkeys(path for path, entry in entries.items() if entry.info is None)
        for path, entry in entries.items():
            if entry.info and SOURCE in entry.info:
                space.sources.setdefault(entry.info[SOURCE], set()).add(path)

    def _look(self, space: _Space, places: set[str] | None) -> _Difference:
        """Compare the disk with what is known, below some places or everywhere, and note it in the catalogue."""
        known = space.known or {}
        present: dict[str, Found] = {}
        gone: set[str] = set()
        if places is None:
            if space.directory.is_dir():
                present = {found.path: found for found in space.files.below(WHOLE)}
            gone = known.keys() - present.keys()
        for place in places or ():
            below, candidates = _present(space.files, place, known)
            present |= below
            gone |= candidates
        gone -= present.keys()
        found = [each for each in present.values() if known.get(each.path) != each.etag]
        if found or gone:
            entries = [_entry(space.key, each) for each in found]
            self._catalog.change_space(space.key, entries, gone)
        return _Difference(found, frozenset(each.path for each in found if each.path not in known), sorted(gone))

    def _take_over(self, space: _Space, difference: _Difference, only: set[str] | None) -> None:
        assert space.known is not None
        for path in difference.removed:
            space.known.pop(path, None)
            space.unread.pop(path, None)
        for found in difference.found:
            space.known[found.path] = found.etag
            space.unread[found.path] = None
        touched = [*difference.removed, *(found.path for found in difference.found)]
        for path in touched:
            # What is described by a file is described anew when that file changes.
            space.unread.update(dict.fromkeys(space.sources.pop(path, set()) & space.known.keys()))
        if not touched:
            return
        self._noted(space.key, touched)
        self._wake.set()
        changes = [
            *(Change(space.root, Operation.REMOVED, path, owner=space.owner) for path in difference.removed),
            *(
                Change(
                    space.root,
                    Operation.CHANGED,
                    found.path,
                    found.etag,
                    is_new=found.path in difference.new,
                    owner=space.owner,
                )
                for found in difference.found
            ),
        ]
        if only is not None:
            changes = [change for change in changes if _is_below(change.path, only)]
        if len(changes) > MANY_CHANGES:
            changes = [Change(space.root, Operation.MANIFEST, owner=space.owner)]
        self._publish(changes)

    # --- descriptions ---------------------------------------------------------------------
    async def _describe_some(self, space: _Space) -> None:
        async with space.lock:
            known = space.known or {}
            wanted = {path: known[path] for path in [*space.unread][:BATCH] if path in known}
            described = await self._threads.run(self._describe, space, wanted)
            for path in wanted:
                space.unread.pop(path, None)
            for entry in described:
                if entry.info and SOURCE in entry.info:
                    space.sources.setdefault(entry.info[SOURCE], set()).add(entry.path)
            if described:
                self._noted(space.key, [entry.path for entry in described])
            if space.answered_early and not space.unread:
                space.answered_early = False
                self._publish([Change(space.root, Operation.MANIFEST, owner=space.owner)])

    def _describe(self, space: _Space, wanted: dict[str, str]) -> list[Entry]:
        described = [entry for path, etag in wanted.items() if (entry := self._describe_one(space, path, etag))]
        self._catalog.change_space(space.key, described, ())
        return described

    def _describe_one(self, space: _Space, path: str, etag: str) -> Entry | None:
        """Return the entry of a file with its description; None if the file is gone or changes again."""
        found = space.files.find(path)
        if found is None or found.etag != etag:
            return None  # a hint of it is on its way
        entry = _entry(space.key, found)
        source: dict[str, str] = {}
        try:
            opened = self._provider.look_into(space.directory, space.root, path)
            if isinstance(opened, records.MemberRecord):
                file_root, _, file = opened.file.partition("/")
                if file_root != space.root:
                    return replace(entry, info={READ_BY_READER: True})
                # Who may read the description may read the file, which is in the same space.
                source = {SOURCE: file}
                opened = self._provider.open_in_file(
                    space.directory, f"{space.root}/{path}", file, opened.member, entry.mtime or 0.0
                )
        except VersionChanged:
            return None
        except Caterva2Error as error:
            return replace(entry, info={"error": error.detail, **source})
        except OSError as error:
            return replace(entry, info={"error": error.strerror or "it cannot be read", **source})
        if isinstance(opened, records.ExpressionRecord):
            return replace(entry, info={READ_BY_READER: True})
        return _described(entry, opened, source)

    # --- in the background ---------------------------------------------------------------------
    async def _work(self) -> None:
        await self._threads.run(self._forget_the_gone)
        while True:
            self._wake.clear()
            well = True
            for space in list(self._spaces.values()):
                used = space.owner is None or time.monotonic() - space.asked < IN_USE_S
                well = await self._attend(space, walk=used and space.wants_walk(WALK_S, WALK_SHARE)) and well
            self._let_go()
            if well and any(space.unread or space.hints for space in self._spaces.values()):
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WALK_S):
                    await self._wake.wait()

    def _forget_the_gone(self) -> None:
        """Forget the spaces of users who were removed while this subscriber was not running, or elsewhere."""
        try:
            for key in self._catalog.spaces():
                root, _, owner = key.partition("/")
                if owner and not (self._directory / root.removeprefix("@") / owner).is_dir():
                    self._catalog.forget_space(key)
        except (OSError, sqlite3.Error) as error:
            _log.error("spaces that are gone cannot be forgotten", reason=str(error))

    async def _attend(self, space: _Space, *, walk: bool) -> bool:
        """Look at what is hinted at, and describe some of what is new; tell whether that could be noted."""
        try:
            await self._update(space, walk=walk)
            if space.unread:
                await self._describe_some(space)
        except (OSError, sqlite3.Error) as error:
            # A full disk, as a rule. What is known is served on, and the next walk looks again.
            _log.error("the inventory of a space is not up to date", space=space.root, reason=str(error))
            space.walked = time.monotonic()
            return False
        return True

    def _let_go(self) -> None:
        for key, space in list(self._spaces.items()):
            if len(self._spaces) <= HELD:
                return
            if space.owner is not None and space.at_rest:
                del self._spaces[key]

    # --- what the kernel tells ---------------------------------------------------------------------
    async def _watch(self, tops: list[Path]) -> None:
        while True:
            before = await self._threads.run(_identities, tops)
            stop = threading.Event()
            watched = [top for top, _ in before]
            following = asyncio.create_task(
                self._watching.run(self._follow, watched, stop, asyncio.get_running_loop()), name="watch spaces"
            )
            try:
                while not following.done() and await self._threads.run(_identities, tops) == before:
                    await asyncio.wait([following], timeout=CHECK_S)
            finally:
                stop.set()
                with contextlib.suppress(OSError, RuntimeError):
                    await following
            for top in tops:
                self.touch(top)

    def _follow(self, tops: list[Path], stop: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        if not tops:
            stop.wait()
            return
        try:
            for hints in watchfiles.watch(
                *tops,
                watch_filter=None,
                debounce=WATCH_STEP_MS,
                step=WATCH_STEP_MS,
                stop_event=stop,
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                for change, place in hints:
                    is_new_directory = change is watchfiles.Change.added and Path(place).is_dir()
                    loop.call_soon_threadsafe(self._hint, Path(place), is_new_directory)
        except (OSError, RuntimeError) as error:  # the watcher's own errors are of the second kind
            _log.warning("the kernel cannot watch the spaces: they are walked now and then", reason=str(error)[:200])
            stop.wait(WALK_S)

    def _hint(self, place: Path, is_new_directory: bool) -> None:
        self.touch(place)
        if is_new_directory:
            for wait_s in LOOK_AGAIN_S:
                asyncio.get_running_loop().call_later(wait_s, self.touch, place)


def _identities(tops: list[Path]) -> list[tuple[Path, tuple[int, int]]]:
    """Return those of the directories that exist, and which ones they are."""
    found = []
    for top in tops:
        with contextlib.suppress(OSError):
            status = top.stat()
            found.append((top, (status.st_dev, status.st_ino)))
    return found


def _present(files: DirectoryRoot, place: str, known: dict[str, str]) -> tuple[dict[str, Found], set[str]]:
    """Return what is at or below a place, and the known paths that were there."""
    listed = unicodedata.normalize("NFC", listed_name(place))
    present = {found.path: found for found in files.below(place)}
    # A file may be listed under the name of the place although it is stored under another one.
    if listed not in present and (found := files.find(listed)) is not None:
        present[listed] = found
    if listed in known:
        return present, {listed}
    if listed in present:
        return present, set()
    return present, {path for path in known if path.startswith(f"{listed}/")}


def _is_below(path: str, places: set[str]) -> bool:
    listed = {listed_name(place) for place in places}
    return any(path == place or path.startswith(f"{place}/") for place in listed)


def _entry(key: str, found: Found) -> Entry:
    stamp = found.stamp
    return Entry(key, found.path, "", found.etag, kind_of(found.path), stamp.size, stamp.mtime_ns / 1e9, 0, None)


def _described(entry: Entry, resource: SpaceResource | UnreadableResource, source: dict[str, str]) -> Entry:
    """Return an entry with as much of a description as searches need."""
    full, layout = resource.info, resource.layout
    info = {name: full[name] for name in ("shape", "dtype", "error") if name in full}
    info |= {"version": resource.etag, "vlmeta": brief_attributes(full), **source}
    nbytes = nbytes_of(full, layout.nbytes if layout is not None else entry.nbytes)
    return replace(entry, kind=resource.kind, nbytes=nbytes, info=info)


def _kept(info: Any) -> dict[str, Any] | None:
    """Return as much of a description as is held in memory."""
    return None if info is None else {SOURCE: info[SOURCE]} if SOURCE in info else {}
