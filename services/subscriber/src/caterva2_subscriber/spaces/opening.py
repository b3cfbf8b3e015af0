"""Opens the special roots."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from caterva2.errors import Unavailable
from caterva2.paths import PERSONAL, PUBLIC, SHARED
from caterva2_formats.confined import ConfinedHDF5
from caterva2_formats.confinement import MEASURES
from caterva2_formats.sandbox import Sandbox
from caterva2_service.log import get_logger
from caterva2_service.threads import Threads

from ..catalog import Catalog, Change
from ..compute.expressions import Expressions
from ..compute.workers import Workers
from ..db import Quotas
from ..library import Library
from ..people import People
from ..settings import SubscriberSettings
from .building import Builder
from .inventory import Inventory
from .provider import Foreign, SpaceProvider
from .store import Spaces

RETRY_S = 10.0
FOREIGN_THREADS = 4
"""Threads that wait for confined processes, apart from those that others need."""
WARM_AFTER_S = 2.0
"""Seconds after which the process that forks confined ones is started: the first requests have the processor first."""
CHECK_S = 10.0

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OpenedSpaces:
    """What changes the special roots, what knows what is in them, and what evaluates for their users."""

    spaces: Spaces
    builder: Builder
    inventory: Inventory
    workers: Workers


async def open_spaces(
    settings: SubscriberSettings,
    stack: AsyncExitStack,
    people: People,
    *,
    library: Library,
    catalog: Catalog,
    publish: Callable[[Iterable[Change]], None],
    threads: Threads,
    sandbox: Sandbox | None = None,
) -> OpenedSpaces:
    """Let `library` know the special roots; return what changes them. `stack` closes it again.

    Parameters
    ----------
    publish
        Told what changed in them.
    sandbox
        Starts confined processes; None for one of its own.
    """
    foreign = _open_foreign(stack, sandbox)
    workers = Workers(foreign.sandbox, size=threads.size)
    stack.callback(workers.close)
    expressions = Expressions(library, threads, workers)
    provider = SpaceProvider(settings.spaces_directory, threads, library, expressions, foreign)
    roots = (PUBLIC, SHARED, PERSONAL) if settings.login else (PUBLIC,)
    for root in roots:
        library.register(root, provider)
    inventory = await stack.enter_async_context(
        Inventory.open(settings.spaces_directory, roots=roots, catalog=catalog, provider=provider, publish=publish)
    )
    spaces = Spaces(
        settings.spaces_directory,
        provider=provider,
        library=library,
        rights=people.rights,
        quotas=Quotas(people.database),
        quota=settings.quota,
        threads=threads,
        foreign=foreign,
        changed=inventory.touch,
    )
    stack.callback(spaces.close)
    counting = asyncio.create_task(_count(spaces), name="count spaces")
    stack.push_async_callback(_cancel, counting)
    warming = asyncio.create_task(_keep_warm(workers, foreign), name="keep sandbox warm")
    stack.push_async_callback(_cancel, warming)
    return OpenedSpaces(spaces, Builder(spaces, library, expressions, threads, foreign), inventory, workers)


def _open_foreign(stack: AsyncExitStack, sandbox: Sandbox | None) -> Foreign:
    if sandbox is None:
        sandbox = Sandbox()
        stack.callback(sandbox.close)
    hdf5 = ConfinedHDF5(sandbox)
    stack.callback(hdf5.close)
    threads = Threads(FOREIGN_THREADS, name="foreign")
    stack.callback(threads.close)
    return Foreign(sandbox, hdf5, threads)


async def _count(spaces: Spaces) -> None:
    while True:
        try:
            return await spaces.count()
        except Unavailable:
            await asyncio.sleep(RETRY_S)
        except OSError as error:
            _log.error("the spaces could not be measured", reason=error.strerror)
            await asyncio.sleep(RETRY_S)


async def _keep_warm(workers: Workers, foreign: Foreign) -> None:
    """Have the process from which confined ones are forked ready before somebody needs it, and again when it died."""
    await asyncio.sleep(WARM_AFTER_S)
    said = False
    while True:
        with contextlib.suppress(Unavailable):
            await foreign.threads.run(workers.warm_up)
            if not said:
                _say_measures(await foreign.threads.run(foreign.sandbox.measures))
                said = True
        await asyncio.sleep(CHECK_S)


def _say_measures(found: list[str]) -> None:
    """Tell the operator how far foreign files and expressions are confined on this machine (U9)."""
    missing = [name for name in MEASURES if name not in found]
    if missing:
        _log.warning("foreign files are confined less than they could be", missing=missing, measures=found)
    else:
        _log.info("foreign files are confined", measures=found)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
