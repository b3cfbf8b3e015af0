"""Events that are lost, doubled or late: the catalogue ends equal to the publisher's all the same."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from asgi_lifespan import LifespanManager

from caterva2.events import STREAM
from caterva2_formats.sandbox import Sandbox
from caterva2_service.messaging import Delivery, Subscription
from caterva2_service.settings import Address
from caterva2_subscriber.app import create_app
from caterva2_subscriber.catalog import Change
from caterva2_subscriber.context import Context
from caterva2_subscriber.settings import SubscriberSettings
from tests.support.nats import embedded
from tests.support.processes import wait_until
from tests.support.site import Site

from .published import paths, subscribe

PATIENCE_S = 90.0


class Losses:
    """Loses, doubles and swaps what a subscriber is delivered; what is lost counts as acknowledged.

    Parameters
    ----------
    share
        Of the deliveries that suffer each of it.
    """

    def __init__(self, share: float) -> None:
        self._random = random.Random(1)
        self._share = share
        self.counts: Counter[str] = Counter()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand between every subscriber of this process and its bus."""
        fetch = Subscription.fetch

        async def lossy(subscription: Subscription, max_events: int = 100, timeout_s: float = 5.0) -> list[Delivery]:
            return await self._suffer(await fetch(subscription, max_events, timeout_s))

        monkeypatch.setattr(Subscription, "fetch", lossy)

    async def _suffer(self, deliveries: list[Delivery]) -> list[Delivery]:
        arrived: list[Delivery] = []
        for delivery in deliveries:
            fate = self._random.random() // self._share
            if fate == 0:
                await delivery.ack()
                self.counts["lost"] += 1
                continue
            arrived.append(delivery)
            if fate == 1:
                arrived.append(delivery)
                self.counts["doubled"] += 1
            elif fate == 2 and len(arrived) > 1:
                arrived[-2:] = reversed(arrived[-2:])
                self.counts["swapped"] += 1
        return arrived


@asynccontextmanager
async def subscriber(site: Site, directory: Path, sandbox: Sandbox) -> AsyncIterator[Context]:
    """Run a subscriber of the site in this process."""
    host, _, port = site.broker.http.rpartition(":")
    settings = SubscriberSettings(statedir=directory, broker=Address(host, int(port)), login=False)
    app = create_app(settings, sandbox=sandbox)
    async with LifespanManager(app, startup_timeout=60, shutdown_timeout=60):
        yield app.state.context


def published(site: Site) -> dict[str, str]:
    """Return the version of each path at the publisher."""
    return {entry["path"]: entry["etag"] for entry in map(json.loads, site.manifest("foo"))}


def known(context: Context) -> dict[str, str]:
    return {entry.path: entry.etag for entry in context.catalog.entries("foo", limit=100_000)}


async def same(site: Site, context: Context) -> None:
    """Wait until the catalogue of a subscriber is equal to the publisher's."""
    async with asyncio.timeout(PATIENCE_S):
        while known(context) != await asyncio.to_thread(published, site):
            await asyncio.sleep(0.2)


@dataclass(frozen=True, slots=True)
class Rounds:
    """How much happens while events are lost."""

    lives: int
    """Starts of the subscriber."""
    changes: int
    """Files written or removed in each of them."""
    files: int
    pace_s: float
    """Pause behind every tenth change."""


@pytest.mark.timeout(400)
async def test_t6_lost_doubled_and_late_events_end_in_equal_catalogues(
    tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = Losses(0.05)
    losses.install(monkeypatch)
    await _change_and_lose(tmp_path, sandbox, Rounds(lives=3, changes=150, files=60, pace_s=0.1))
    assert min(losses.counts[each] for each in ("lost", "doubled")) > 0, losses.counts


@pytest.mark.chaos
@pytest.mark.timeout(3600)
async def test_t6_a_hundred_thousand_changes_end_in_equal_catalogues(
    tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = Losses(0.01)
    losses.install(monkeypatch)
    await _change_and_lose(tmp_path, sandbox, Rounds(lives=11, changes=9100, files=2000, pace_s=0.01))
    assert min(losses.counts[each] for each in ("lost", "doubled", "swapped")) > 0, losses.counts


async def _change_and_lose(directory: Path, sandbox: Sandbox, rounds: Rounds) -> None:
    """Change files while a subscriber starts and stops; its catalogue ends equal, each version having come once."""
    data = directory / "data"
    data.mkdir()
    (data / "first.txt").write_text("first")
    numbers = random.Random(2)
    with Site(directory / "site") as site:
        await asyncio.to_thread(site.start, foo=data)
        applied: list[Change] = []
        for life in range(rounds.lives):
            async with subscriber(site, directory / "lossy", sandbox) as context:
                await context.tracking.subscribe("foo")
                with context.tracking.changes.subscribe() as changes:
                    collecting = asyncio.create_task(_collect(changes, applied))
                    for number in range(rounds.changes):
                        place = data / f"{numbers.randrange(rounds.files)}.txt"
                        if place.exists() and numbers.random() < 0.3:
                            place.unlink()
                        else:
                            place.write_text(f"{life} {number}")
                        if number % 10 == 0:
                            await asyncio.sleep(rounds.pace_s)
                    if life == rounds.lives - 1:
                        await same(site, context)
                    collecting.cancel()
    effects = Counter((change.path, change.etag) for change in applied if change.etag is not None)
    assert max(effects.values()) == 1, "the same version was applied twice"


async def _collect(changes: AsyncIterator[Change], applied: list[Change]) -> None:
    async for change in changes:
        applied.append(change)


@pytest.mark.timeout(400)
def test_t7_a_subscriber_that_was_away_longer_than_events_are_kept_catches_up(tmp_path: Path) -> None:
    _be_away_for_long(tmp_path, 1000)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_t7_a_subscriber_of_ten_thousand_datasets_catches_up(tmp_path: Path) -> None:
    _be_away_for_long(tmp_path, 10_000)


def _be_away_for_long(directory: Path, count: int) -> None:
    """Change three tenths of a root and remove one while its subscriber is away, and lose all events."""
    data = directory / "data"
    for number in range(count):
        place = data / str(number % 10) / f"{number}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(str(number))
    changed, removed = range(count * 3 // 10), range(count * 3 // 10, count * 4 // 10)
    with Site(directory / "site").start(foo=data) as site:
        sub = site.subscriber
        subscribe(sub, "foo")
        assert len(paths(sub, "foo")) == count
        sub.kill()
        for number in changed:
            (data / str(number % 10) / f"{number}.txt").write_text("changed")
        for number in removed:
            (data / str(number % 10) / f"{number}.txt").unlink()
        left = count - len(removed)
        wait_until(lambda: len(published(site)) == left, timeout_s=60, what="the publisher sees what is gone")
        asyncio.run(_forget_all_events(site))
        (data / "last.txt").write_text("last")
        wait_until(lambda: "last.txt" in published(site), timeout_s=60, what="the publisher sees the last one")
        sub.start_ready()
        wait_until(
            lambda: sorted(paths(sub, "foo")) == sorted(published(site)), timeout_s=60, what="the subscriber caught up"
        )
        names = ["0/0.txt", f"9/{count - 1}.txt"]
        versions = {path: sub.get(f"/api/info/foo/{path}").json()["version"] for path in names}
        assert versions == {path: published(site)[path] for path in names}


async def _forget_all_events(site: Site) -> None:
    """Delete the stream, as time does to each of its events, and wait until the broker made it anew."""
    async with embedded(site.broker.statedir) as js:
        await js.delete_stream(STREAM)
        async with asyncio.timeout(PATIENCE_S):
            while STREAM not in [info.config.name for info in await js.streams_info()]:
                await asyncio.sleep(0.2)
