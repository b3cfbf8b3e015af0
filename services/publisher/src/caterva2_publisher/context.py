"""What a running publisher consists of: opened in the lifespan, closed with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from prometheus_client import Counter

from caterva2.errors import StorageFailed, Unavailable
from caterva2_formats.base import DatasetSource, RootSource
from caterva2_formats.directory import DirectoryRoot
from caterva2_formats.roots import open_root
from caterva2_service.background import running
from caterva2_service.health import Health
from caterva2_service.joining import Joined
from caterva2_service.messaging import Bus
from caterva2_service.metrics import Metrics
from caterva2_service.threads import Threads
from caterva2_service.trust import Identity, Keyring, Role

from .catalog import Catalog, Change, Removed
from .chunks import Sources
from .digests import Digests
from .indexer import Indexer, Sight
from .kept import KeptChunks
from .manifest import Manifests
from .outbox import Outbox
from .presence import Presence
from .pyramid_files import PyramidFiles
from .pyramids import Pyramids
from .settings import PublisherSettings
from .tree import Tree
from .watch import PART_INDEX, Watcher

log = logging.getLogger(__name__)

READ_THREADS = 4
INDEX_THREADS = 3
PYRAMID_THREADS = 1
"""Pyramids take seconds of a whole core: one at a time leaves the others to readers."""
VIEW_THREADS = 2
_LINGER_S = 10.0
"""Seconds for which a pyramid is made though nobody waits: readers who look around come back to it."""
DRAIN_S = 1.0
RESTART_S = 5.0
PART_ROOT = "root"
PART_TASKS = "tasks"


@dataclass(frozen=True)
class Context:
    """Everything that handlers need."""

    settings: PublisherSettings
    catalog: Catalog
    root: RootSource
    sources: Sources
    indexer: Indexer
    manifests: Manifests
    digests: Digests
    pyramids: Pyramids
    building: Joined[None]
    """Pyramids that are being made."""
    pyramid_threads: Threads
    view_threads: Threads
    watcher: Watcher
    threads: Threads
    bus: Bus
    keyring: Keyring
    chunks_served: Counter
    bytes_served: Counter
    views_served: Counter

    def count(self, source: DatasetSource, chunks: int, nbytes: int) -> None:
        """Count what was read for somebody."""
        kind = source.layout.kind.value
        self.chunks_served.labels(kind).inc(chunks)
        self.bytes_served.labels(kind).inc(nbytes)

    def hint(self, path: str) -> None:
        """Say that `path` seems to have changed."""
        self.watcher.look_soon(path)


@asynccontextmanager
async def open_context(settings: PublisherSettings, health: Health, metrics: Metrics) -> AsyncIterator[Context]:
    """Open the root and its index, and start to watch, announce and register.

    Yields at once: what the index knows is served while the root is walked for the first time.

    Raises
    ------
    Conflict
        If another publisher uses the state directory.
    StorageFailed
        If the state directory cannot be used.
    BadRequest
        If the root is neither a directory nor an HDF5 file.
    """
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        threads = Threads(READ_THREADS, name="read")
        stack.callback(threads.close)
        pyramid_threads = Threads(PYRAMID_THREADS, name="pyramid")
        stack.callback(pyramid_threads.close)
        view_threads = Threads(VIEW_THREADS, name="view")
        stack.callback(view_threads.close)
        building: Joined[None] = Joined(_LINGER_S)
        stack.push_async_callback(building.close)
        index_threads = Threads(INDEX_THREADS, name="index")
        stack.callback(index_threads.close)
        source = settings.root.absolute()
        catalog = await threads.run(Catalog.open, settings.statedir, root=settings.name, source=str(source))
        stack.callback(catalog.close)
        root = await threads.run(_open_root, source, catalog)
        stack.callback(root.close)
        tree = Tree(source)
        kept = await threads.run(KeptChunks, settings.statedir / "chunks", disk_bytes=settings.chunk_cache)
        files = await threads.run(PyramidFiles, settings.statedir / "pyramids", disk_bytes=settings.pyramid_cache)
        sources = Sources(root, kept)
        stack.callback(sources.close)

        def on_news(news: list[Change]) -> None:
            paths = [change.path if isinstance(change, Removed) else change.found.path for change in news]
            sources.forget(paths)
            files.forget(paths)
            loop.call_soon_threadsafe(outbox.wake)

        def on_sight(sight: Sight) -> None:
            health.set(PART_ROOT, ok=sight.online, detail=sight.reason)
            loop.call_soon_threadsafe(presence.beat_soon)

        health.set(PART_ROOT, ok=True)
        indexer = Indexer(
            root,
            tree,
            catalog,
            settle_s=settings.settle,
            confirm_removals=settings.confirm_removals,
            on_news=on_news,
            on_sight=on_sight,
        )
        identity = await threads.run(Identity.of, settings, Role.PUBLISHER)
        presence = Presence(settings, catalog, health, index_threads, lambda: indexer.sight.online, identity)
        stack.push_async_callback(presence.close)
        keyring = Keyring(settings.statedir / "keys.json", presence.services)
        stack.push_async_callback(keyring.close)
        bus = await stack.enter_async_context(
            Bus.open(
                presence.locate_bus,
                name=f"publisher {settings.name}",
                health=health,
                metrics=metrics,
                nats_settings=settings.nats,
            )
        )
        outbox = Outbox(catalog, bus, index_threads)
        if not catalog.totals().ndatasets:
            health.set(PART_INDEX, ok=False, detail="the root is walked for the first time", required=True)
        watcher = Watcher(
            tree,
            indexer,
            poll_s=settings.poll,
            threads=index_threads,
            health=health,
            metrics=metrics,
            on_walked=presence.register_soon,
        )
        stack.callback(watcher.close)
        metrics.gauge("outbox_events", "Changes that are not yet known to be announced").set_function(catalog.depth)
        metrics.gauge("datasets", "Datasets and files in the index").set_function(lambda: catalog.totals().ndatasets)
        stack.callback(indexer.stop)
        stack.push_async_callback(_drain, outbox, bus, settings.name)
        for work in (watcher.run, outbox.run, lambda: presence.beat_for_ever(bus), presence.register_for_ever):
            await stack.enter_async_context(_in_background(work, health))
        yield Context(
            settings=settings,
            catalog=catalog,
            root=root,
            sources=sources,
            indexer=indexer,
            manifests=Manifests(catalog),
            digests=Digests(catalog, sources),
            pyramids=Pyramids(sources, kept, files),
            building=building,
            pyramid_threads=pyramid_threads,
            view_threads=view_threads,
            watcher=watcher,
            threads=threads,
            bus=bus,
            keyring=keyring,
            chunks_served=metrics.counter("chunks_served", "Compressed chunks read for others", ("kind",)),
            bytes_served=metrics.counter("bytes_served", "Bytes of compressed chunks read for others", ("kind",)),
            views_served=metrics.counter("views_served", "Tiles and envelopes made for others", ("kind",)),
        )


@asynccontextmanager
async def _in_background(work: Callable[[], Awaitable[None]], health: Health) -> AsyncIterator[None]:
    """Run `work` beside the block. It should never end; should it fail, that is said, and it begins anew."""

    async def run() -> None:
        while True:
            try:
                await work()
            except Exception:
                log.exception("A background task failed and begins anew")
                health.set(PART_TASKS, ok=False, detail="a background task failed: see the log")
                await asyncio.sleep(RESTART_S)

    async with running(run(), name="background"):
        yield


async def _drain(outbox: Outbox, bus: Bus, root: str) -> None:
    """Announce what can still be announced; the rest stays in the outbox for the next start."""
    if not bus.connected:
        return
    with suppress(TimeoutError, Unavailable, StorageFailed):
        async with asyncio.timeout(DRAIN_S):
            await outbox.flush()
            await bus.end_heartbeat(root)


def _open_root(source: Path, catalog: Catalog) -> RootSource:
    if not source.exists() and catalog.top() is not None:
        return DirectoryRoot(source)  # not mounted now: it was there before, and is waited for
    return open_root(source)


def check_start(settings: PublisherSettings) -> None:
    """Find out what would keep a publisher from starting. Raises Caterva2Error with one line about it."""
    source = settings.root.absolute()
    catalog = Catalog.open(settings.statedir, root=settings.name, source=str(source))
    try:
        _open_root(source, catalog).close()
    finally:
        catalog.close()


async def get_context(request: Request) -> Context:
    """Return the context of the application that answers a request."""
    context = request.app.state.context
    assert isinstance(context, Context)
    return context


ContextDep = Annotated[Context, Depends(get_context)]
