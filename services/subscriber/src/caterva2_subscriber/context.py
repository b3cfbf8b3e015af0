"""Everything that an application holds open, in one frozen object."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import Depends, Request

from caterva2_service.health import Health
from caterva2_service.metrics import Metrics
from caterva2_service.threads import Threads

from .auth.accounts import Accounts
from .library import Library, NoRoots
from .people import open_people
from .rights import Rights
from .settings import SubscriberSettings


@dataclass(frozen=True, slots=True)
class Context:
    """What handlers work with. Opened by the application's lifespan."""

    settings: SubscriberSettings
    health: Health
    metrics: Metrics
    threads: Threads
    accounts: Accounts
    rights: Rights
    library: Library

    def published_roots(self) -> list[str]:
        """Return the names of the published roots that are known here."""
        return []

    @classmethod
    async def open(
        cls, settings: SubscriberSettings, stack: AsyncExitStack, *, health: Health, metrics: Metrics
    ) -> Self:
        """Open everything; `stack` closes it again."""
        settings.statedir.mkdir(parents=True, exist_ok=True)
        threads = Threads(settings.nthreads)
        stack.callback(threads.close)
        people = await open_people(settings, stack, health, lambda root: None)
        library = Library(people.rights, NoRoots())
        return cls(
            settings=settings,
            health=health,
            metrics=metrics,
            threads=threads,
            accounts=people.accounts,
            rights=people.rights,
            library=library,
        )


async def get_context(request: Request) -> Context:
    """Return the context of the application that answers."""
    context: Context = request.app.state.context
    return context


ContextDep = Annotated[Context, Depends(get_context)]
