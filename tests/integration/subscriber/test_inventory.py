"""What is in the spaces: found by searches without opening files, and told to those who watch."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest
from asgi_lifespan import LifespanManager

from caterva2_formats.sandbox import Sandbox
from caterva2_subscriber.app import create_app
from caterva2_subscriber.auth.principal import ANONYMOUS, Principal
from caterva2_subscriber.live import may_see
from caterva2_subscriber.settings import SubscriberSettings
from caterva2_subscriber.spaces import inventory
from caterva2_subscriber.spaces.provider import SpaceProvider

from .conftest import SECRET, Site

PATIENCE_S = 30.0


def array(**attributes: Any) -> bytes:
    frame = blosc2.asarray(np.arange(100).reshape(10, 10))
    for name, value in attributes.items():
        frame.schunk.vlmeta[name] = value
    return bytes(frame.to_cframe())


def drop(site: Site, space: str, name: str, content: bytes) -> Path:
    """Put a file into a space by hand, as an administrator would."""
    place = site.context.settings.spaces_directory / space / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return place


async def upload(client: Any, path: str, content: bytes) -> None:
    answer = await client.post(f"/api/upload/{path}", files={"file": ("any", content)})
    assert answer.status_code == 200, answer.text


async def found(client: Any, **parameters: Any) -> list[str]:
    """Return the paths that a search finds, once all files are described, which takes longer on a busy machine."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await client.get("/api/search", params=parameters)
            assert answer.status_code == 200, answer.text
            if not answer.json()["pending"]:
                return [entry["path"] for entry in answer.json()["entries"]]


async def eventually(check: Callable[[], Awaitable[bool]], what: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await check():
            await asyncio.sleep(0.05)
    assert await check(), what


class Watcher:
    """Reads the events of a site as one reader is shown them."""

    def __init__(self, site: Site, principal: Principal) -> None:
        self._site = site
        self._principal = principal
        self._position = site.context.live.position(None) or 0
        self.seen: list[tuple[str, str]] = []

    async def until(self, *wanted: tuple[str, str]) -> None:
        """Read until all of the events came."""
        async with asyncio.timeout(PATIENCE_S):
            while not set(wanted) <= set(self.seen):
                for event in await self._site.context.live.behind(self._position, PATIENCE_S):
                    self._position = event.number
                    if await may_see(event, self._principal, self._site.context.rights):
                        self.seen.append((event.happened.value, f"{event.root}/{event.path}"))


async def principal_of(site: Site, email: str) -> Principal:
    account = await site.context.accounts.users.by_email(email)
    assert account is not None
    return Principal(user_id=account.id, email=email)


async def test_what_users_do_is_told_to_those_who_may_read_it(site: Site) -> None:
    await site.add("other@example.com")
    owner = Watcher(site, await principal_of(site, "user@example.com"))
    other = Watcher(site, await principal_of(site, "other@example.com"))
    anybody = Watcher(site, ANONYMOUS)
    async with await site.as_user("user@example.com") as client:
        await upload(client, "@personal/secret.b2nd", array())
        await upload(client, "@shared/ours.b2nd", array())
        await upload(client, "@public/all.b2nd", array())
        await owner.until(("added", "@public/all.b2nd"))
        await upload(client, "@public/all.b2nd", array(units="mA"))
        await owner.until(("changed", "@public/all.b2nd"))
        await client.post("/api/move/", json={"src": "@public/all.b2nd", "dst": "@public/new/all.b2nd"})
        await client.post("/api/remove/@shared/ours.b2nd")
    last = (("removed", "@public/all.b2nd"), ("added", "@public/new/all.b2nd"))
    await owner.until(*last, ("added", "@personal/secret.b2nd"), ("removed", "@shared/ours.b2nd"))
    await other.until(*last, ("removed", "@shared/ours.b2nd"))
    await anybody.until(*last)
    assert not [path for _, path in other.seen if path.startswith("@personal")]
    assert {path.partition("/")[0] for _, path in anybody.seen} == {"@public"}


async def test_files_that_come_and_go_by_hand_are_told(site: Site) -> None:
    watcher = Watcher(site, ANONYMOUS)
    async with site.client() as client:
        assert await found(client, root="@public") == []
    place = drop(site, "public", "deep/below/dropped.b2nd", array())
    await watcher.until(("added", "@public/deep/below/dropped.b2nd"))
    drop(site, "public", "deep/other.b2nd", array())
    await watcher.until(("added", "@public/deep/other.b2nd"))
    place.unlink()
    await watcher.until(("removed", "@public/deep/below/dropped.b2nd"))


async def test_a_removed_folder_is_told_file_by_file(site: Site) -> None:
    watcher = Watcher(site, ANONYMOUS)
    async with await site.as_user("user@example.com") as client:
        for name in ("a", "b"):
            await upload(client, f"@public/folder/{name}.b2nd", array())
        await watcher.until(("added", "@public/folder/b.b2nd"))
        await client.post("/api/remove/@public/folder")
    await watcher.until(("removed", "@public/folder/a.b2nd"), ("removed", "@public/folder/b.b2nd"))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that were opened for their descriptions."""
    paths: list[str] = []
    look_into = SpaceProvider.look_into

    def counting(self: SpaceProvider, directory: Path, root: str, rel: str) -> Any:
        paths.append(f"{root}/{rel}")
        return look_into(self, directory, root, rel)

    monkeypatch.setattr(SpaceProvider, "look_into", counting)
    return paths


async def test_searches_find_at_once_what_was_written_and_open_nothing_twice(site: Site, opened: list[str]) -> None:
    async with await site.as_user("user@example.com") as client:
        for number in range(20):
            await upload(client, f"@public/{number:02}.b2nd", array(number=f"n{number}"))
        await upload(client, "@personal/mine.b2nd", array(number="n7"))
        assert await found(client, q="number=n7") == ["@personal/mine.b2nd", "@public/07.b2nd"]
        assert await found(client, q="10x10", limit=3) == ["@personal/mine.b2nd", "@public/00.b2nd", "@public/01.b2nd"]
        for _ in range(5):
            assert len(await found(client, root="@public")) == 20
        assert sorted(opened) == sorted([*(f"@public/{number:02}.b2nd" for number in range(20)), "@personal/mine.b2nd"])
        await client.post("/api/remove/@public/07.b2nd")
        assert await found(client, q="number=n7") == ["@personal/mine.b2nd"]
        await upload(client, "@public/03.b2nd", array(number="changed"))
        assert await found(client, q="number=changed") == ["@public/03.b2nd"]
    assert opened.count("@public/03.b2nd") == 2
    assert len(opened) == 22


async def test_a_restart_opens_only_what_changed_meanwhile(tmp_path: Path, sandbox: Sandbox, opened: list[str]) -> None:
    settings = SubscriberSettings(statedir=tmp_path / "sub", secret=SECRET)
    async with running(settings, sandbox) as site, site.client() as client:
        for name in ("same", "changes", "goes"):
            drop(site, "public", f"{name}.b2nd", array())
        await eventually(lambda: _found_all(client, "10x10", 3), "all three are found by their shape")
    drop(site, "public", "changes.b2nd", array(units="kV"))
    (settings.spaces_directory / "public" / "goes.b2nd").unlink()
    opened.clear()
    async with running(settings, sandbox) as site, site.client() as client:
        assert await found(client, q="10x10", root="@public") == ["@public/changes.b2nd", "@public/same.b2nd"]
        assert await found(client, q="units=kv") == ["@public/changes.b2nd"]
    assert opened == ["@public/changes.b2nd"]


@asynccontextmanager
async def running(settings: SubscriberSettings, sandbox: Sandbox) -> AsyncIterator[Site]:
    app = create_app(settings, sandbox=sandbox)
    async with LifespanManager(app, startup_timeout=60, shutdown_timeout=60) as manager:
        yield Site(app.state.context, manager.app)


async def _found_all(client: Any, words: str, count: int) -> bool:
    return len(await found(client, q=words)) == count


async def test_expressions_are_found_by_those_only_who_may_read_their_operands(site: Site) -> None:
    async with await site.as_user("user@example.com") as client:
        await upload(client, "@shared/a.b2nd", array())
        body = {"name": "twice", "expression": "a * 2", "operands": {"a": "@shared/a.b2nd"}}
        stored = (await client.post("/api/lazyexpr/", json=body)).json()
        await client.post("/api/move/", json={"src": stored, "dst": "@public/twice.b2nd"})
        entries = (await client.get("/api/search", params={"q": "lazy"})).json()["entries"]
        assert [(entry["path"], entry["kind"], entry["shape"]) for entry in entries] == [
            ("@public/twice.b2nd", "lazy", [10, 10])
        ]
    async with site.client() as client:
        (entry,) = (await client.get("/api/search", params={"root": "@public"})).json()["entries"]
    assert entry["path"] == "@public/twice.b2nd"
    assert entry["shape"] is None


async def test_a_file_that_failed_its_checks_is_found_by_its_name(site: Site) -> None:
    drop(site, "public", "broken.b2nd", b"no frame at all")
    async with site.client() as client:
        assert await found(client, q="broken") == ["@public/broken.b2nd"]
        assert await found(client, q="broken", kind="2d") == []


async def test_who_was_answered_early_is_told_when_all_is_described(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "PATIENCE_S", -1.0)
    watcher = Watcher(site, ANONYMOUS)
    async with site.client() as client:
        assert await found(client, root="@public") == []
        many, content = 10 * inventory.BATCH, array()
        for number in range(many):
            drop(site, "elsewhere", f"{number}.b2nd", content)
        directory = site.context.settings.spaces_directory
        (directory / "public").mkdir(exist_ok=True)
        (directory / "elsewhere").rename(directory / "public" / "all")
        answer = (await client.get("/api/search", params={"root": "@public"})).json()
        assert (answer["total"], answer["pending"] > 0) == (many, True)
        await watcher.until(("changed", "@public/"))
        assert len(await found(client, q="10x10", root="@public", limit=1000)) == many


async def test_nothing_is_noted_of_users_who_are_gone(tmp_path: Path, sandbox: Sandbox) -> None:
    settings = SubscriberSettings(statedir=tmp_path / "sub", secret=SECRET)
    async with running(settings, sandbox) as site:
        await site.add("root@example.com", superuser=True)
        for email in ("one@example.com", "two@example.com"):
            await site.add(email)
            async with await site.as_user(email) as client:
                await upload(client, "@personal/diary.b2nd", array())
                assert await found(client, q="diary") == ["@personal/diary.b2nd"]
        one, two = [f"@personal/{(await principal_of(site, f'{who}@example.com')).user_id}" for who in ("one", "two")]
        catalog = site.context.catalog
        assert {one, two} <= set(catalog.spaces())
        async with await site.as_user("root@example.com") as client:
            assert (await client.delete("/api/users/one@example.com")).is_success
        await eventually(lambda: _forgotten(site, one), "the space of a removed user is forgotten")
    for file in settings.cache_directory.glob("**/*.sqlite*"):
        assert file.stat().st_mode & 0o077 == 0, f"others may read {file.name}"
    shutil.rmtree(settings.spaces_directory / "personal" / two.partition("/")[2])
    async with running(settings, sandbox) as site:
        await eventually(lambda: _forgotten(site, two), "it is forgotten at the start, too")


async def _forgotten(site: Site, space: str) -> bool:
    return space not in site.context.catalog.spaces()
