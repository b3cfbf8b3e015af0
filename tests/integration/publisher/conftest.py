"""A running publisher on a real nats-server, and its events."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn

from caterva2.events import DatasetEvent, Operation
from caterva2_publisher.app import create_app
from caterva2_publisher.settings import PublisherSettings
from caterva2_service.address import Address
from caterva2_service.messaging import Bus, Subscription
from caterva2_service.settings import NatsSettings
from tests.support.nats import NatsServer
from tests.support.ports import free_port
from tests.support.processes import BUSY, Service, wait_until

blosc2 = pytest.importorskip("blosc2")


def write_array(path: Path, array: np.ndarray, **options: object) -> Path:
    """Write a Blosc2 array as people do: by its final name, in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    blosc2.asarray(array, urlpath=str(path), mode="w", **options)
    return path


@dataclass
class Followed:
    """What a follower of the root's events has received."""

    subscription: Subscription
    events: list[DatasetEvent] = field(default_factory=list)

    async def until(self, done: Callable[[list[DatasetEvent]], object], timeout_s: float = 10) -> list[DatasetEvent]:
        """Collect events until `done` says so, and return all."""
        end = time.monotonic() + timeout_s * BUSY
        while not done(self.events):
            assert time.monotonic() < end, f"not within {timeout_s * BUSY} s; events: {self.told()}"
            for delivery in await self.subscription.fetch(256, timeout_s=0.2):
                self.events.append(delivery.event)
                await delivery.ack()
        return self.events

    async def until_told(self, *wanted: tuple[str, str], timeout_s: float = 10) -> None:
        """Collect events until each (operation, path) of `wanted` was among them."""
        await self.until(lambda _: set(wanted) <= set(self.told()), timeout_s)

    def told(self) -> list[tuple[str, str]]:
        """Return (operation, path) of all events so far."""
        return [(event.operation.value, event.path) for event in self.events]

    def forget(self) -> None:
        """Start anew."""
        self.events.clear()


class Served:
    """What tests ask a publisher."""

    url: str

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Ask by HTTP."""
        with httpx.Client(base_url=self.url, trust_env=False, timeout=60) as http:
            return http.get(path, **options)

    def list(self) -> list[str]:
        """Return the listed paths."""
        found: list[str] = self.get("/api/list").json()
        return found

    def manifest(self) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Return the header of the manifest and its entries by path."""
        lines = [json.loads(line) for line in self.get("/api/manifest").text.splitlines()]
        return lines[0], {line["path"]: line for line in lines[1:]}

    def part(self, name: str) -> dict[str, Any]:
        """Return the state of one part of the publisher."""
        found: dict[str, Any] = self.get("/readyz").json()["parts"].get(name, {})
        return found


class Publisher(Served, Service):
    """``cat2pub foo`` as a process, on a directory or file of this test."""

    def __init__(self, root: Path, statedir: Path, env: dict[str, str], *options: str) -> None:
        super().__init__(
            ["cat2pub", *options, "--broker", f"localhost:{free_port()}", "foo", root],
            port=free_port(),
            statedir=statedir,
            cwd=statedir.parent,
            env={"CATERVA2_OPEN_ACCESS": "true", **env},
        )

    def ready(self, *parts: str) -> Publisher:
        """Start and wait until the root is indexed and watched, and `parts` work."""
        self.start_ready(parts=("watch", "index", *parts))
        return self


class InThread(Served):
    """A publisher in a thread of this process: starts ten times faster, cannot be killed."""

    def __init__(self, root: Path, statedir: Path, nats: NatsSettings | None = None) -> None:
        port = free_port()
        self.url = f"http://localhost:{port}"
        settings = PublisherSettings(
            name="foo",
            root=root,
            http=Address("localhost", port),
            broker=Address("localhost", free_port()),
            statedir=statedir,
            nats=nats or NatsSettings(),
            open_access=True,
        )
        config = uvicorn.Config(create_app(settings), host="localhost", port=port, log_config=None, lifespan="on")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    def ready(self, *parts: str) -> InThread:
        """Start and wait until the root is indexed and watched, and `parts` work."""
        self._thread.start()
        wait_until(lambda: self._server.started, timeout_s=20, what="the publisher serves")
        for name in ("watch", "index", *parts):
            wait_until(lambda name=name: self.part(name).get("ok"), timeout_s=20, what=f"{name} works")
        return self

    def stop(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join()


def make_root(root: Path) -> Path:
    """Make a directory with an array, a file and a directory."""
    write_array(root / "a.b2nd", np.arange(1000).reshape(10, 100), chunks=(5, 50))
    write_array(root / "dir" / "b.b2nd", np.linspace(0, 1, 500), chunks=(100,))
    (root / "README.md").write_text("# Hello\n")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory that `announcing` publishes."""
    return make_root(tmp_path / "root")


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    """A connection to the bus, with its stream and buckets declared as the broker does."""
    async with Bus.open(nats_server.locate, name="test") as bus:
        assert await bus.wait_connected(10)
        await bus.declare()
        yield bus


@pytest.fixture
async def follower(bus: Bus) -> AsyncIterator[Followed]:
    """A follower of the events of root ``foo``."""
    async with bus.follow("foo", durable="test") as subscription:
        await subscription.bind()
        yield Followed(subscription)


async def first_received(publisher: Served, follower: Followed) -> None:
    """Receive the first announcements, and forget them."""
    await follower.until_told(*[(Operation.CHANGED.value, path) for path in publisher.list()])
    follower.forget()


@pytest.fixture
async def announcing(
    root: Path, tmp_path: Path, nats_server: NatsServer, follower: Followed
) -> AsyncIterator[InThread]:
    """A publisher that announces its changes, its first ones received."""
    nats = NatsSettings(url=nats_server.url, user=nats_server.bus.user, password=nats_server.bus.password)
    service = InThread(root, tmp_path / "pub", nats)
    try:
        service.ready("bus")
        await first_received(service, follower)
        yield service
    finally:
        service.stop()


@pytest.fixture
async def killable(root: Path, tmp_path: Path, nats_server: NatsServer, follower: Followed) -> AsyncIterator[Publisher]:
    """The same as a process of its own."""
    with Publisher(root, tmp_path / "pub", nats_server.environment()).ready("bus") as service:
        await first_received(service, follower)
        yield service
