"""Changes of files, and the events that announce them."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from caterva2.events import Operation
from tests.integration.publisher.conftest import Followed, InThread, Publisher, write_array
from tests.support.nats import NatsServer
from tests.support.processes import wait_until

CHANGED, REMOVED, MANIFEST = Operation.CHANGED.value, Operation.REMOVED.value, Operation.MANIFEST.value
QUIET_S = 0.5
"""Long enough for anything that must not be announced to be announced."""


async def quiet(follower: Followed, seconds: float = QUIET_S) -> list[tuple[str, str]]:
    """Collect what is announced for a while."""
    end = time.monotonic() + seconds
    await follower.until(lambda _: time.monotonic() > end, timeout_s=seconds + 5)
    return follower.told()


async def test_created_changed_removed(announcing: InThread, follower: Followed, root: Path) -> None:
    write_array(root / "new.b2nd", np.arange(10))
    await follower.until_told((CHANGED, "new.b2nd"))
    created = follower.events[-1]
    assert created.info is not None
    assert created.info["shape"] == [10]
    write_array(root / "new.b2nd", np.arange(20))
    await follower.until(lambda events: events[-1].info and events[-1].info["shape"] == [20])
    changed = follower.events[-1]
    assert changed.etag not in (None, created.etag)
    assert announcing.get("/api/info/new.b2nd").headers["etag"] == changed.etag
    (root / "new.b2nd").unlink()
    await follower.until_told((REMOVED, "new.b2nd"))
    assert announcing.get("/api/info/new.b2nd").status_code == 404


async def test_numbers_of_changes_have_no_gaps(announcing: InThread, follower: Followed, root: Path) -> None:
    first = announcing.manifest()[0]["seq"]
    for number in range(30):
        (root / f"{number}.txt").write_text(str(number))
    await follower.until_told(*[(CHANGED, f"{number}.txt") for number in range(30)])
    seqs = [event.seq for event in follower.events]
    assert seqs == list(range(first + 1, first + 1 + len(seqs)))


async def test_an_atomic_replacement_is_one_change(announcing: InThread, follower: Followed, root: Path) -> None:
    write_array(root.parent / "outside.b2nd", np.zeros(5)).replace(root / "a.b2nd")
    await follower.until_told((CHANGED, "a.b2nd"))
    assert await quiet(follower) == [(CHANGED, "a.b2nd")]


async def test_a_rename_is_a_removal_and_a_creation(announcing: InThread, follower: Followed, root: Path) -> None:
    (root / "a.b2nd").rename(root / "dir" / "z.b2nd")
    await follower.until_told((REMOVED, "a.b2nd"), (CHANGED, "dir/z.b2nd"))
    assert announcing.list() == ["README.md", "dir/b.b2nd", "dir/z.b2nd"]


async def test_a_truncated_file_is_listed_as_unrecognized(announcing: InThread, follower: Followed, root: Path) -> None:
    with (root / "a.b2nd").open("r+b") as file:
        file.truncate(100)
    await follower.until_told((CHANGED, "a.b2nd"))
    found = announcing.get("/api/info/a.b2nd").json()
    assert found["error"] == "Unrecognized format"
    assert found["reason"]


async def test_a_directory_moved_in_and_out(announcing: InThread, follower: Followed, root: Path) -> None:
    tree = root.parent / "tree"
    for name in ("x.txt", "deep/y.txt", "deep/er/z.txt"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    tree.rename(root / "tree")
    names = [f"tree/{name}" for name in ("x.txt", "deep/y.txt", "deep/er/z.txt")]
    await follower.until_told(*[(CHANGED, name) for name in names])
    (root / "tree").rename(root.parent / "tree")
    await follower.until_told(*[(REMOVED, name) for name in names])


async def test_a_copied_tree_is_found_whole(announcing: InThread, follower: Followed, root: Path) -> None:
    tree = root.parent / "tree"
    for number in range(200):
        (tree / f"d{number % 50}" / f"e{number % 7}").mkdir(parents=True, exist_ok=True)
        (tree / f"d{number % 50}" / f"e{number % 7}" / f"{number}.txt").write_text(str(number))
    shutil.copytree(tree, root / "copy")
    wanted = {file.relative_to(root).as_posix() for file in (root / "copy").rglob("*.txt")}
    assert len(wanted) == 200
    await asyncio.to_thread(
        wait_until, lambda: wanted <= set(announcing.list()), timeout_s=5, what="all copied files are listed"
    )


async def test_ten_thousand_files_at_once(announcing: InThread, follower: Followed, root: Path) -> None:
    many = root.parent / "many"
    many.mkdir()
    for number in range(10_000):
        (many / f"{number:05}.txt").write_text("x")
    many.rename(root / "many")
    await follower.until(lambda events: any(event.operation == Operation.MANIFEST for event in events), 60)
    await asyncio.to_thread(
        wait_until, lambda: announcing.manifest()[0]["count"] == 10_003, timeout_s=60, what="10,003 entries"
    )
    await follower.until(lambda events: events[-1].seq == announcing.manifest()[0]["seq"], 20)
    assert len(follower.events) < 200, "many changes are announced together"


@pytest.mark.parametrize("name", [".a.b2nd.swp", "4913", "notes.txt~", ".#notes.txt", "x.tmp", "big.b2nd.part"])
async def test_temporary_files_are_not_announced(
    announcing: InThread, follower: Followed, root: Path, name: str
) -> None:
    (root / name).write_text("temporary")
    (root / "after.txt").write_text("real")
    await follower.until_told((CHANGED, "after.txt"))
    assert await quiet(follower, 0.3) == [(CHANGED, "after.txt")]


async def test_a_file_is_announced_when_it_is_closed(announcing: InThread, follower: Followed, root: Path) -> None:
    data = write_array(root.parent / "whole.b2nd", np.arange(100_000)).read_bytes()
    with (root / "slow.b2nd").open("wb") as file:
        for start in range(0, len(data), len(data) // 4 + 1):
            file.write(data[start : start + len(data) // 4 + 1])
            file.flush()
            assert await quiet(follower, 0.3) == []
    closed = time.monotonic()
    await follower.until_told((CHANGED, "slow.b2nd"))
    assert time.monotonic() - closed < 2
    assert follower.told() == [(CHANGED, "slow.b2nd")]
    assert follower.events[0].info is not None
    assert "error" not in follower.events[0].info


async def test_a_file_held_open_and_growing_now_and_then_is_followed(
    announcing: InThread, follower: Followed, root: Path
) -> None:
    with (root / "log.txt").open("w") as file:
        file.write("line\n")
        file.flush()
        await follower.until_told((CHANGED, "log.txt"), timeout_s=10)


async def test_n5_changes_while_the_bus_is_down_are_announced_later(
    announcing: InThread, follower: Followed, root: Path, nats_server: NatsServer
) -> None:
    nats_server.kill()
    (root / "one.txt").write_text("1")
    wait_until(lambda: "one.txt" in announcing.list(), timeout_s=5, what="served while the bus is down")
    (root / "README.md").unlink()
    wait_until(lambda: "README.md" not in announcing.list(), timeout_s=5, what="served while the bus is down")
    nats_server.start_ready()
    await follower.until_told((CHANGED, "one.txt"), (REMOVED, "README.md"), timeout_s=30)


async def test_n5_what_changed_while_the_publisher_was_down_is_announced_at_its_start(
    killable: Publisher, follower: Followed, root: Path
) -> None:
    before = killable.manifest()[0]
    killable.kill()
    write_array(root / "a.b2nd", np.arange(3))
    (root / "README.md").unlink()
    (root / "late.txt").write_text("late")
    killable.ready("bus")
    await follower.until_told((CHANGED, "a.b2nd"), (REMOVED, "README.md"), (CHANGED, "late.txt"))
    after = killable.manifest()[0]
    assert after["epoch"] == before["epoch"]
    assert after["seq"] == before["seq"] + 3
    assert await quiet(follower, 0.3) == follower.told()
    assert len(follower.events) == 3, "what did not change is not announced again"


async def test_n5_a_lost_state_directory_is_a_new_epoch(killable: Publisher, follower: Followed) -> None:
    before = killable.manifest()[0]
    killable.kill()
    shutil.rmtree(killable.statedir)
    killable.ready("bus")
    assert killable.manifest()[0]["epoch"] != before["epoch"]
    await follower.until(lambda events: {event.path for event in events} >= {"a.b2nd", "dir/b.b2nd", "README.md"})
    assert {event.epoch for event in follower.events} == {killable.manifest()[0]["epoch"]}


async def test_t4_killed_at_any_moment_nothing_is_left_unannounced(
    killable: Publisher, follower: Followed, root: Path
) -> None:
    for cycle in range(3):
        for number in range(40):
            (root / f"{number}.txt").write_text(f"{cycle} {number}")
            if number == 15 + 9 * cycle:
                killable.kill()
        killable.ready("bus")
    header, entries = killable.manifest()
    await follower.until(lambda events: max((event.seq for event in events), default=0) >= header["seq"], 20)
    last = {event.path: event for event in follower.events}
    for path, entry in entries.items():
        if path.endswith(".txt"):
            assert last[path].etag == entry["etag"], path
    seqs = sorted({event.seq for event in follower.events})
    assert seqs == list(range(seqs[0], header["seq"] + 1))
