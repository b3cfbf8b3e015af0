"""Finding datasets by name, type, shape and attributes, in roots of any size.

Roots are held in memory in a compact form, built from the catalogue on the first search and kept up to date change by
change, so that a keystroke costs a scan of short texts and no parsing.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Self

from caterva2.errors import Caterva2Error, NotAContainer, NotFound
from caterva2.events import Operation
from caterva2.paths import PERSONAL, SPECIAL_ROOTS, split
from caterva2.wire import Kind
from caterva2_service.background import running
from caterva2_service.threads import Threads

from .auth.principal import Principal
from .catalog import Catalog, Entry
from .library import Library, Resource
from .spaces.inventory import READ_BY_READER, Inventory
from .summary import Shown, Summary, nbytes_of, summarize
from .tracking import Changes

_PAGE = 2000
_HELD = 64
"""Roots and spaces held in memory, before personal spaces are dropped from it."""
BY_READER = "by-reader"
"""Kind of a summary that stands for one that the reader has to make."""
_OPEN_AT_ONCE = 8
_BEHIND_SLASH = chr(ord("/") + 1)


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a root."""

    summaries: list[Summary]
    """By path."""
    pending: int
    """Files whose types, shapes and attributes are not known yet."""


class _RootIndex:
    """Summaries of one root or space."""

    def __init__(self) -> None:
        self.summaries: dict[str, Summary] | None = None
        self.ordered: list[Summary] | None = None
        self.by_reader: set[str] = set()
        """API paths of what each reader has to open: expressions, which the reader's rights are needed for."""
        self.stale: set[str] = set()
        """Paths that changed since they were read."""
        self.refreshing = asyncio.Lock()

    def forget(self) -> None:
        self.summaries = None
        self.ordered = None
        self.stale.clear()


class SearchIndex:
    """Summaries of every root that somebody searched."""

    def __init__(
        self, catalog: Catalog, library: Library, inventory: Inventory, changes: Changes, threads: Threads
    ) -> None:
        self._catalog = catalog
        self._library = library
        self._inventory = inventory
        self._changes = changes
        self._threads = threads
        self._roots: OrderedDict[str, _RootIndex] = OrderedDict()
        inventory.on_noted(self._note)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, catalog: Catalog, library: Library, inventory: Inventory, changes: Changes, threads: Threads
    ) -> AsyncIterator[Self]:
        """Follow changes until left."""
        index = cls(catalog, library, inventory, changes, threads)
        async with running(index._follow(), name="search"):
            await asyncio.sleep(0)
            yield index

    async def _follow(self) -> None:
        with self._changes.subscribe() as changes:
            async for change in changes:
                index = self._roots.get(change.root)
                if index is None:
                    continue
                if change.operation is Operation.MANIFEST or not change.path:
                    index.forget()
                else:
                    index.stale.add(change.path)

    def _note(self, space: str, paths: Iterable[str]) -> None:
        index = self._roots.get(space)
        if index is not None:
            index.stale.update(paths)

    async def summaries(self, principal: Principal, root: str) -> Found:
        """Return the summaries of a root, sorted by path. Rights are the caller's business.

        Raises
        ------
        RootNotFound, NotAuthenticated, Unavailable
        """
        pending, key = 0, root
        if root in SPECIAL_ROOTS:
            self._library.require_root(root)
            key = self._inventory.key(principal, root)
        index = self._index(key)
        if root in SPECIAL_ROOTS:
            pending = await self._inventory.refresh(key)
        async with index.refreshing:
            summaries = await self._refreshed(key, index)
            by_reader = frozenset(index.by_reader)
        if by_reader:
            summaries = await self._read_by_reader(principal, summaries, by_reader)
        return Found(summaries, pending)

    def _index(self, key: str) -> _RootIndex:
        index = self._roots.setdefault(key, _RootIndex())
        self._roots.move_to_end(key)
        if len(self._roots) > _HELD:
            oldest = next((name for name in self._roots if name.startswith(f"{PERSONAL}/") and name != key), None)
            if oldest is not None:
                del self._roots[oldest]
        return index

    async def _refreshed(self, root: str, index: _RootIndex) -> list[Summary]:
        if index.summaries is None:
            index.stale.clear()
            index.by_reader.clear()
            index.summaries = await self._threads.run(self._read_root, root)
            index.by_reader.update(s.path for s in index.summaries.values() if s.kind == BY_READER)
            index.ordered = None
        stale, index.stale = index.stale, set()
        if stale:
            fresh = await self._threads.run(lambda: {path: self._catalog.entry(root, path) for path in stale})
            # The manifest may have been replaced meanwhile.
            summaries = index.summaries if index.summaries is not None else {}
            for path, entry in fresh.items():
                _replace(summaries, index.by_reader, path, entry)
            index.ordered = None
        if index.ordered is None:
            known = index.summaries or {}
            index.ordered = await self._threads.run(lambda: sorted(known.values(), key=lambda summary: summary.path))
        return index.ordered

    def _read_root(self, root: str) -> dict[str, Summary]:
        found: dict[str, Summary] = {}
        after = ""
        while page := self._catalog.entries(root, after=after, limit=_PAGE):
            found.update((entry.path, _of_entry(entry)) for entry in page)
            after = page[-1].path
        return found

    async def _read_by_reader(
        self, principal: Principal, summaries: list[Summary], paths: frozenset[str]
    ) -> list[Summary]:
        """Open what only the reader can, with the reader's rights; what is hidden from the reader is left out."""
        turn = asyncio.Semaphore(_OPEN_AT_ONCE)

        async def one(path: str) -> tuple[str, Summary | None]:
            async with turn:
                try:
                    return path, _of_resource(await self._library.open(principal, path))
                except NotFound:
                    return path, None  # it was removed since it was listed
                except Caterva2Error as error:
                    return path, summarize(path, Kind.FILE, "", None, {"error": error.detail}, 0)

        opened = dict(await asyncio.gather(*(one(path) for path in paths)))
        replaced = (opened.get(summary.path, summary) for summary in summaries)
        return [summary for summary in replaced if summary is not None]


def _replace(summaries: dict[str, Summary], by_reader: set[str], path: str, entry: Entry | None) -> None:
    before = summaries.pop(path, None)
    if before is not None:
        by_reader.discard(before.path)
    if entry is not None:
        summaries[path] = summary = _of_entry(entry)
        if summary.kind == BY_READER:
            by_reader.add(summary.path)


def _of_entry(entry: Entry) -> Summary:
    info = entry.info or {}
    path = f"{entry.root.partition('/')[0]}/{entry.path}"
    summary = summarize(path, entry.kind, info.get("version", entry.etag), entry.mtime, info, entry.nbytes)
    return replace(summary, kind=BY_READER) if READ_BY_READER in info else summary


def _of_resource(resource: Resource) -> Summary:
    nbytes = nbytes_of(resource.info, resource.layout.nbytes if resource.layout is not None else 0)
    return summarize(resource.path, resource.kind, resource.etag, resource.mtime, resource.info, nbytes)


def matching(summaries: Sequence[Summary], words: str, shown: Shown) -> list[Summary]:
    """Return the summaries that hold every word and are of the kind asked for, in their order."""
    found = list(summaries)
    for word in words.lower().split():
        found = [summary for summary in found if word in summary.text]
    return [summary for summary in found if summary.is_shown_as(shown)] if shown else found


def page_of(summaries: Sequence[Summary], after: str, limit: int) -> tuple[Sequence[Summary], str | None]:
    """Return the page that follows a path, and the path after which the next one begins; None at the end.

    Parameters
    ----------
    summaries
        By path.
    """
    start = bisect_right(summaries, after, key=_path) if after else 0
    page = summaries[start : start + limit]
    return page, page[-1].path if start + limit < len(summaries) else None


@dataclass(frozen=True, slots=True)
class Folder:
    """What is below one folder, at all levels."""

    name: str
    count: int
    nbytes: int


def browse(summaries: Sequence[Summary], path: str) -> tuple[list[Folder], list[Summary]]:
    """Return the folders and the datasets directly below a root or folder.

    Parameters
    ----------
    summaries
        By path.

    Raises
    ------
    NotAContainer
        If the path is a dataset or file.
    NotFound
        If there is no such folder.
    """
    root, rel = split(path)
    prefix = f"{root}/{rel}/" if rel else f"{root}/"
    if rel and (at := bisect_left(summaries, path, key=_path)) < len(summaries) and summaries[at].path == path:
        raise NotAContainer(f"{path} is no folder")
    place, end = _below(summaries, prefix)
    folders: list[Folder] = []
    entries: list[Summary] = []
    while place < end:
        name, slash, _ = summaries[place].path[len(prefix) :].partition("/")
        if slash:
            # All of a folder follow each other.
            first, place = _below(summaries, f"{prefix}{name}/", place, end)
            folders.append(Folder(name, place - first, sum(each.nbytes for each in summaries[first:place])))
        else:
            entries.append(summaries[place])
            place += 1
    if rel and not folders and not entries:
        raise NotFound
    return sorted(folders, key=lambda folder: folder.name), entries


def _below(summaries: Sequence[Summary], prefix: str, low: int = 0, high: int | None = None) -> tuple[int, int]:
    """Return the half-open range of the paths that begin with `prefix`, which ends with a slash."""
    first = bisect_left(summaries, prefix, low, high, key=_path)
    return first, bisect_left(summaries, prefix[:-1] + _BEHIND_SLASH, first, high, key=_path)


def _path(summary: Summary) -> str:
    return summary.path
