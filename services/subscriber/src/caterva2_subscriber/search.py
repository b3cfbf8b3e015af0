"""Finding datasets by name, type, shape and attributes, in roots of any size.

Published roots are held in memory in a compact form, built on the first search and kept up to date change by change, so
that a keystroke costs a scan of short texts and no parsing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from caterva2.errors import Caterva2Error, NotAContainer, NotFound
from caterva2.events import Operation
from caterva2.paths import SPECIAL_ROOTS, split
from caterva2.wire import Kind
from caterva2_service.threads import Threads

from .auth.principal import Principal
from .catalog import Catalog, Entry
from .library import Library, Resource
from .tracking import Changes

_PAGE = 2000
_OPEN_AT_ONCE = 8

Shown = Literal["", "1d", "2d", "nd", "table", "file"]


@dataclass(frozen=True, slots=True)
class Summary:
    """One dataset or file in little room."""

    path: str
    """API path."""
    kind: str
    """`Kind`, or ``lazy`` for an expression."""
    dtype: str | None
    shape: tuple[int, ...] | None
    nbytes: int
    mtime: float | None
    """Unix time in seconds."""
    etag: str
    text: str = field(repr=False, default="")
    """Everything that is searched, in lower case."""

    def shown(self) -> dict[str, Any]:
        """Return what the API answers."""
        values = asdict(self)
        del values["text"]
        return values

    def is_shown_as(self, shown: Shown) -> bool:
        """Tell whether the dataset is of the kind that was asked for."""
        if not shown:
            return True
        if self.shape is None:
            return shown == "file"
        is_table = (self.dtype or "").startswith(("[", "{"))
        if shown == "table":
            return is_table
        axes = len(self.shape)
        return not is_table and {"1d": axes == 1, "2d": axes == 2, "nd": axes > 2}.get(shown, False)


def summarize(path: str, kind: Kind, etag: str, mtime: float | None, info: Mapping[str, Any], nbytes: int) -> Summary:
    """Return the summary of a dataset or file from its info."""
    shape = info.get("shape")
    dtype = info.get("dtype")
    schunk = info.get("schunk") or info
    attributes = schunk.get("vlmeta") or {}
    lazy = "expression" in info
    words = [path, dtype or "", "x".join(map(str, shape)) if shape is not None else "", "lazy" if lazy else kind.value]
    words += [f"{name}={_brief(value)}" for name, value in attributes.items()]
    if lazy:
        words.append(str(info["expression"]))
    return Summary(
        path=path,
        kind="lazy" if lazy else kind.value,
        dtype=dtype,
        shape=None if shape is None else tuple(shape),
        nbytes=nbytes,
        mtime=mtime,
        etag=etag,
        text=" ".join(words).lower(),
    )


def _brief(value: Any) -> str:
    return str(value)[:200]


class _RootIndex:
    """Summaries of one published root."""

    def __init__(self) -> None:
        self.summaries: dict[str, Summary] | None = None
        self.ordered: list[Summary] | None = None
        self.stale: set[str] = set()
        """Paths that changed since they were read."""
        self.refreshing = asyncio.Lock()

    def forget(self) -> None:
        self.summaries = None
        self.ordered = None
        self.stale.clear()


class SearchIndex:
    """Summaries of every root that somebody searched."""

    def __init__(self, catalog: Catalog, library: Library, changes: Changes, threads: Threads) -> None:
        self._catalog = catalog
        self._library = library
        self._changes = changes
        self._threads = threads
        self._roots: dict[str, _RootIndex] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, catalog: Catalog, library: Library, changes: Changes, threads: Threads) -> AsyncIterator[Self]:
        """Follow changes until left."""
        index = cls(catalog, library, changes, threads)
        following = asyncio.create_task(index._follow())
        try:
            await asyncio.sleep(0)
            yield index
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

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

    async def summaries(self, principal: Principal, root: str) -> list[Summary]:
        """Return the summaries of a root, sorted by path. Rights are the caller's business.

        Raises
        ------
        RootNotFound, NotAuthenticated, Unavailable
        """
        if root in SPECIAL_ROOTS:
            return await self._of_space(principal, root)
        index = self._roots.setdefault(root, _RootIndex())
        async with index.refreshing:
            return await self._refreshed(root, index)

    async def _refreshed(self, root: str, index: _RootIndex) -> list[Summary]:
        if index.summaries is None:
            index.stale.clear()
            index.summaries = await self._threads.run(self._read_root, root)
            index.ordered = None
        stale, index.stale = index.stale, set()
        if stale:
            fresh = await self._threads.run(lambda: {path: self._catalog.entry(root, path) for path in stale})
            # The manifest may have been replaced meanwhile.
            summaries = index.summaries if index.summaries is not None else {}
            for path, entry in fresh.items():
                if entry is None:
                    summaries.pop(path, None)
                else:
                    summaries[path] = _of_entry(entry)
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

    async def _of_space(self, principal: Principal, root: str) -> list[Summary]:
        paths = await self._library.list(principal, root)
        turn = asyncio.Semaphore(_OPEN_AT_ONCE)

        async def one(rel: str) -> Summary | None:
            async with turn:
                try:
                    return _of_resource(await self._library.open(principal, f"{root}/{rel}"))
                except NotFound:
                    return None  # it was removed since it was listed
                except Caterva2Error as error:
                    return summarize(f"{root}/{rel}", Kind.FILE, "", None, {"error": error.detail}, 0)

        found = await asyncio.gather(*(one(rel) for rel in paths))
        return sorted((summary for summary in found if summary is not None), key=lambda summary: summary.path)


def _of_entry(entry: Entry) -> Summary:
    return summarize(f"{entry.root}/{entry.path}", entry.kind, entry.etag, entry.mtime, entry.info or {}, entry.nbytes)


def _of_resource(resource: Resource) -> Summary:
    info = resource.info
    schunk = info.get("schunk") or info
    nbytes = schunk.get("nbytes", info.get("size"))
    if nbytes is None:
        nbytes = resource.layout.nbytes if resource.layout is not None else 0
    return summarize(resource.path, resource.kind, resource.etag, resource.mtime, info, nbytes)


def matching(summaries: Iterable[Summary], words: str, shown: Shown) -> list[Summary]:
    """Return the summaries that hold every word and are of the kind asked for."""
    wanted = words.lower().split()
    return [
        summary for summary in summaries if all(word in summary.text for word in wanted) and summary.is_shown_as(shown)
    ]


@dataclass(frozen=True, slots=True)
class Folder:
    """What is below one folder, at all levels."""

    name: str
    count: int
    nbytes: int


def browse(summaries: list[Summary], path: str) -> tuple[list[Folder], list[Summary]]:
    """Return the folders and the datasets directly below a root or folder.

    Raises
    ------
    NotAContainer
        If the path is a dataset or file.
    NotFound
        If there is no such folder.
    """
    root, rel = split(path)
    prefix = f"{root}/{rel}/" if rel else f"{root}/"
    folders: dict[str, Folder] = {}
    entries = []
    for summary in summaries:
        if not summary.path.startswith(prefix):
            if summary.path == path:
                raise NotAContainer(f"{path} is no folder")
            continue
        name, slash, _ = summary.path[len(prefix) :].partition("/")
        if slash:
            known = folders.get(name, Folder(name, 0, 0))
            folders[name] = Folder(name, known.count + 1, known.nbytes + summary.nbytes)
        else:
            entries.append(summary)
    if rel and not folders and not entries:
        raise NotFound
    return sorted(folders.values(), key=lambda folder: folder.name), entries
