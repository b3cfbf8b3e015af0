"""A subscriber's application in this process, and the database of people on both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from asgi_lifespan import LifespanManager

from caterva2_formats.sandbox import Sandbox
from caterva2_subscriber.app import create_app
from caterva2_subscriber.auth.caller import Caller
from caterva2_subscriber.context import Context
from caterva2_subscriber.db import Database
from caterva2_subscriber.settings import SubscriberSettings

SECRET = "a secret for tests that is long enough"
PASSWORD = "foobar11-foobar"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database, SQLite and PostgreSQL in turn."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return f"sqlite+aiosqlite:///{tmp_path / 'people.sqlite'}"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A migrated database on either engine."""
    opened = Database(database_url)
    await opened.migrate()
    yield opened
    await opened.close()


@dataclass(frozen=True, slots=True)
class Site:
    """A running application and ways to talk to it."""

    context: Context
    app: Any

    def client(self, **kwargs: Any) -> httpx.AsyncClient:
        """Return a client that keeps no cookies but those it is given."""
        kwargs.setdefault("base_url", "http://localhost:8002")
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app), **kwargs)

    def context_openapi(self) -> Any:
        """Return the OpenAPI document."""
        return create_app(self.context.settings).openapi()

    async def add(self, email: str, *, superuser: bool = False, groups: tuple[str, ...] = ()) -> None:
        """Add a user with the password of all users here."""
        accounts = self.context.accounts
        account, _ = await accounts.add_user(email, PASSWORD, superuser=superuser, actor="test", caller=Caller())
        known = {group.name for group in await accounts.groups.list()}
        for group in groups:
            if group not in known:
                await accounts.groups.add(group)
            await accounts.groups.add_member(group, account.id)

    async def as_user(self, email: str, **kwargs: Any) -> httpx.AsyncClient:
        """Return a client that is logged in as the original's client does it: with a literal ``Cookie`` header."""
        async with self.client() as client:
            answer = await client.post("/auth/jwt/login", data={"username": email, "password": PASSWORD})
        assert answer.status_code == 204, answer.text
        return self.client(headers={"Cookie": answer.headers["set-cookie"].split(";")[0]}, **kwargs)


Start = Callable[..., Awaitable[Site]]


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """Starts confined processes; shared, because its helper takes a second to start."""
    opened = Sandbox()
    yield opened
    opened.close()


@pytest.fixture
async def start(tmp_path: Path, sandbox: Sandbox) -> AsyncIterator[Start]:
    """Start sites in this process: ``await start(register=True)``; arguments are settings."""
    numbers = count()
    async with AsyncExitStack() as stack:

        async def start_site(**settings: Any) -> Site:
            # Replicas share the state directory, but never the directory of what each one can fetch again.
            cache = {"directory": tmp_path / f"cache{next(numbers)}"}
            settings = {"statedir": tmp_path / "sub", "secret": SECRET, "cache": cache, **settings}
            app = create_app(SubscriberSettings(**settings), sandbox=sandbox)
            manager = await stack.enter_async_context(LifespanManager(app, startup_timeout=60, shutdown_timeout=60))
            return Site(app.state.context, manager.app)

        yield start_site


@pytest.fixture
async def site(start: Start) -> Site:
    """A site with an administrator ``root@example.com`` and a user ``user@example.com``."""
    site = await start()
    await site.add("root@example.com", superuser=True)
    await site.add("user@example.com")
    return site
