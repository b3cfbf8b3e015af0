"""B4: how soon a change is known; B6: what it moves over the link."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import blosc2

from .. import load
from ..data import edit_one_chunk, small_dataset
from ..figures import Figure, Row, Unable, at_most
from .run import Run

READERS = 4


def propagation(run: Run) -> Iterator[Row]:
    """From the end of a write to ``/api/info`` at the subscriber, idle and while others read."""
    yield from _kinds(run, "idle", at_most(25))
    paths = [run.fetch("changes", "read.b2nd", f"{n}:{n + 10}, {n}:{n + 10}, {n % 25}") for n in range(0, 390, 5)]
    run.site.get(run.fetch("changes", "read.b2nd"))
    with load.background(run.site, paths, clients=READERS, at_most_s=run.effort.changes * run.effort.patience_s * 3):
        yield from _kinds(run, f"{READERS} readers", at_most(60))


def _kinds(run: Run, label: str, target: Any) -> Iterator[Row]:
    folder = run.site.sources["changes"] / "new"
    watcher = Watcher(run)
    files = [folder / f"{run.turn}-{label.replace(' ', '-')}-{n}.b2nd" for n in range(run.effort.changes)]
    small, larger = small_dataset(50), small_dataset(60)
    steps: dict[str, tuple[Callable[[Path], object], int | None]] = {
        "created": (lambda file: file.write_bytes(small), 50),
        "changed": (lambda file: file.write_bytes(larger), 60),
        "removed": (lambda file: file.unlink(), None),
    }
    for kind, (act, length) in steps.items():
        yield from watcher.measure(f"B4 {kind}, {label}", act, files, length, None if kind == "removed" else target)
    watcher.close()


class Watcher:
    """Makes changes and asks the subscriber for them on one connection that is kept."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._connection = http.client.HTTPConnection("localhost", run.site.subscriber, timeout=30)

    def measure(
        self, name: str, act: Callable[[Path], object], files: list[Path], length: int | None, target: Any
    ) -> Iterator[Row]:
        """Change files one after another; two that are not seen in time end it."""
        seen: list[float] = []
        lost = 0
        for file in files:
            act(file)
            seconds = self._seen(file, length)
            lost += seconds is None
            seen += [] if seconds is None else [seconds * 1000]
            if lost == 2:
                break
        if lost == 2 and not seen:
            yield Unable(f"{name}, p50", f"not seen within {self._run.effort.patience_s:g} s")
            return
        ordered = sorted(seen)
        yield Figure(f"{name}, p50", median(ordered), "ms", target)
        yield Figure(f"{name}, p99", ordered[int(len(ordered) * 0.99)], "ms", at_most(250))
        yield Figure(f"{name}, not seen", lost, "", at_most(0))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _seen(self, file: Path, length: int | None) -> float | None:
        """Return the seconds until info tells the length of the array in `file`, None for no file."""
        path = self._run.site.path("changes", f"new/{file.name}")
        began = time.perf_counter()
        while time.perf_counter() - began < self._run.effort.patience_s:
            self._connection.request("GET", f"/api/info/{path}")
            answer = self._connection.getresponse()
            content = answer.read()
            if length is None and answer.status == 404:
                return time.perf_counter() - began
            if length is not None and answer.status == 200 and json.loads(content)["shape"] == [length]:
                return time.perf_counter() - began
            time.sleep(0.001)
        return None


def edited(run: Run) -> Iterator[Row]:
    """One chunk of a thousand changed: what is moved until a reader has all of the new version."""
    name, path = "B6 one chunk of 1,000 changed, over the link until all is fresh", run.fetch("changes", "edited.b2nd")
    if run.site.name != "original":
        run.site.get(path)
    # The original, which is never fresh, needs most of a minute to fetch a thousand chunks.
    number = run.turn + 1
    before = run.site.traffic("changes")
    edit_one_chunk(run.site.sources["changes"] / "edited.b2nd", number)
    began = time.perf_counter()
    while not _is_fresh(run, number):
        if time.perf_counter() - began > run.effort.patience_s:
            yield Unable(name, f"still answers old numbers after {run.effort.patience_s:g} s")
            return
        time.sleep(0.01)
    run.site.get(path)
    moved = run.site.traffic("changes") - before
    yield Figure(name, moved.nbytes / 1000, "kB", at_most(40))
    yield Figure(f"{name}, time", (time.perf_counter() - began) * 1000, "ms")


def _is_fresh(run: Run, number: int) -> bool:
    frame = run.site.get(run.fetch("changes", "edited.b2nd", f"{number}:{number + 1}, 0:2, 0:2"))
    return bool((blosc2.ndarray_from_cframe(frame)[:] == number).all())
