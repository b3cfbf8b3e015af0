"""File systems that fill up, go away, or cannot be watched."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from caterva2.events import Operation
from tests.integration.publisher.conftest import Followed, Publisher, make_root
from tests.support import mounts
from tests.support.nats import NatsServer
from tests.support.processes import run, wait_until

CHANGED, REMOVED = Operation.CHANGED.value, Operation.REMOVED.value


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A place where the root is mounted, the way a network file system is."""
    data = make_root(tmp_path / "data")
    for number in range(20):
        (data / f"{number}.txt").write_text(str(number))
    place = tmp_path / "root"
    place.mkdir()
    mounts.bind(data, place)
    yield place
    mounts.unmount(place)


def online(publisher: Publisher) -> bool:
    return bool(publisher.manifest()[0]["online"])


def fill(file: Path) -> None:
    """Take all the room that there is."""
    with suppress(OSError), file.open("wb", buffering=0) as rest:
        while rest.write(b"x" * 4096):
            pass


async def test_f18_an_unmounted_root_is_offline_and_nothing_is_removed(
    mounted: Path, tmp_path: Path, nats_server: NatsServer, follower: Followed
) -> None:
    with Publisher(mounted, tmp_path / "pub", nats_server.environment()).ready("bus") as publisher:
        names, header = publisher.list(), publisher.manifest()[0]
        await follower.until(lambda events: len(events) >= len(names))
        follower.forget()
        mounts.unmount(mounted)
        wait_until(lambda: not online(publisher), timeout_s=10, what="the root is offline")
        time.sleep(6)  # longer than a second look takes
        assert publisher.list() == names
        assert publisher.manifest()[0] == {**header, "online": False}
        assert publisher.part("root")["ok"] is False
        publisher.restart().wait_ready()
        assert (publisher.list(), online(publisher)) == (names, False)
        mounts.bind(tmp_path / "data", mounted)
        wait_until(lambda: online(publisher), timeout_s=10, what="the root is online again")
        assert publisher.list() == names
        (mounted / "after.txt").write_text("after")
        await follower.until_told((CHANGED, "after.txt"))
        assert not [event for event in follower.events if event.operation == Operation.REMOVED]


async def test_f18_a_file_system_below_the_root_that_went_away_takes_nothing_with_it(
    killable: Publisher, follower: Followed, root: Path, tmp_path: Path
) -> None:
    with mounts.tmpfs(root / "disk", "1m") as disk:
        (disk / "on-disk.txt").write_text("here")
        await follower.until_told((CHANGED, "disk/on-disk.txt"))
        mounts.unmount(disk)
        (root / "README.md").unlink()
        await follower.until_told((REMOVED, "README.md"))
        (root / "new.txt").write_text("new")
        await follower.until_told((CHANGED, "new.txt"))
        killable.restart().wait_ready()
        assert "disk/on-disk.txt" in killable.list()
        assert (REMOVED, "disk/on-disk.txt") not in follower.told()
        answer = killable.get("/api/info/disk/on-disk.txt")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_f9_a_full_state_directory_stops_announcements_only_until_there_is_room(
    root: Path, tmp_path: Path, nats_server: NatsServer, follower: Followed
) -> None:
    with (
        mounts.tmpfs(tmp_path / "small", "1m") as small,
        Publisher(root, small / "pub", nats_server.environment()) as publisher,
    ):
        publisher.wait_ready(parts=("watch", "index", "bus"))
        filler = small / "filler"
        fill(filler)
        for number in range(30):
            (root / f"{number}.txt").write_text("x" * number)
        wait_until(
            lambda: publisher.part("index")["ok"] is False,
            timeout_s=20,
            what="that changes cannot be recorded is said",
        )
        assert publisher.get("/api/download/a.b2nd?nchunk=0").status_code == 200
        filler.unlink()
        await follower.until_told(*[(CHANGED, f"{number}.txt") for number in range(30)], timeout_s=30)
        wait_until(
            lambda: publisher.part("index")["ok"],
            timeout_s=20,
            what="that changes can be recorded again is said",
        )


async def test_where_the_kernel_cannot_watch_the_root_is_walked(
    root: Path, tmp_path: Path, nats_server: NatsServer, follower: Followed
) -> None:
    publisher = Publisher(root, tmp_path / "pub", nats_server.environment())
    # A user namespace of its own has its own limit of watches.
    unshare = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    limited = 'echo 0 > /proc/sys/user/max_inotify_watches && exec "$@"'
    probe = subprocess.run([*unshare, limited, "sh", "true"], capture_output=True, check=False)
    mounts.require(probe.returncode == 0, "the kernel does not let a test limit its watches")
    publisher.command = [*unshare, limited, "sh", *publisher.command]
    with publisher:
        publisher.wait_ready(parts=("index", "bus"))
        detail = wait_until(
            lambda: publisher.part("watch").get("detail"),
            timeout_s=10,
            what="that the kernel cannot watch is said",
        )
        assert "walked every few seconds instead" in detail
        (root / "found.txt").write_text("found by walking")
        await follower.until_told((CHANGED, "found.txt"), timeout_s=15)


def test_f21_a_second_publisher_in_a_state_directory_ends_with_one_line(root: Path, tmp_path: Path) -> None:
    with Publisher(root, tmp_path / "pub", {}).ready() as publisher:
        second = run(["cat2pub", "--statedir", tmp_path / "pub", "--http", "localhost:0", "foo", root])
        assert second.returncode == 1
        assert second.stderr.count("\n") == 1
        assert "another publisher uses the state directory" in second.stderr
        assert publisher.list()


@pytest.mark.parametrize("source", ["missing", "file.txt"])
def test_a_root_that_is_none_ends_with_one_line(tmp_path: Path, source: str) -> None:
    (tmp_path / "file.txt").write_text("neither a directory nor HDF5")
    ended = run(["cat2pub", "--statedir", tmp_path / "pub", "--http", "localhost:0", "foo", tmp_path / source])
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "HDF5 file" in ended.stderr


def test_sigterm_ends_within_seconds_and_with_success(root: Path, tmp_path: Path) -> None:
    with Publisher(root, tmp_path / "pub", {}).ready() as publisher:
        start = time.monotonic()
        assert publisher.terminate() == 0
        assert time.monotonic() - start < 5


def test_a_large_root_is_served_while_it_is_indexed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for number in range(20_000):
        if number % 1000 == 0:
            (root / str(number)).mkdir(parents=True)
        (root / str(number - number % 1000) / f"{number}.txt").write_text("x")
    with Publisher(root, tmp_path / "pub", {}) as publisher:
        wait_until(lambda: _answers(publisher), timeout_s=20, what="an answer")
        first = publisher.get("/readyz")
        # Whatever the walk has not met yet is indexed when somebody asks for it.
        assert publisher.get("/api/info/19000/19999.txt").json()["nbytes"] == 1
        assert publisher.get("/healthz").status_code == 200
        publisher.wait_ready(60, parts=("index",))
        header, entries = publisher.manifest()
        assert header["count"] == len(entries) == 20_000
        if first.status_code == 503:
            assert "first time" in first.json()["parts"]["index"]["detail"]
        pages = int(Path(f"/proc/{publisher.pid}/statm").read_text().split()[1])
        assert pages * resource.getpagesize() < 300 * 2**20


def _answers(publisher: Publisher) -> bool:
    try:
        return publisher.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False
