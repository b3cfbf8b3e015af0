"""The cache on a real file system that fails: killed writers, full disks, disks that go away."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from caterva2_subscriber.cache import BROKEN, FULL, ChunkStore, VersionKey
from tests.support.require import require
from tests.unit.subscriber.chunks import KEY, data, kept

KILLS = int(os.environ.get("CATERVA2_KILLS", "50"))
"""The long form is 200."""
NCHUNKS = 1_000_000


def size_of(nchunk: int) -> int:
    return 3000 + 17 * (nchunk % 3000)


def _write_until_killed(directory: Path, start: int, *, after_s: float) -> int:
    """Let another process fill the cache and kill it; returns the last chunk that it said was kept."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        _write(directory, start, writing)
    os.close(writing)
    with os.fdopen(reading) as said:
        acknowledged = int(said.readline())
        time.sleep(after_s)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return max([acknowledged, *(int(line) for line in said.read().splitlines() if line)])


def _write(directory: Path, start: int, say: int) -> NoReturn:
    try:
        store = ChunkStore(directory, size=4_000_000, low=3_000_000)
        store.open()
        for nchunk in range(start, NCHUNKS):
            store.put(KEY, NCHUNKS, [kept(KEY, nchunk, size_of(nchunk))])
            os.write(say, b"%d\n" % nchunk)
    finally:
        os._exit(1)


def test_f7_killed_writers_lose_nothing_that_was_acknowledged_and_leave_no_wrong_bytes(tmp_path: Path) -> None:
    rng = random.Random(7)
    directory = tmp_path / "cache"
    start = 0
    for _ in range(KILLS):
        acknowledged = _write_until_killed(directory, start, after_s=rng.uniform(0, 0.03))
        store = ChunkStore(directory, size=4_000_000, low=3_000_000)
        store.open()
        held = [n for n in range(acknowledged + 2) if store.has(KEY, n)]
        assert all(store.get(KEY, n) == data(KEY, n, size_of(n)) for n in held)
        assert store.has(KEY, acknowledged)
        assert store.damaged == 0
        store.close()
        start = acknowledged + 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    require(os.geteuid() == 0, "mounting a small file system needs root")
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", where], capture_output=True, check=False)
    require(mounted.returncode == 0, "a tmpfs cannot be mounted here")
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", where], check=True)


def test_f8_a_disk_that_is_smaller_than_the_cache_makes_it_evict(small_disk: Path) -> None:
    store = ChunkStore(small_disk / "cache", size=10**9, low=10**9)
    store.open()
    states = [store.put(KEY, 400, [kept(KEY, n, 50_000)]) for n in range(400)]
    assert set(states) == {None}
    held = [n for n in range(400) if store.has(KEY, n)]
    assert len(held) > 10
    assert all(store.get(KEY, n) == data(KEY, n, 50_000) for n in held)
    store.close()


def test_f8_a_disk_that_others_filled_is_said_and_used_again_when_it_has_room(small_disk: Path) -> None:
    store = ChunkStore(small_disk / "cache", size=10**9, low=10**9)
    store.open()
    filler = small_disk / "filler"
    filler.write_bytes(bytes(2_080_000))
    assert store.put(KEY, 9, [kept(KEY, 0, 100_000)]) == FULL
    assert store.state == FULL
    assert store.get(KEY, 0) is None
    filler.unlink()
    assert store.put(KEY, 9, [kept(KEY, 0, 100_000)]) is None
    assert store.state is None
    assert store.get(KEY, 0) == data(KEY, 0, 100_000)
    store.close()


def test_f8_a_cache_directory_that_vanished_is_no_error(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path / "cache", size=10**9, low=10**9)
    store.open()
    store.put(KEY, 9, [kept(KEY, 0)])
    for pack in (tmp_path / "cache").glob("??/*"):
        pack.unlink()
    assert store.get(KEY, 0) is None
    other = VersionKey("foo", "e", "other", "1")
    assert store.put(other, 9, [kept(other, 0)]) is None
    assert store.get(other, 0) == data(other, 0)
    store.close()


def test_f8_a_cache_directory_that_becomes_unusable_costs_no_answer(tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    store = ChunkStore(directory, size=150_000, low=100_000)
    store.open()
    store.put(KEY, 9, [kept(KEY, 0, 100_000)])
    shutil.rmtree(directory)
    directory.write_text("no directory any more")
    assert store.missing(KEY, [0, 1]) in ([1], [0, 1])
    assert store.get(KEY, 0) is None
    assert store.put(KEY, 9, [kept(KEY, 1, 100_000)]) == BROKEN
    assert store.claims(KEY) is None
    store.make_room()
    assert store.missing(KEY, [0, 1]) == [0, 1]
    store.close()
