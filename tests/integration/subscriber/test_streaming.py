"""Large answers of what is not stored as a frame: begun before they are here, never in memory as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import blosc2
import h5py
import httpx
import numpy as np
import pytest

from tests.support.processes import Service
from tests.support.site import Site

from .published import counter, decode, fetch, noise, subscribe

ROWS, SIDE = 100, 512
"""Chunks, of 2 MB each."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("streaming")
    data = directory / "data"
    data.mkdir()
    with h5py.File(data / "lab.h5", "w") as h5:
        large = h5.create_dataset("large", shape=(ROWS, SIDE, SIDE), chunks=(1, SIDE, SIDE), dtype="f8")
        for row in range(ROWS):
            large[row] = noise(SIDE, SIDE, seed=row)
    with Site(directory / "site") as site:
        site.start(foo=data / "lab.h5")
        subscribe(site.subscriber, "foo", count=1)
        yield site


@pytest.fixture
def sub(site: Site) -> Service:
    return site.subscriber


def resident(service: Service, which: str) -> int:
    """Return the memory of a service in bytes, at present (``VmRSS``) or at most until now (``VmHWM``)."""
    status = Path(f"/proc/{service.pid}/status").read_text()
    return int(status.split(f"{which}:")[1].split()[0]) * 1024


def test_a_large_hdf5_dataset_begins_before_it_is_here_and_costs_little_memory(sub: Service, tmp_path: Path) -> None:
    fetch(sub, "foo/large.b2nd", "0, 0:10, 0:10")
    before = resident(sub, "VmRSS")
    body = tmp_path / "large.b2nd"
    with httpx.stream("GET", f"{sub.url}/api/fetch/foo/large.b2nd", trust_env=False, timeout=120) as answer:
        assert answer.status_code == 200
        pieces = answer.iter_raw(2**20)
        with body.open("wb") as file:
            file.write(next(pieces))
            assert counter(sub, "link_chunks_total") < ROWS * 3 // 4
            for piece in pieces:
                file.write(piece)
    assert body.stat().st_size == int(answer.headers["content-length"]) > ROWS * SIDE * SIDE * 8
    assert resident(sub, "VmHWM") - before < 120e6
    found = blosc2.open(str(body))
    assert (found.shape, found.chunks) == ((ROWS, SIDE, SIDE), (1, SIDE, SIDE))
    for row in (0, 1, ROWS // 2, ROWS - 1):
        np.testing.assert_array_equal(found[row], noise(SIDE, SIDE, seed=row))
    _compressed_when_it_is_here_and_resumed_as_it_began(sub, body.read_bytes(), answer.headers["etag"])


def _compressed_when_it_is_here_and_resumed_as_it_began(sub: Service, plain: bytes, tag: str) -> None:
    def part(**headers: str) -> httpx.Response:
        return sub.get("/api/fetch/foo/large.b2nd", headers={"range": "bytes=1000000-1000999", **headers}, timeout=120)

    resumed = part(**{"if-range": tag})
    assert (resumed.status_code, resumed.content) == (206, plain[1_000_000:1_001_000])
    stored = part()
    assert stored.status_code == 206
    assert stored.headers["etag"] != tag
    assert int(stored.headers["content-range"].rpartition("/")[2]) < len(plain)
    same = part(**{"if-range": stored.headers["etag"]})
    assert (same.status_code, same.content) == (206, stored.content)
    other = part(**{"if-range": '"another version"'})
    assert other.status_code == 200
    assert other.headers["etag"] == stored.headers["etag"]
    assert other.content[1_000_000:1_001_000] == stored.content
    assert sub.get("/api/fetch/foo/large.b2nd", headers={"if-none-match": tag}).status_code == 304


async def test_many_readers_of_large_slices_at_once_cost_little_memory(sub: Service) -> None:
    readers, rows = 32, 8
    fetch(sub, "foo/large.b2nd", "0, 0:10, 0:10")
    Path(f"/proc/{sub.pid}/clear_refs").write_text("5")  # the most memory is counted from here
    limits = httpx.Limits(max_connections=readers)
    async with httpx.AsyncClient(base_url=sub.url, trust_env=False, timeout=150, limits=limits) as http:

        async def read(first: int) -> np.ndarray:
            # 16 MiB of eight chunks, of which none is wanted as it is stored.
            answer = await http.get("/api/fetch/foo/large.b2nd", params={"slice_": f"{first}:{first + rows}, 1:"})
            answer.raise_for_status()
            return decode(answer.content)[::7, ::100]

        found = await asyncio.gather(*(read(first) for first in range(readers)))
    assert resident(sub, "VmHWM") < 300e6
    wanted = [noise(SIDE, SIDE, seed=row)[1:] for row in range(readers + rows)]
    for first, part in enumerate(found):
        np.testing.assert_array_equal(part, np.stack([wanted[first], wanted[first + 7]])[:, ::100])
    assert counter(sub, "answers_memory_bytes") == 0
