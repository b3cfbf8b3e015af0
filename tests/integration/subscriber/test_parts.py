"""Blocks of large chunks over the link: a real publisher behind a proxy, asked by a subscriber's own fetcher."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import blosc2
import h5py
import hdf5plugin
import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI, Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from caterva2 import wire
from caterva2.errors import UpstreamInvalid, UpstreamUnavailable, VersionChanged
from caterva2.slices import select
from caterva2.wire import ManifestEntry
from caterva2_formats.chunks import digest
from caterva2_formats.directory import DirectoryRoot
from caterva2_formats.info import layout_of
from caterva2_service.metrics import Metrics
from caterva2_service.threads import Threads
from caterva2_service.trust import Role
from caterva2_subscriber.cache import ChunkStore, VersionKey
from caterva2_subscriber.catalog import Entry
from caterva2_subscriber.economy import Economy
from caterva2_subscriber.fetching import Fetcher, Target
from caterva2_subscriber.library import Freshness
from caterva2_subscriber.published import PublishedResource
from caterva2_subscriber.settings import SubscriberSettings
from caterva2_subscriber.upstream import Upstream
from tests.integration.publisher.conftest import InThread
from tests.support.ports import free_port
from tests.support.processes import wait_until
from tests.support.proxy import Proxy
from tests.support.trust import make_identity

SIDE, BLOCK = 1000, 50
ARRAY = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype("<f4")
"""Of 4 MB in 400 blocks of 10 kB, hardly compressible."""
CHUNK_BYTES = ARRAY.nbytes
LOST: list[str] = []


def make_array(path: Path, array: np.ndarray[Any, Any], **options: Any) -> None:
    """Write an array of one chunk so that readers see the old file or the new one."""
    fresh = path.with_name(f".cat2-{path.name}.tmp")
    options = {"chunks": array.shape, "blocks": (BLOCK, BLOCK), **options}
    blosc2.asarray(array, urlpath=str(fresh), mode="w", **options)
    fresh.replace(path)


@dataclass(frozen=True)
class Published:
    """A publisher, the proxy before it, and its directory. Each test has a proxy of its own."""

    service: InThread
    proxy: Proxy
    data: Path

    def served(self) -> tuple[float, float]:
        """Return the chunks (or parts) and bytes that the publisher has sent."""
        text = self.service.get("/metrics").text.splitlines()
        return tuple(  # type: ignore[return-value]
            sum(float(line.rpartition(" ")[2]) for line in text if line.startswith(f"caterva2_{name}_total"))
            for name in ("chunks_served", "bytes_served")
        )

    def entry(self, path: str) -> ManifestEntry:
        """Return what the publisher says of a path."""
        return ManifestEntry.model_validate(self.service.manifest()[1][path])

    def replace(self, path: str, array: np.ndarray[Any, Any]) -> None:
        """Publish another version of an array."""
        before = self.entry(path).etag
        make_array(self.data / path, array)
        wait_until(lambda: self.entry(path).etag != before, timeout_s=20, what="the new version is indexed")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    directory = tmp_path_factory.mktemp("parts")
    data = directory / "data"
    data.mkdir()
    make_array(data / "large.b2nd", ARRAY)
    make_array(data / "edited.b2nd", ARRAY)
    make_array(data / "four.b2nd", ARRAY, chunks=(SIDE // 2, SIDE // 2))
    make_array(data / "zeros.b2nd", np.zeros_like(ARRAY))
    make_array(data / "small.b2nd", ARRAY[:200, :200])
    cparams = {"codec": blosc2.Codec.ZSTD, "use_dict": True}
    make_array(data / "dictionary.b2nd", (ARRAY * 100).astype("<i4"), cparams=cparams)
    with running(data, directory / "pub") as found:
        yield found


@contextmanager
def running(data: Path, statedir: Path) -> Iterator[Published]:
    """Publish a directory or file, behind a proxy."""
    service = InThread(data, statedir)
    service.ready()
    try:
        with Proxy(int(service.url.rpartition(":")[2])) as proxy:
            yield Published(service, proxy, data)
    finally:
        service.stop()


@pytest.fixture
def published(served: Published) -> Iterator[Published]:
    with Proxy(served.proxy.target) as proxy:
        yield replace(served, proxy=proxy)


@dataclass(frozen=True)
class Reader:
    """What of a subscriber reads from publishers, with an empty cache."""

    fetcher: Fetcher
    store: ChunkStore
    upstream: Upstream
    threads: Threads
    metrics: Metrics
    address: str

    def open(self, entry: ManifestEntry) -> PublishedResource:
        """Return a version as requests of people see it."""
        known = Entry("foo", entry.path, "e", entry.etag, entry.kind, entry.nbytes, entry.mtime, entry.seq, entry.info)
        return PublishedResource(known, Freshness(), self.target(entry), self.fetcher, self.threads, "somebody")

    def target(self, entry: ManifestEntry) -> Target:
        """Return the same as fetchers see it."""
        layout = layout_of(entry.kind, entry.info)
        return Target(
            key=VersionKey("foo", "e", entry.path, entry.etag),
            layout=layout,
            publisher=self.upstream.publisher(self.address),
            chunk_cbytes=entry.info["schunk"]["cbytes"] // layout.nchunks,
            changed=lambda: LOST.append("changed"),
            lost=lambda: LOST.append("lost"),
        )

    def count(self, name: str) -> float:
        """Return the value of a counter."""
        lines = self.metrics.exposition().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"caterva2_{name}_total"))


@asynccontextmanager
async def reader_of(address: str, directory: Path, **upstream_settings: Any) -> AsyncIterator[Reader]:
    """Open a reader of the publisher at an address; it ends with nothing left behind."""
    configured = SubscriberSettings(broker="localhost:8000", upstream={"attempts": 2, **upstream_settings})
    threads, metrics = Threads(2), Metrics()
    store = ChunkStore(directory / "cache", size=2**28, low=2**27)
    store.open()
    identity = make_identity(directory / "sub", Role.SUBSCRIBER)
    upstream = Upstream(configured.upstream, identity, configured.publisher_rules())
    fetcher = Fetcher(store, configured.upstream, threads, metrics, Economy(metrics))
    LOST.clear()
    try:
        yield Reader(fetcher, store, upstream, threads, metrics, address)
        await settled(fetcher)
    finally:
        await fetcher.close()
        await upstream.close()
        store.close()
        threads.close()


async def settled(fetcher: Fetcher) -> None:
    """Wait until nothing is under way: readers get their chunks a moment before the cache does."""
    async with asyncio.timeout(30):
        while fetcher._flights:
            await asyncio.sleep(0.01)


@pytest.fixture
async def reader(published: Published, tmp_path: Path) -> AsyncIterator[Reader]:
    async with reader_of(f"localhost:{published.proxy.port}", tmp_path) as opened:
        yield opened


async def read(reader: Reader, entry: ManifestEntry, text: str) -> tuple[np.ndarray[Any, Any], PublishedResource]:
    """Read a window as a request of its own."""
    resource = reader.open(entry)
    return await resource.read(select(text, tuple(entry.info["shape"])), alone=True), resource


async def test_a_small_window_of_a_large_chunk_moves_a_block(published: Published, reader: Reader) -> None:
    entry, (_, before) = published.entry("large.b2nd"), published.served()
    target = reader.target(entry)
    found, resource = await read(reader, entry, "510:520, 510:520")
    np.testing.assert_array_equal(found, ARRAY[510:520, 510:520])
    moved = published.served()[1] - before
    assert moved < 2 * ARRAY.nbytes / 400
    assert resource.usage.source == "link"
    assert resource.usage.link_bytes == reader.count("link_bytes") == pytest.approx(moved, abs=100)
    assert (reader.count("link_parts"), reader.count("link_chunks")) == (1, 0)
    assert reader.store.missing(target.key, [0]) == [0], "a part is never in the cache"
    # What is in memory is not asked for again.
    found, resource = await read(reader, entry, "500:550, 549")
    np.testing.assert_array_equal(found, ARRAY[500:550, 549])
    assert resource.usage.source == "cache"
    assert published.served()[1] - before == moved


async def test_who_comes_back_for_more_gets_the_chunk(published: Published, reader: Reader) -> None:
    entry, (_, before) = published.entry("large.b2nd"), published.served()
    sources = []
    for start in (10, 210, 410, 610, 810):
        found, resource = await read(reader, entry, f"{start}:{start + 5}, 7:9")
        np.testing.assert_array_equal(found, ARRAY[start : start + 5, 7:9])
        sources.append(resource.usage.source)
        await settled(reader.fetcher)
    assert sources == ["link", "link", "link", "cache", "cache"]
    assert (reader.count("link_parts"), reader.count("link_chunks")) == (2, 1)
    assert published.served()[1] - before < 1.1 * CHUNK_BYTES


@pytest.mark.parametrize("step", [7, 130, 249])
async def test_a_walk_costs_at_most_half_as_much_again(published: Published, reader: Reader, step: int) -> None:
    entry, (_, before) = published.entry("large.b2nd"), published.served()
    for start in range(0, SIDE, step):
        found, _ = await read(reader, entry, f"{start}:{start + step}, 1:")
        np.testing.assert_array_equal(found, ARRAY[start : start + step, 1:])
    assert published.served()[1] - before <= 1.5 * CHUNK_BYTES


async def test_f23_fifty_readers_of_one_cold_window_cost_one_fetch(published: Published, reader: Reader) -> None:
    entry, (before, _) = published.entry("large.b2nd"), published.served()
    answers = await asyncio.gather(*(read(reader, entry, f"{400 + n % 5}:{405 + n % 5}, 3:9") for n in range(50)))
    for n, (found, _) in enumerate(answers):
        np.testing.assert_array_equal(found, ARRAY[400 + n % 5 : 405 + n % 5, 3:9])
    assert published.served()[0] - before == 1


async def test_f23_readers_of_other_windows_share_two_parts_and_the_chunk(published: Published, reader: Reader) -> None:
    entry, (before, _) = published.entry("large.b2nd"), published.served()
    answers = await asyncio.gather(*(read(reader, entry, f"{20 * n}:{20 * n + 3}, 3:9") for n in range(50)))
    for n, (found, _) in enumerate(answers):
        np.testing.assert_array_equal(found, ARRAY[20 * n : 20 * n + 3, 3:9])
    assert published.served()[0] - before == 3


async def test_windows_over_several_chunks_mix_parts_chunks_and_cache(published: Published, reader: Reader) -> None:
    entry = published.entry("four.b2nd")
    await reader.open(entry).chunk(0)
    await settled(reader.fetcher)
    found, resource = await read(reader, entry, "490:900, 490:510")
    np.testing.assert_array_equal(found, ARRAY[490:900, 490:510])
    assert resource.usage.source == "mixed"
    assert reader.count("link_parts") == 3
    wide, _ = await read(reader, entry, "490:510, 3:997")
    np.testing.assert_array_equal(wide, ARRAY[490:510, 3:997])


@pytest.mark.parametrize(
    ("path", "expected"),
    [("zeros.b2nd", np.zeros_like(ARRAY)), ("small.b2nd", ARRAY), ("dictionary.b2nd", (ARRAY * 100).astype("<i4"))],
    ids=["zeros", "small", "dictionary"],
)
async def test_what_cannot_be_taken_apart_or_is_small_comes_whole(
    published: Published, reader: Reader, path: str, expected: np.ndarray[Any, Any]
) -> None:
    entry = published.entry(path)
    found, _ = await read(reader, entry, "30:35, 7:9")
    np.testing.assert_array_equal(found, expected[30:35, 7:9])
    await settled(reader.fetcher)
    assert (reader.count("link_parts"), reader.count("link_chunks")) == (0, 1)
    assert reader.store.missing(reader.target(entry).key, [0]) == []


async def test_chunks_of_hdf5_come_in_parts_too(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "lab.h5", "w") as file:
        file.create_dataset("blosc2", data=ARRAY, chunks=ARRAY.shape, **hdf5plugin.Blosc2())
        file.create_dataset("gzip", data=ARRAY, chunks=ARRAY.shape, compression="gzip", compression_opts=1)
    with running(tmp_path / "lab.h5", tmp_path / "pub") as lab:
        for name in ("blosc2.b2nd", "gzip.b2nd"):
            async with reader_of(f"localhost:{lab.proxy.port}", tmp_path / name) as reader:
                entry = lab.entry(name)
                found, _ = await read(reader, entry, "300:310, 300:310")
                np.testing.assert_array_equal(found, ARRAY[300:310, 300:310])
                assert (reader.count("link_parts"), reader.count("link_chunks")) == (1, 0), name


async def test_what_is_pinned_or_turned_off_comes_whole(published: Published, tmp_path: Path) -> None:
    entry, address = published.entry("large.b2nd"), f"localhost:{published.proxy.port}"
    async with reader_of(address, tmp_path / "pinned") as reader:
        reader.store.pin("foo/large.b2nd")
        await read(reader, entry, "1:3, 1:3")
        assert (reader.count("link_parts"), reader.count("link_chunks")) == (0, 1)
    async with reader_of(address, tmp_path / "off", parts=0) as reader:
        await read(reader, entry, "1:3, 1:3")
        assert (reader.count("link_parts"), reader.count("link_chunks")) == (0, 1)


async def test_a_read_that_is_not_alone_fetches_chunks(published: Published, reader: Reader) -> None:
    entry = published.entry("large.b2nd")
    await reader.open(entry).read(select("1:3, 1:3", ARRAY.shape))
    assert (reader.count("link_parts"), reader.count("link_chunks")) == (0, 1)


async def test_a_plan_says_what_a_window_then_costs(published: Published, reader: Reader) -> None:
    entry = published.entry("four.b2nd")
    for text in ("10:20, 10:20", "20:30, 90:95", "490:510, 490:510", "10:20, 10:20", "3:300, 3:300", "20:30, 600:605"):
        resource = reader.open(entry)
        planned = resource.link_bytes(select(text, ARRAY.shape))
        await resource.read(select(text, ARRAY.shape), alone=True)
        assert resource.usage.link_bytes == pytest.approx(planned, rel=0.1, abs=2000), text
        await settled(reader.fetcher)


# --- versions ---------------------------------------------------------------------
async def test_f15_parts_of_an_old_version_are_never_mixed_with_a_new_one(published: Published, reader: Reader) -> None:
    old = published.entry("edited.b2nd")
    await read(reader, old, "10:20, 10:20")
    changed = ARRAY + 1
    published.replace("edited.b2nd", changed)
    with pytest.raises(VersionChanged):
        await read(reader, old, "10:20, 40:60")
    assert LOST == ["changed"]
    for text, key in (("10:20, 10:20", np.s_[10:20, 10:20]), ("10:20, 40:60", np.s_[10:20, 40:60])):
        found, _ = await read(reader, published.entry("edited.b2nd"), text)
        np.testing.assert_array_equal(found, changed[key])


async def test_f15_windows_read_while_the_file_is_replaced_are_of_one_version(
    published: Published, tmp_path: Path
) -> None:
    def content(version: int) -> np.ndarray[Any, Any]:
        return np.full((SIDE, SIDE), version, "<f4") + ARRAY / 10

    published.replace("edited.b2nd", content(10))
    versions = [content(10 * n) for n in range(1, 5)]

    def replace() -> None:
        for version in versions[1:]:
            published.replace("edited.b2nd", version)

    seen = set()
    replacing = asyncio.create_task(asyncio.to_thread(replace))
    async with reader_of(f"localhost:{published.proxy.port}", tmp_path) as reader:
        while len(seen) < len(versions) and not (replacing.done() and len(versions) in seen):
            entry = await asyncio.to_thread(published.entry, "edited.b2nd")
            try:
                found, _ = await read(reader, entry, f"{len(seen)}:60, 45:55")
            except VersionChanged:
                continue
            matches = [n for n, each in enumerate(versions, 1) if np.array_equal(found, each[len(seen) : 60, 45:55])]
            assert matches, "never mixed"
            seen.update(matches)
    await replacing
    assert len(versions) in seen


# --- links that fail ---------------------------------------------------------------------
async def test_f13_a_part_that_is_damaged_on_the_way_is_fetched_again(published: Published, reader: Reader) -> None:
    entry = published.entry("large.b2nd")
    damaged: list[bytes] = []

    def once(piece: bytes) -> bytes:
        if len(piece) < 5000 or damaged:
            return piece
        damaged.append(piece)
        return piece[:-2000] + bytes([piece[-2000] ^ 1]) + piece[-1999:]

    published.proxy.change = once
    found, _ = await read(reader, entry, "510:520, 510:520")
    np.testing.assert_array_equal(found, ARRAY[510:520, 510:520])
    assert damaged
    assert reader.count("link_rejected") == 1


@pytest.mark.parametrize("behind", [200, 1000, 3000])
async def test_f13_parts_that_are_always_damaged_are_never_served(
    published: Published, reader: Reader, behind: int
) -> None:
    entry = published.entry("large.b2nd")

    def change(piece: bytes) -> bytes:
        return piece[:-behind] + bytes([piece[-behind] ^ 4]) + piece[-behind + 1 :] if len(piece) > 5000 else piece

    published.proxy.change = change
    with pytest.raises(UpstreamInvalid):
        await read(reader, entry, "510:520, 510:520")
    published.proxy.heal()
    with pytest.raises(UpstreamInvalid, match="asked again in a while"):
        await read(reader, entry, "510:520, 510:520")


async def test_f13_a_part_that_is_cut_off_is_fetched_again_or_an_honest_error(
    published: Published, reader: Reader
) -> None:
    entry = published.entry("large.b2nd")
    published.proxy.cut_after = 4000
    published.proxy.drop()
    with pytest.raises((UpstreamUnavailable, UpstreamInvalid)):
        await read(reader, entry, "510:520, 510:520")
    published.proxy.heal()
    published.proxy.drop()
    other = published.entry("four.b2nd")
    found, _ = await read(reader, other, "510:520, 510:520")
    np.testing.assert_array_equal(found, ARRAY[510:520, 510:520])


async def test_readers_that_go_away_end_the_request_and_leave_nothing(published: Published, reader: Reader) -> None:
    entry = published.entry("large.b2nd")
    published.proxy.stall = True
    tasks = [asyncio.create_task(read(reader, entry, "510:520, 510:520")) for _ in range(3)]
    while not reader.fetcher._flights:
        await asyncio.sleep(0.01)
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    assert reader.fetcher._flights, "the others still wait"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not reader.fetcher._flights
    published.proxy.heal()
    found, _ = await read(reader, entry, "510:520, 510:520")
    np.testing.assert_array_equal(found, ARRAY[510:520, 510:520])


def post(published: Published, path: str, **options: Any) -> httpx.Response:
    return httpx.post(published.service.url + path, trust_env=False, timeout=30, **options)


# --- other ages ---------------------------------------------------------------------
class OldChunksRequest(wire.Request):
    """Body of ``POST /api/chunks/{path}`` before there were parts."""

    ranges: list[tuple[int, int]] = Field(default_factory=list)
    skeleton: bool = False


@pytest.fixture
def old_publisher(published: Published) -> Iterator[tuple[str, list[str]]]:
    """Address of a publisher that knows no parts, and the bodies that it did not understand."""
    app, refused = FastAPI(), []

    @app.middleware("http")
    async def look(request: Any, call_next: Callable[[Any], Any]) -> Any:
        body = await request.body()
        answer = await call_next(request)
        if answer.status_code == 422:
            refused.append(body.decode())
        return answer

    @app.post("/api/chunks/{path:path}")
    def chunks(path: str, request: OldChunksRequest) -> Response:
        with DirectoryRoot(published.data).open(path) as source:
            numbers = [n for start, stop in request.ranges for n in range(start, stop)]
            found = [(n, source.chunk(n)) for n in numbers]
            body = b"".join(wire.encode_frame_header(n, len(data), digest(data)) + data for n, data in found)
            return Response(body + wire.encode_end(len(found)), headers={"etag": f'"{source.etag}"'})

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="localhost", port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, timeout_s=20, what="the old publisher serves")
    yield f"localhost:{port}", refused
    server.should_exit = True
    thread.join()


async def test_an_older_publisher_is_asked_for_parts_once_and_then_for_chunks(
    published: Published, old_publisher: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, refused = old_publisher
    async with reader_of(address, tmp_path) as reader:
        for path in ("large.b2nd", "four.b2nd"):
            found, resource = await read(reader, published.entry(path), "510:520, 510:520")
            np.testing.assert_array_equal(found, ARRAY[510:520, 510:520])
            assert resource.usage.source == "link"
        assert [json.loads(body)["parts"][0]["chunk"] for body in refused] == [0]
        assert (reader.count("link_parts"), reader.count("link_chunks")) == (0, 2)


def test_an_older_subscriber_gets_the_chunks_that_it_asks_for(published: Published) -> None:
    body = OldChunksRequest(ranges=[(0, 2)]).model_dump_json()
    answer = post(published, "/api/chunks/four.b2nd", content=body, headers={"content-type": "application/json"})
    decoder = wire.FrameDecoder()
    frames = list(decoder.feed(answer.content))
    decoder.close()
    with DirectoryRoot(published.data).open("four.b2nd") as source:
        assert [(frame.index, frame.data) for frame in frames] == [(n, source.chunk(n)) for n in (0, 1)]


@pytest.mark.parametrize(
    ("part", "status"),
    [
        ({"chunk": 4, "blocks": [[0, 1]]}, 404),
        ({"chunk": -1, "blocks": [[0, 1]]}, 404),
        ({"chunk": 0, "blocks": []}, 400),
        ({"chunk": 0, "blocks": [[3, 3]]}, 400),
        ({"chunk": 0, "blocks": [[-1, 3]]}, 400),
        ({"chunk": 0, "blocks": [[5, 7], [6, 8]]}, 400),
        ({"chunk": 0, "blocks": [[0, 10**7]]}, 413),
        ({"chunk": 0}, 422),
    ],
)
def test_parts_that_make_no_sense_are_refused(published: Published, part: dict[str, Any], status: int) -> None:
    answer = post(published, "/api/chunks/four.b2nd", json={"parts": [part]})
    assert answer.status_code == status, answer.text


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, SIDE - 1), st.integers(1, 120), st.integers(1, 60)), min_size=1, max_size=6))
def test_any_windows_read_over_the_link_are_what_numpy_selects(
    served: Published, tmp_path_factory: pytest.TempPathFactory, windows: list[tuple[int, int, int]]
) -> None:
    entry = served.entry("four.b2nd")

    async def check() -> None:
        address = f"localhost:{served.proxy.port}"
        async with reader_of(address, tmp_path_factory.mktemp("windows")) as reader:
            keys = [(slice(a, a + n, 1 + n % 3), slice(a // s, a // s + s)) for a, n, s in windows]
            texts = [f"{r.start}:{r.stop}:{r.step}, {c.start}:{c.stop}" for r, c in keys]
            answers = await asyncio.gather(*(read(reader, entry, text) for text in texts))
            for key, (found, _) in zip(keys, answers, strict=True):
                np.testing.assert_array_equal(found, ARRAY[key])

    asyncio.run(check())
