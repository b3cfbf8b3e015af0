"""A broker, or an external NATS, whose disk is full (F9)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from caterva2.errors import Unavailable
from caterva2.events import DatasetEvent, Operation
from caterva2_service.messaging import Bus
from tests.support import mounts
from tests.support.nats import NatsServer
from tests.support.processes import Service, wait_until

from .test_broker import READY, bus_of, make_broker, register

PATIENCE_S = 90.0


def fill(file: Path) -> None:
    """Take all the room that there is."""
    with suppress(OSError), file.open("wb", buffering=0) as rest:
        while rest.write(b"x" * 4096):
            pass


def event(seq: int) -> DatasetEvent:
    return DatasetEvent(
        root="foo", epoch="e", seq=seq, operation=Operation.CHANGED, path=f"{seq}.txt", info={"long": "x" * 20_000}
    )


async def publish_until_stored(bus: Bus, seq: int) -> None:
    """Send an event again and again, as a publisher does."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await bus.publish(event(seq))
            except Unavailable:
                await asyncio.sleep(0.5)


async def is_refused(bus: Bus, seq: int) -> bool:
    """Send events until the disk has no room for one."""
    for number in range(10):
        try:
            await bus.publish(event(seq + number))
        except Unavailable:
            return True
    return False


async def test_f9_a_broker_with_a_full_disk_answers_and_goes_on_when_it_has_room(tmp_path: Path) -> None:
    with mounts.tmpfs(tmp_path / "bro", "12m") as disk, make_broker(tmp_path).start_ready(parts=READY) as broker:
        assert register(broker, publisher="p1").status_code == 200

        async def locate():  # type: ignore[no-untyped-def]
            return _administrative(broker)

        async with Bus.open(locate, name="test") as bus:
            assert await bus.wait_connected(30)
            await bus.publish(event(1))
            fill(disk / "ballast")
            assert await is_refused(bus, 2)
            refused = register(broker, publisher="p2", name="bar")
            assert refused.status_code in (503, 507), refused.text
            assert str(tmp_path) not in refused.text
            assert list(broker.get("/api/roots").json()) == ["foo"]
            part = wait_until(lambda: _writes(broker), timeout_s=PATIENCE_S, what="the broker says so")
            assert "disk" in part["detail"]
            (disk / "ballast").unlink()
            await publish_until_stored(bus, 20)
        wait_until(lambda: not _writes(broker), timeout_s=PATIENCE_S, what="all is well again")
        assert register(broker, publisher="p2", name="bar").status_code == 200


def _administrative(broker: Service):  # type: ignore[no-untyped-def]
    import json

    account = json.loads((broker.statedir / "nats" / "account.json").read_text())
    return bus_of(broker).model_copy(update={"user": account["user"], "password": account["password"]})


def _writes(broker: Service) -> dict[str, object] | None:
    """Return what the broker complains about writes to NATS, or None."""
    part = ((broker.readiness() or {}).get("parts") or {}).get("nats writes")
    return part if part is not None and not part["ok"] else None


async def test_f9_an_external_nats_with_a_full_disk_is_complained_about(tmp_path: Path) -> None:
    with (
        mounts.tmpfs(tmp_path / "disk", "12m") as disk,
        NatsServer(disk).start_ready() as server,
        make_broker(tmp_path, **server.environment()).start_ready(parts=("bus",)) as broker,
    ):
        async with Bus.open(server.locate, name="test") as bus:
            assert await bus.wait_connected(30)
            fill(disk / "ballast")
            assert await is_refused(bus, 1)
        part = wait_until(lambda: _writes(broker), timeout_s=PATIENCE_S, what="the broker says so")
        assert "started again" in str(part["detail"])
        assert register(broker, publisher="p1").status_code == 200
        (disk / "ballast").unlink()
        server.kill()
        server.start_ready()
        wait_until(lambda: not _writes(broker), timeout_s=PATIENCE_S, what="all is well again")
