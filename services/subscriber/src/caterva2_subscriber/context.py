"""Everything that an application holds open, in one frozen object."""

from __future__ import annotations

import fcntl
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Annotated, Self

import orjson
from fastapi import Depends, Request

from caterva2_formats.sandbox import Sandbox
from caterva2_service.health import Health
from caterva2_service.metrics import Metrics
from caterva2_service.siblings import Answers, Siblings
from caterva2_service.threads import Threads
from caterva2_service.trust import Identity, Role

from . import db
from .auth.accounts import Accounts
from .auth.oidc.signin import OidcSignIn
from .cache import ChunkStore
from .catalog import Catalog
from .compute.workers import Workers
from .economy import Economy
from .fetching import Fetcher
from .library import Library
from .live import LiveEvents
from .memory import Memory
from .people import open_people
from .preview.shrink import Shrinker
from .published import PublishedRoots
from .rights import Rights
from .search import SearchIndex
from .settings import SubscriberSettings
from .spaces.building import Builder
from .spaces.opening import open_spaces
from .spaces.store import Spaces
from .subscriptions import Subscriptions
from .tracking import Tracking
from .upstream import Upstream
from .views.planes import Planes
from .web.bundle import Bundle


@dataclass(frozen=True, slots=True)
class Context:
    """What handlers work with. Opened by the application's lifespan."""

    settings: SubscriberSettings
    health: Health
    metrics: Metrics
    siblings: Siblings
    threads: Threads
    memory: Memory
    accounts: Accounts
    oidc: OidcSignIn | None
    rights: Rights
    catalog: Catalog
    store: ChunkStore
    economy: Economy
    tracking: Tracking
    subscriptions: Subscriptions
    published: PublishedRoots
    library: Library
    spaces: Spaces
    planes: Planes
    live: LiveEvents
    index: SearchIndex
    shrinker: Shrinker
    bundle: Bundle
    builder: Builder
    workers: Workers

    def published_roots(self) -> list[str]:
        """Return the names of the published roots that are known here."""
        return list(self.catalog.roots)

    def answers(self) -> Answers:
        """Return what the other processes of this subscriber may ask this one."""

        async def metrics(_: str) -> bytes:
            return await self.threads.run(self.metrics.exposition)

        async def economy(_: str) -> bytes:
            return orjson.dumps(self.economy.report())

        return {"metrics": metrics, "economy": economy, **self.subscriptions.answers()}

    @classmethod
    async def open(
        cls,
        settings: SubscriberSettings,
        stack: AsyncExitStack,
        *,
        health: Health,
        metrics: Metrics,
        siblings: Siblings,
        sandbox: Sandbox | None = None,
    ) -> Self:
        """Open everything; `stack` closes it again. Without `sandbox` there is one of its own."""
        settings.statedir.mkdir(parents=True, exist_ok=True)
        threads = Threads(settings.nthreads)
        stack.callback(threads.close)
        store = await _open_store(settings, stack, threads, metrics)
        memory = _open_memory(settings, stack, threads, metrics)
        # Beside the cache, but one for each process: it follows its roots by itself.
        file = await threads.run(_own_catalog, settings.cache_directory, stack)
        catalog = await threads.run(Catalog, file)
        stack.callback(catalog.close)
        people = await open_people(settings, stack, health, partial(_declared_access, catalog))
        identity = await threads.run(Identity.of, settings, Role.SUBSCRIBER)
        upstream = Upstream(settings.upstream, identity, settings.publisher_rules())
        stack.push_async_callback(upstream.close)
        economy = Economy(metrics)
        fetcher = Fetcher(store, settings.upstream, threads, metrics, economy)
        stack.push_async_callback(fetcher.close)
        tracking = await stack.enter_async_context(
            Tracking.open(
                settings,
                identity=identity,
                catalog=catalog,
                upstream=upstream,
                health=health,
                metrics=metrics,
            )
        )
        subscriptions = Subscriptions.open(
            db.Subscriptions(people.database),
            tracking=tracking,
            catalog=catalog,
            store=store,
            threads=threads,
            configured=settings.follow,
            siblings=siblings,
        )
        published = PublishedRoots(
            catalog=catalog, tracking=tracking, upstream=upstream, fetcher=fetcher, threads=threads
        )
        library = Library(people.rights, published)
        changes = tracking.changes
        live = await stack.enter_async_context(LiveEvents.open(changes, tracking.roots))
        opened = await open_spaces(
            settings,
            stack,
            people,
            library=library,
            catalog=catalog,
            publish=changes.publish,
            threads=threads,
            sandbox=sandbox,
        )
        planes = Planes(threads)
        stack.push_async_callback(planes.close)
        index = SearchIndex.open(catalog, library, opened.inventory, changes, threads)
        return cls(
            settings=settings,
            health=health,
            metrics=metrics,
            siblings=siblings,
            threads=threads,
            memory=memory,
            accounts=people.accounts,
            oidc=people.oidc,
            rights=people.rights,
            catalog=catalog,
            store=store,
            economy=economy,
            tracking=tracking,
            subscriptions=await stack.enter_async_context(subscriptions),
            published=published,
            library=library,
            spaces=opened.spaces,
            planes=planes,
            live=live,
            index=await stack.enter_async_context(index),
            shrinker=Shrinker(),
            bundle=await threads.run(Bundle, settings.urlbase),
            builder=opened.builder,
            workers=opened.workers,
        )


def _declared_access(catalog: Catalog, root: str) -> str | None:
    state = catalog.roots.get(root)
    return None if state is None else state.root.access


def _own_catalog(directory: Path, stack: AsyncExitStack) -> Path:
    """Return the first catalogue of a directory that no other process has; it is ours until `stack` is closed."""
    for number in count():
        name = f"catalog-{number}" if number else "catalog"
        lock = os.open(directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        stack.callback(os.close, lock)
        break
    return directory / f"{name}.sqlite"


async def _open_store(
    settings: SubscriberSettings, stack: AsyncExitStack, threads: Threads, metrics: Metrics
) -> ChunkStore:
    cache = settings.cache
    store = ChunkStore(settings.cache_directory, size=cache.size, low=cache.low_bytes, shares=cache.shares)
    await threads.run(store.open)
    stack.callback(store.close)
    metrics.gauge("cache_disk_bytes", "Bytes that cached chunks take on disk").set_function(
        lambda: float(store.used_bytes)
    )
    metrics.gauge("cache_size_bytes", "Bytes that cached chunks may take on disk").set(cache.size)
    return store


def _open_memory(settings: SubscriberSettings, stack: AsyncExitStack, threads: Threads, metrics: Metrics) -> Memory:
    memory = Memory(settings.memory, settings.cache_directory, threads)
    stack.callback(memory.close)
    used = metrics.gauge("answers_memory_bytes", "Bytes of memory that large answers under way have taken")
    used.set_function(lambda: float(memory.used_bytes))
    waiting = metrics.gauge("answers_waiting", "Large answers that wait for memory")
    waiting.set_function(lambda: float(memory.waiting))
    return memory


async def get_context(request: Request) -> Context:
    """Return the context of the application that answers."""
    context: Context = request.app.state.context
    return context


ContextDep = Annotated[Context, Depends(get_context)]
