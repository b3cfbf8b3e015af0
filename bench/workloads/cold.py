"""B2: what nobody has read yet; B5: and fifty ask for at once."""

from __future__ import annotations

from collections.abc import Iterator

from .. import load
from ..data import Data
from ..figures import Figure, Row, at_most, times
from .run import Run

COPIES = 4
"""Fresh copies that one turn reads, of arrays of small and of large chunks each."""
READERS = 50
MARGIN = 1.15
"""How much longer than its bytes take at the rate of the link an answer may take."""


def cold(run: Run) -> Iterator[Row]:
    """Small and large chunks, over a link."""
    copies = [run.turn * COPIES + n for n in range(COPIES)]
    yield from _hundred_small(run, copies)
    window = _seconds(run, run.data.cold("small100", copies[2]), "5:15, 5:15, 3")
    yield Figure("B2 10x10 of a cold array of small chunks", window * 1000, "ms")
    window = _seconds(run, run.data.cold("large10", copies[0]), "5:15, 5:15, 3")
    yield Figure("B2 10x10 of a cold array of large chunks", window * 1000, "ms", times(5) if _is_thin(run) else None)
    whole = _seconds(run, run.data.cold("large10", copies[1]), "0:1000, 0:100")
    yield Figure("B2 10 cold large chunks", whole * 1000, "ms", times(6) if _is_far(run) else None)


def _hundred_small(run: Run, copies: list[int]) -> Iterator[Row]:
    # Other sites were measured since this one's last turn, so that its connections have been idle for seconds.
    began = "first use" if not run.turn else "idle connection"
    targets = {"first use": times(30), "idle connection": times(45)} if _is_far(run) else {}
    if run.site.name == "original" and run.turn:
        return
    name = "B2 100 cold small chunks, {}"
    first = _seconds(run, run.data.cold("small100", copies[0]), "0:400, 0:400") * 1000
    yield Figure(name.format(began), first, "ms", targets.get(began))
    if run.site.name == "original":
        # It opens a connection for each request whatever came before; a turn takes a quarter of a minute at a distance.
        yield Figure(name.format("idle connection"), first, "ms")
    again = _seconds(run, run.data.cold("small100", copies[1]), "0:400, 0:400") * 1000
    target = times(90) if _is_far(run) else at_most(_limit_ms(run, run.data)) if _is_thin(run) else None
    yield Figure(name.format("back to back"), again, "ms", target)


def distant(run: Run) -> Iterator[Row]:
    """What is in the cache, or was told, is answered without the link: most of all when the link is long."""
    window = run.fetch("data", "small100.b2nd", "5:15, 5:15, 3")
    run.site.get(window)
    found = load.run(run.site, [window] * 30)
    yield Figure("B1 10x10, warm, the publisher at a distance", found.median_ms, "ms")
    found = load.run(run.site, [f"/api/info/{run.site.path('data', 'small100.b2nd')}"] * 30)
    yield Figure("B3 info, the publisher at a distance", found.median_ms, "ms")


def readers(run: Run) -> Iterator[Row]:
    """B5: many readers of one cold chunk."""
    path = run.fetch("data", run.data.cold("large10", run.turn * COPIES + 2), "5:15, 5:15, 3")
    before = run.site.traffic("data")
    found = load.run(run.site, [path] * READERS, clients=READERS)
    moved = run.site.traffic("data") - before
    yield Figure(f"B5 {READERS} readers of a cold chunk, requests to the publisher", moved.fetches, "", at_most(1))
    yield Figure(f"B5 {READERS} readers of a cold chunk, over the link", moved.nbytes / 1e6, "MB")
    yield Figure(f"B5 {READERS} readers of a cold chunk, the last answer", found.seconds * 1000, "ms")


def _seconds(run: Run, dataset: str, slice_: str) -> float:
    return load.run(run.site, [run.fetch("data", dataset, slice_)]).seconds


def _limit_ms(run: Run, data: Data) -> float:
    nbytes = (data.arrays / "small100.b2nd").stat().st_size
    return round(MARGIN * nbytes / (run.site.link.mbit * 125), -1)


def _is_far(run: Run) -> bool:
    return run.site.link.round_trip_ms > 0 and run.site.link.mbit >= 1000


def _is_thin(run: Run) -> bool:
    return run.site.link.mbit < 1000
