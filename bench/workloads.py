"""The workloads of docs/performance.md. Each measures one site once; the runner alternates the sites."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from . import load
from .data import Data
from .sites import Site


@dataclass(frozen=True)
class Figure:
    """One number of a workload; smaller is better unless `more_is_better`."""

    name: str
    value: float
    unit: str
    more_is_better: bool = False


Workload = Callable[[Site, Data, int], Iterator[Figure]]
"""Called with the site, its data, and the number of the round."""


def _fetch(path: str, slice_: str | None = None) -> str:
    return f"/api/fetch/data/{path}" + (f"?slice_={quote(slice_)}" if slice_ else "")


def _windows(dataset: str, count: int, shape: tuple[int, ...], *, seed: int) -> list[str]:
    rng = random.Random(seed)
    starts = [
        (rng.randrange(1000 - shape[0]), rng.randrange(1000 - shape[1]), rng.randrange(100)) for _ in range(count)
    ]
    return [
        _fetch(dataset, f"{a}:{a + shape[0]}, {b}:{b + shape[1]}" + (f", {c}" if len(shape) == 2 else ""))
        for a, b, c in starts
    ]


def warm_windows(site: Site, data: Data, turn: int) -> Iterator[Figure]:
    """B1: 10x10 windows of an array in the cache."""
    for dataset, label in (("large.b2nd", "100 chunks"), ("small.b2nd", "2,500 chunks")):
        if not turn:
            site.get(_fetch(dataset))
        count = 1000 if site.is_ours else 150
        alone = load.run(site, _windows(dataset, count, (10, 10), seed=turn))
        yield Figure(f"B1 10x10 of {label}, CPU", alone.cpu_ms, "ms")
        crowd = load.run(site, _windows(dataset, count, (10, 10), seed=turn), clients=8)
        yield Figure(f"B1 10x10 of {label}, 8 clients", crowd.per_s, "req/s", more_is_better=True)


def warm_slices(site: Site, data: Data, turn: int) -> Iterator[Figure]:
    """B1: larger slices of an array in the cache."""
    if not turn:
        site.get(_fetch("large.b2nd"))
    chunk = [_fetch("large.b2nd", f"{n * 100}:{n * 100 + 100}, 300:400, :") for n in range(10)]
    found = load.run(site, chunk * 2)
    yield Figure("B1 one chunk, aligned, CPU", found.cpu_ms, "ms")
    yield Figure("B1 one chunk, aligned", found.median_ms, "ms")
    found = load.run(site, [_fetch("large.b2nd", f"{n * 70 + 31}:{n * 70 + 131}, 250:350, :") for n in range(10)])
    yield Figure("B1 one chunk's size, unaligned", found.median_ms, "ms")
    mib16 = [_fetch("large.b2nd", f"{n * 50 + 37}:{n * 50 + 242}, 203:408, :") for n in range(10)]
    found = load.run(site, mib16)
    yield Figure("B1 16 MiB, unaligned, CPU", found.cpu_ms, "ms")
    yield Figure("B1 16 MiB, unaligned", found.median_ms, "ms")
    found = load.run(site, mib16, clients=4)
    yield Figure("B1 16 MiB, unaligned, 4 clients", found.per_s, "req/s", more_is_better=True)
    found = load.run(site, [_fetch("large.b2nd", f"{n * 100}:{n * 100 + 200}, 300:500, :") for n in range(8)])
    yield Figure("B1 15 MiB, aligned", found.median_ms, "ms")
    found = load.run(site, [_fetch("large.b2nd")])
    yield Figure("B1 whole file", found.nbytes / found.seconds / 1e6, "MB/s", more_is_better=True)


def cold(site: Site, data: Data, turn: int) -> Iterator[Figure]:
    """B2: what nobody has read yet, over a link."""
    small, large = data.cold("small100", turn), data.cold("large10", turn)
    found = load.run(site, [_fetch(small, "5:10, 5:10, 3")])
    yield Figure("B2 one cold small chunk", found.seconds * 1000, "ms")
    found = load.run(site, [_fetch(small, "0:400, 0:400")])
    yield Figure("B2 100 cold small chunks", found.seconds * 1000, "ms")
    found = load.run(site, [_fetch(large, "5:10, 5:10, 3")])
    yield Figure("B2 one cold large chunk", found.seconds * 1000, "ms")
    found = load.run(site, [_fetch(large, "0:1000, 0:100")])
    yield Figure("B2 10 cold large chunks", found.seconds * 1000, "ms")


def catalogue(site: Site, data: Data, turn: int) -> Iterator[Figure]:
    """B3: what there is."""
    found = load.run(site, ["/api/info/data/large.b2nd"] * 200)
    yield Figure("B3 info, CPU", found.cpu_ms, "ms")
    if not turn:
        began = time.perf_counter()
        site.post("/api/subscribe/many", timeout_s=900)
        while not json.loads(site.get("/api/list/many")):
            time.sleep(0.05)
        yield Figure("B3 subscribe to 2,000", (time.perf_counter() - began) * 1000, "ms")
    found = load.run(site, ["/api/list/many"] * 20)
    yield Figure("B3 list of 2,000, CPU", found.cpu_ms, "ms")


def memory(site: Site, data: Data, turn: int) -> Iterator[Figure]:
    """B8: resident memory after everything before."""
    yield Figure("B8 subscriber, resident", site.resident_mb(), "MB")
    yield Figure("B8 publisher, resident", site.resident_mb("publisher data"), "MB")


WORKLOADS: dict[str, Workload] = {
    "windows": warm_windows,
    "slices": warm_slices,
    "cold": cold,
    "catalogue": catalogue,
    "memory": memory,
}
