"""The bus on a real nats-server: requirements N2 to N7."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from caterva2.errors import Conflict, Unavailable
from caterva2.events import DatasetEvent, Heartbeat, Operation, RootFact
from caterva2_service.health import Health
from caterva2_service.messaging import PART, Bus, Subscription
from caterva2_service.metrics import Metrics
from tests.support.nats import NatsServer


@contextlib.asynccontextmanager
async def opened(server: NatsServer, health: Health | None = None) -> AsyncIterator[Bus]:
    async with Bus.open(server.locate, name="test", health=health) as bus:
        bus.on_reconnect(bus.declare)
        yield bus


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    async with opened(nats_server) as bus:
        assert await bus.wait_connected(10)
        await bus.declare()
        yield bus


def event(seq: int, path: str = "a.b2nd", root: str = "foo") -> DatasetEvent:
    return DatasetEvent(root=root, epoch="e", seq=seq, operation=Operation.CHANGED, path=path)


async def received(subscription: Subscription, count: int, *, ack: bool = True) -> list[int]:
    """Return the seqs of the next `count` events."""
    seqs: list[int] = []
    async with asyncio.timeout(20):
        while len(seqs) < count:
            for delivery in await subscription.fetch(10, 1):
                seqs.append(delivery.event.seq)
                if ack:
                    await delivery.ack()
    return seqs


async def test_n4_events_arrive_in_order_and_once(bus: Bus) -> None:
    async with bus.follow("foo", durable="sub_1_foo") as subscription:
        await subscription.bind()
        for seq in range(1, 6):
            await bus.publish(event(seq, f"{seq}.b2nd"))
            await bus.publish(event(seq, f"{seq}.b2nd"))
        await bus.publish(event(1, root="bar"))
        assert await received(subscription, 5) == [1, 2, 3, 4, 5]
        assert await subscription.fetch(10, 0.3) == []


async def test_the_time_that_events_take_is_measured_once_for_each(nats_server: NatsServer) -> None:
    metrics = Metrics()
    async with Bus.open(nats_server.locate, name="test", metrics=metrics) as bus:
        assert await bus.wait_connected(10)
        await bus.declare()
        async with bus.follow("foo", durable="sub_1_foo") as subscription:
            await subscription.bind()
            await bus.publish(event(1))
            await bus.publish(event(2))
            assert await received(subscription, 2) == [1, 2]
    assert metrics.registry.get_sample_value("caterva2_event_seconds_count", {"durable": "sub_1_foo"}) == 2


async def test_n6_an_event_that_was_not_acknowledged_comes_again_after_a_restart(bus: Bus) -> None:
    async with bus.follow("foo", durable="sub_1_foo") as subscription:
        await subscription.bind()
        await bus.publish(event(1))
        assert await received(subscription, 1) == [1]
    await bus.publish(event(2))
    async with bus.follow("foo", durable="sub_1_foo") as subscription:
        assert await received(subscription, 1) == [2]
        assert (await subscription.state()).pending == 0


async def test_n7_a_follower_can_tell_that_it_missed_events(bus: Bus) -> None:
    async with bus.follow("foo", durable="sub_1_foo") as subscription:
        await subscription.bind()
        before = await subscription.state()
        await bus.publish(event(1))
        assert await received(subscription, 1) == [1]
        assert (await subscription.state()).ack_floor == 1
        await bus.forget("sub_1_foo")
        await bus.publish(event(2))
        await subscription.close()
        after = await subscription.state()
        assert after.consumer_created > before.consumer_created
        assert after.stream_created == before.stream_created
        assert after.last_seq == 2


async def test_f3_a_wiped_bus_is_set_up_again_and_shows_it(nats_server: NatsServer, bus: Bus) -> None:
    async with bus.follow("foo", durable="sub_1_foo") as subscription:
        before = await subscription.state()
        nats_server.wipe()
        nats_server.start_ready()
        await until_connected_again(bus)
        after = await subscription.state()
        assert after.stream_created > before.stream_created
        await bus.publish(event(7))
        assert await received(subscription, 1) == [7]


async def until_connected_again(bus: Bus) -> None:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(Unavailable):
                await bus.declare()
                return
            await asyncio.sleep(0.05)


async def test_f1_n2_the_bus_connects_when_nats_appears(nats_server: NatsServer) -> None:
    nats_server.kill()
    health = Health()
    async with opened(nats_server, health) as bus:
        assert not await bus.wait_connected(0.5)
        assert not health.ok(PART)
        with pytest.raises(Unavailable):
            await bus.publish(event(1))
        nats_server.start_ready()
        assert await bus.wait_connected(10)
        assert health.ok(PART)


async def test_f2_a_killed_nats_loses_no_confirmed_event(nats_server: NatsServer, bus: Bus) -> None:
    async with bus.follow("foo", durable="sub_1_foo") as subscription:
        await subscription.bind()
        for seq in range(1, 101):
            if seq % 40 == 0:
                nats_server.restart()
            await published(bus, event(seq))
        assert sorted(set(await received(subscription, 100))) == list(range(1, 101))


async def published(bus: Bus, each: DatasetEvent) -> None:
    """Publish as an outbox does: until the bus says that it is stored."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(Unavailable):
                return await bus.publish(each)
            await asyncio.sleep(0.05)


async def test_n3_roots_are_written_by_compare_and_swap(bus: Bus) -> None:
    revision = await bus.put_root(RootFact(name="foo", http="a:1"))
    with pytest.raises(Conflict):
        await bus.put_root(RootFact(name="foo", http="b:1"))
    newer = await bus.put_root(RootFact(name="foo", http="b:1"), last=revision)
    with pytest.raises(Conflict):
        await bus.put_root(RootFact(name="foo", http="c:1"), last=revision)
    assert await bus.get_root("foo") == (RootFact(name="foo", http="b:1"), newer)


async def test_n3_a_watcher_sees_all_roots_across_a_restart_of_nats(nats_server: NatsServer, bus: Bus) -> None:
    seen: asyncio.Queue[dict[str, RootFact]] = asyncio.Queue()

    async def watch() -> None:
        async for roots in bus.watch_roots():
            await seen.put(roots)

    async def seen_until(names: set[str]) -> None:
        async with asyncio.timeout(15):
            while set(await seen.get()) != names:
                pass

    watcher = asyncio.create_task(watch())
    await bus.put_root(RootFact(name="foo", http="a:1"))
    await seen_until({"foo"})
    nats_server.restart()
    await until_connected_again(bus)
    await bus.put_root(RootFact(name="bar", http="a:2"))
    await seen_until({"foo", "bar"})
    watcher.cancel()


async def test_n3_heartbeats_reach_a_watcher_and_their_end_too(bus: Bus) -> None:
    seen: asyncio.Queue[tuple[str, Heartbeat | None]] = asyncio.Queue()

    async def watch() -> None:
        async for beat in bus.watch_alive():
            await seen.put(beat)

    watcher = asyncio.create_task(watch())
    async with asyncio.timeout(10):
        await bus.heartbeat("foo", Heartbeat(epoch="e", seq=4))
        assert await seen.get() == ("foo", Heartbeat(epoch="e", seq=4))
        await bus.end_heartbeat("foo")
        assert await seen.get() == ("foo", None)
    watcher.cancel()


async def test_n3_a_publisher_that_falls_silent_counts_as_offline(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caterva2_service.messaging.ALIVE_TTL_S", 1.5)
    async with asyncio.timeout(20):
        await bus.heartbeat("foo", Heartbeat(epoch="e", seq=4))
        beats = [beat async for _, beat in _first(bus.watch_alive(), 2)]
    assert beats == [Heartbeat(epoch="e", seq=4), None]


async def _first(
    source: AsyncIterator[tuple[str, Heartbeat | None]], count: int
) -> AsyncIterator[tuple[str, Heartbeat | None]]:
    async for each in source:
        yield each
        count -= 1
        if not count:
            return


async def test_n4_declaring_twice_changes_nothing(bus: Bus) -> None:
    await bus.publish(event(1))
    async with bus.follow("foo", durable="sub_1_foo") as subscription:
        before = await subscription.state()
        await bus.declare()
        assert await subscription.state() == before


async def test_a11_wrong_credentials_are_reported_and_retried(nats_server: NatsServer) -> None:
    health = Health()

    async def wrong() -> object:
        return nats_server.bus.model_copy(update={"password": "wrong"})

    async with Bus.open(wrong, name="test", health=health) as bus:  # type: ignore[arg-type]
        assert not await bus.wait_connected(1)
        assert "uthorization" in health.snapshot()[PART].detail
