"""B3: what there is."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .. import load
from ..data import small_dataset
from ..figures import Figure, Row, Target, Unable, at_most, times
from .run import Run

LARGE = (20_000, 200_000)
CHANGED = 1000
_SUBSCRIBE = {20_000: at_most(3), 200_000: at_most(20)}


def catalogue(run: Run) -> Iterator[Row]:
    """A root of 2,000 datasets."""
    seconds = run.site.publish("many", run.data.many(2000))
    yield Figure("B3 publisher of 2,000, from its start until all are known", seconds, "s")
    name = "B3 subscribe to 2,000"
    if run.site.subscribes:
        with _others(run) as slowest:
            began = time.perf_counter()
            try:
                _follow(run, "many", 2000)
            except AssertionError:
                yield Unable(name, f"not done within {run.effort.catalogue_s:g} s")
                return
            seconds = time.perf_counter() - began
        yield Figure(name, seconds, "s", times(150))
        yield Figure(f"{name}, the slowest other answer meanwhile", slowest[0], "s")
    else:
        _follow(run, "many", 2000)
        yield Unable(name, "mounted by configuration, at its start")
    info = [f"/api/info/{run.site.path('many', '000/d0000007.b2nd')}"]
    found = load.hammer(run.site, info, clients=1, seconds=run.effort.seconds)
    yield Figure("B3 info, CPU of the subscriber", found.cpu_ms, "ms", times(6))
    found = load.run(run.site, [f"/api/list/{run.site.path('many')}"] * 20)
    yield Figure("B3 list of 2,000, CPU of the subscriber", found.cpu_ms, "ms", times(20))


def large(run: Run) -> Iterator[Row]:
    """A root of 20,000 datasets."""
    yield from _large(run, min(LARGE))


def largest(run: Run) -> Iterator[Row]:
    """A root of 200,000 datasets: ours alone, for some minutes."""
    yield from _large(run, max(LARGE))


def _large(run: Run, count: int) -> Iterator[Row]:
    name, root = f"{count:,}", f"many{count}"
    indexed = f"B3 publisher of {name}, from its start until all are known"
    if run.site.catalogue_limit < count:
        yield Unable(indexed, f"a peer has at most {run.site.catalogue_limit:,}")
        return
    if not run.site.is_ours and count > min(LARGE):
        yield Unable(indexed, "not tried")
        return
    target: Target | None = times(20) if count == min(LARGE) else None
    try:
        # Ours ends; the limit is for what may take hours.
        limit_s = 900 if run.site.is_ours else run.effort.catalogue_s
        seconds = run.site.publish(root, run.data.many(count), timeout_s=limit_s)
    except AssertionError:
        yield Unable(indexed, f"not done within {run.effort.catalogue_s:g} s")
        return
    yield Figure(indexed, seconds, "s", target)
    yield Figure(f"{indexed}, CPU", run.site.cpu_s(f"publisher {root}"), "s")
    if not run.site.is_ours:
        # Nor shall it react to the changes that are made for ours.
        run.site.stop(f"publisher {root}")
        yield Unable(f"B3 subscribe to {name}", "not tried: it takes ten times as long as 2,000, or more")
        return
    with _others(run) as slowest:
        began = time.perf_counter()
        _follow(run, root, count)
        seconds = time.perf_counter() - began
    yield Figure(f"B3 subscribe to {name}", seconds, "s", _SUBSCRIBE[count])
    yield Figure(f"B3 subscribe to {name}, the slowest other answer meanwhile", slowest[0], "s")
    for which in ("first", "later"):
        began = time.perf_counter()
        run.site.get(f"/api/search?root={run.site.path(root)}&q=d0000007+float")
        yield Figure(f"B3 {which} search in {name}", time.perf_counter() - began, "s")
    run.site.stop(f"publisher {root}")
    seconds = run.site.publish(root, run.site.sources[root])
    yield Figure(f"B3 publisher of {name}, restart", seconds, "s", at_most(1.5) if count == max(LARGE) else None)
    yield from _restarts(run, root, count)


def _restarts(run: Run, root: str, count: int) -> Iterator[Row]:
    run.site.stop("subscriber")
    began = time.perf_counter()
    run.site.start_subscriber()
    _wait_for(run, root, count)
    yield Figure(f"B3 subscriber of {count:,}, restart with nothing changed", time.perf_counter() - began, "s")
    if count > min(LARGE):
        return
    run.site.stop("subscriber")
    paths = _change(run, root)
    began = time.perf_counter()
    run.site.start_subscriber()
    for path in paths:
        while _length(run, root, path) != CHANGED:
            assert time.perf_counter() - began < 120, f"the change of {path} does not arrive"
            time.sleep(0.01)
    name = f"B3 subscriber of {count:,}, restart after {CHANGED:,} changes, until the info of each was read"
    yield Figure(name, time.perf_counter() - began, "s")


def _change(run: Run, root: str) -> list[str]:
    """Change datasets while the subscriber is down, and wait until the publisher must have seen them."""
    source = run.site.sources[root]
    content, original = small_dataset(CHANGED), small_dataset(100)
    files = sorted(source.rglob("*.b2nd"))[:: len(list(source.iterdir())) * 500 // CHANGED]
    for file in files:
        file.write_bytes(original)
    for file in files:
        file.write_bytes(content)
    time.sleep(2)
    return [str(file.relative_to(source)) for file in files]


def _length(run: Run, root: str, path: str) -> int:
    length: int = json.loads(run.site.get(f"/api/info/{run.site.path(root, path)}"))["shape"][0]
    return length


def _follow(run: Run, root: str, count: int) -> None:
    run.site.subscribe(root, timeout_s=900 if run.site.is_ours else run.effort.catalogue_s)
    _wait_for(run, root, count)


def _wait_for(run: Run, root: str, count: int) -> None:
    end = time.monotonic() + 900
    while run.site.listed(root) < count:
        assert time.monotonic() < end, f"{root} is not listed"
        time.sleep(0.02)


@contextmanager
def _others(run: Run) -> Iterator[list[float]]:
    """Ask for the roots again and again beside the block, and note the longest that an answer took."""
    slowest, stop = [0.0], threading.Event()

    def ask() -> None:
        while not stop.wait(0.01):
            began = time.perf_counter()
            with suppress(AssertionError):
                run.site.get("/api/roots", timeout_s=run.effort.catalogue_s)
            slowest[0] = max(slowest[0], time.perf_counter() - began)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield slowest
    finally:
        stop.set()
        thread.join()
