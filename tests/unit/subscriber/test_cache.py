from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from caterva2_subscriber.cache import ChunkStore, VersionKey

from .chunks import KEY, data, kept

Open = Callable[..., ChunkStore]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    stores: list[ChunkStore] = []

    def opened(size: int = 10**9, **settings: object) -> ChunkStore:
        for store in stores:
            store.close()
        low = settings.pop("low", int(size * 0.9))
        store = ChunkStore(tmp_path / "cache", size=size, low=low, **settings)  # type: ignore[arg-type]
        store.open()
        stores.append(store)
        return store

    yield opened
    for store in stores:
        store.close()


def packs(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").glob("??/*"))


def test_nothing_is_on_disk_before_the_first_chunk(open_store: Open, tmp_path: Path) -> None:
    store = open_store()
    assert store.missing(KEY, [0, 1]) == [0, 1]
    assert packs(tmp_path) == []


def test_chunks_come_back_after_a_restart_without_an_index_on_disk(open_store: Open, tmp_path: Path) -> None:
    store = open_store()
    assert store.put(KEY, 5, [kept(KEY, 0), kept(KEY, 3, 1)]) is None
    for each in (store, open_store()):
        assert each.get(KEY, 0) == data(KEY, 0)
        assert each.get(KEY, 3) == data(KEY, 3, 1)
        assert each.get(KEY, 1) is None
        assert each.missing(KEY, range(5)) == [1, 2, 4]
    assert len(packs(tmp_path)) == 1


def test_f7_a_torn_tail_is_cut_off_at_every_length(open_store: Open, tmp_path: Path) -> None:
    store = open_store()
    store.put(KEY, 3, [kept(KEY, 0, 300)])
    (pack,) = packs(tmp_path)
    first = pack.stat().st_size
    store.put(KEY, 3, [kept(KEY, 1, 300), kept(KEY, 2, 300)])
    whole = pack.read_bytes()
    for length in range(first, len(whole), 7):
        pack.write_bytes(whole[:length])
        store = open_store()
        for nchunk in range(3):
            assert store.get(KEY, nchunk) in (None, data(KEY, nchunk, 300))
        assert store.get(KEY, 0) == data(KEY, 0, 300)
        assert store.put(KEY, 3, [kept(KEY, 2, 300)]) is None
        assert open_store().get(KEY, 2) == data(KEY, 2, 300)


def test_f24_damaged_bytes_are_never_served(open_store: Open, tmp_path: Path) -> None:
    rng = random.Random(24)
    store = open_store()
    store.put(KEY, 1000, [kept(KEY, n, 200) for n in range(1000)])
    (pack,) = packs(tmp_path)
    raw = bytearray(pack.read_bytes())
    for _ in range(300):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    pack.write_bytes(raw)
    answers = [store.get(KEY, n) for n in range(1000)]
    assert all(answer in (None, data(KEY, n, 200)) for n, answer in enumerate(answers))
    assert store.damaged == answers.count(None) > 100
    assert store.missing(KEY, range(1000)) == [n for n, answer in enumerate(answers) if answer is None]


def test_verify_finds_damaged_chunks_and_forgets_them(open_store: Open, tmp_path: Path) -> None:
    store = open_store()
    store.put(KEY, 4, [kept(KEY, n) for n in range(4)])
    (pack,) = packs(tmp_path)
    raw = bytearray(pack.read_bytes())
    raw[-5] ^= 255
    pack.write_bytes(raw)
    report = store.verify("foo/dir")
    assert (report.chunks, report.damaged) == (4, 1)
    assert store.verify() == replace(report, chunks=3, damaged=0)
    assert store.verify("foo/other").chunks == 0


def test_least_recently_used_chunks_are_evicted_and_their_space_given_back(open_store: Open, tmp_path: Path) -> None:
    store = open_store(size=1_000_000, low=600_000)
    for nchunk in range(9):
        store.put(KEY, 30, [kept(KEY, nchunk, 100_000)])
    assert store.get(KEY, 0) is not None
    store.put(KEY, 30, [kept(KEY, 9, 100_000)])
    on_disk = sum(pack.stat().st_blocks * 512 for pack in packs(tmp_path))
    assert store.used_bytes == on_disk <= 640_000
    assert store.has(KEY, 0)
    assert store.has(KEY, 9)
    assert store.missing(KEY, range(10)) == [1, 2, 3, 4, 5]
    assert open_store(size=1_000_000).missing(KEY, range(10)) == [1, 2, 3, 4, 5]


def test_many_small_chunks_give_their_space_back_too(open_store: Open, tmp_path: Path) -> None:
    store = open_store(size=2_000_000, low=1_000_000)
    for start in range(0, 8000, 100):
        store.put(KEY, 8000, [kept(KEY, n, 500) for n in range(start, start + 100)])
        for nchunk in range(0, start, 10):
            store.get(KEY, nchunk)
    assert sum(pack.stat().st_blocks * 512 for pack in packs(tmp_path)) <= 2_100_000
    held = [n for n in range(8000) if store.has(KEY, n)]
    assert len(held) > 500
    assert all(store.get(KEY, n) == data(KEY, n, 500) for n in held)


def test_a_pinned_path_is_not_evicted_until_it_is_unpinned(open_store: Open) -> None:
    other = replace(KEY, path="b.b2nd")
    store = open_store(size=500_000, low=400_000)
    store.pin("foo/dir")
    store.put(KEY, 9, [kept(KEY, n, 100_000) for n in range(3)])
    for nchunk in range(9):
        store.put(other, 9, [kept(other, nchunk, 100_000)])
    assert store.missing(KEY, [0, 1, 2]) == []
    store = open_store(size=500_000, low=400_000)
    assert store.pins == ["foo/dir"]
    assert store.unpin("foo/dir")
    assert not store.unpin("foo/dir")
    for nchunk in range(9):
        store.put(other, 9, [kept(other, nchunk, 100_000)])
    assert store.missing(KEY, [0, 1, 2]) == [0, 1, 2]


def test_a_root_within_its_share_is_not_evicted_for_another(open_store: Open) -> None:
    busy = VersionKey("busy", "e", "x.b2nd", "1")
    store = open_store(size=1_000_000, low=800_000, shares={"foo": 400_000})
    store.put(KEY, 9, [kept(KEY, n, 100_000) for n in range(3)])
    for nchunk in range(40):
        store.put(busy, 40, [kept(busy, nchunk, 100_000)])
    assert store.missing(KEY, [0, 1, 2]) == []


def test_unchanged_chunks_survive_a_new_version(open_store: Open) -> None:
    new = replace(KEY, etag="etag2")
    store = open_store()
    store.put(KEY, 1000, [kept(KEY, n, 5000) for n in range(1000)])
    digests = store.digests(KEY)
    assert store.adopt(KEY, new, 1001, [n for n in digests if n != 7]) == 999
    for each in (store, open_store()):
        assert each.missing(new, range(1001)) == [7, 1000]
        assert each.missing(KEY, range(3)) == [0, 1, 2]
        assert each.get(new, 8) == data(KEY, 8, 5000)
    assert each.put(new, 1001, [kept(new, 7), kept(new, 1000)]) is None
    assert open_store().get(new, 1000) == data(new, 1000)


def test_free_forgets_what_is_below_a_path_even_if_pinned(open_store: Open, tmp_path: Path) -> None:
    other = replace(KEY, path="dirty.b2nd")
    store = open_store()
    store.put(KEY, 1, [kept(KEY, 0)])
    store.put(other, 1, [kept(other, 0)])
    store.pin("foo/dir")
    assert store.free("foo/dir") > 0
    assert (store.has(KEY, 0), store.has(other, 0)) == (False, True)
    assert store.free("foo") > 0
    assert packs(tmp_path) == []


def test_a_cache_of_no_size_keeps_nothing(open_store: Open, tmp_path: Path) -> None:
    store = open_store(size=0)
    assert store.put(KEY, 2, [kept(KEY, 0)]) is None
    assert store.get(KEY, 0) is None
    assert packs(tmp_path) == []


@pytest.fixture
def two_stores(tmp_path: Path) -> Iterator[tuple[ChunkStore, ChunkStore]]:
    """Two processes' stores on one directory, as far as files and locks can tell."""
    stores = tuple(ChunkStore(tmp_path / "cache", size=10**6, low=800_000) for _ in range(2))
    for store in stores:
        store.open()
    yield stores[0], stores[1]
    for store in stores:
        store.close()


Two = tuple[ChunkStore, ChunkStore]


def test_what_one_process_keeps_the_others_have(two_stores: Two) -> None:
    first, second = two_stores
    for store, nchunk in ((first, 0), (second, 1), (first, 2)):
        assert store.put(KEY, 4, [kept(KEY, nchunk)]) is None
    for store in two_stores:
        assert store.missing(KEY, range(4)) == [3]
        assert [store.get(KEY, n) for n in range(3)] == [data(KEY, n) for n in range(3)]
    assert sum(1 for _ in first.directory.glob("??/*.pack")) == 1


def test_what_one_process_evicts_is_missing_and_not_damaged_for_the_others(two_stores: Two) -> None:
    first, second = two_stores
    first.put(KEY, 12, [kept(KEY, n, 90_000) for n in range(10)])
    assert second.missing(KEY, range(10)) == []
    first.put(KEY, 12, [kept(KEY, 10, 90_000), kept(KEY, 11, 90_000)])
    held = [n for n in range(12) if first.has(KEY, n)]
    assert 0 < len(held) < 12
    answers = [second.get(KEY, n) for n in range(12)]
    assert answers == [data(KEY, n, 90_000) if n in held else None for n in range(12)]
    assert second.damaged == 0
    assert second.put(KEY, 12, [kept(KEY, 0, 90_000)]) is None
    assert first.missing(KEY, [0]) == []
    assert first.get(KEY, 0) == data(KEY, 0, 90_000)
    assert first.used_bytes <= 10**6


def test_a_version_adopted_by_one_process_is_the_new_one_for_all(two_stores: Two) -> None:
    first, second = two_stores
    new = replace(KEY, etag="etag2")
    first.put(KEY, 3, [kept(KEY, n) for n in range(3)])
    assert second.get(KEY, 0) == data(KEY, 0)
    assert first.adopt(KEY, new, 3, [0, 2]) == 2
    assert second.get(KEY, 0) is None
    assert second.missing(KEY, range(3)) == [0, 1, 2]
    assert second.missing(new, range(3)) == [1]
    assert second.get(new, 2) == data(KEY, 2)
    assert second.adopt(KEY, new, 3, [0, 1, 2]) == 2
    assert second.get(new, 1) is None


def test_pins_and_freed_paths_count_for_every_process(two_stores: Two) -> None:
    first, second = two_stores
    first.put(KEY, 3, [kept(KEY, 0)])
    first.pin("foo/dir")
    assert second.pins == ["foo/dir"]
    assert second.usage()["foo"].pinned_bytes == first.used_bytes > 0
    assert second.free("foo") > 0
    assert first.get(KEY, 0) is None
    assert first.missing(KEY, [0]) == [0]


def test_foreign_and_broken_files_in_the_directory_do_no_harm(open_store: Open, tmp_path: Path) -> None:
    store = open_store()
    store.put(KEY, 1, [kept(KEY, 0)])
    folder = packs(tmp_path)[0].parent
    (folder / "x.pack").write_bytes(b"not a pack")
    (folder / "y.tmp").write_bytes(b"half a compaction")
    (folder / "z.pack").write_bytes(os.urandom(10_000))
    store = open_store()
    assert store.get(KEY, 0) == data(KEY, 0)
    assert len(packs(tmp_path)) == 1


def test_usage_is_reported_by_root(open_store: Open) -> None:
    store = open_store()
    store.put(KEY, 3, [kept(KEY, 0), kept(KEY, 1)])
    store.pin("foo")
    usage = store.usage()["foo"]
    assert (usage.chunks, usage.datasets) == (2, 1)
    assert usage.disk_bytes == usage.pinned_bytes == store.used_bytes >= 20_000
