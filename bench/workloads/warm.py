"""B1: what is in the cache already."""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import environment

from .. import client_probe, load, nginx
from ..figures import Figure, Row, Unable, at_least, times
from .run import Run

CLIENTS = (1, 8, 32)
SIDE = 205
"""Edge of a window of all 100 planes that holds 16 MiB."""


def windows(run: Run) -> Iterator[Row]:
    """10x10 windows, asked for by 1, 8 and 32 clients."""
    for dataset, label, cpu in (("large.b2nd", "100 chunks", 20), ("small.b2nd", "2,500 chunks", 150)):
        if not run.turn:
            run.site.get(run.fetch("data", dataset))
        for clients in CLIENTS:
            # Of the others some answer so few requests in a second that 32 clients would see none at all.
            seconds = run.effort.seconds * (1 if run.site.is_ours else 1 + clients // 8)
            found = load.hammer(run.site, run.windows(dataset, 1000), clients=clients, seconds=seconds)
            if clients == 1:
                yield Figure(f"B1 10x10 of {label}, CPU of the subscriber", found.cpu_ms, "ms", times(cpu))
            target = times(30) if clients == 8 and dataset == "large.b2nd" else None
            name = f"B1 10x10 of {label}, {clients} client{'s' * (clients > 1)}"
            yield Figure(name, found.per_s, "req/s", target, more_is_better=True)


def slices(run: Run) -> Iterator[Row]:
    """Larger slices by plain REST."""
    fetch = functools.partial(run.fetch, "data", "large.b2nd")
    aligned = load.run(run.site, [fetch(f"{n * 100}:{n * 100 + 100}, 300:400, :") for n in range(10)] * 2)
    yield Figure("B1 one chunk, aligned, CPU of the subscriber", aligned.cpu_ms, "ms", times(3))
    yield Figure("B1 one chunk, aligned", aligned.median_ms, "ms")
    unaligned = load.run(run.site, [fetch(f"{n * 70 + 31}:{n * 70 + 131}, 250:350, :") for n in range(10)])
    yield Figure("B1 one chunk's size, unaligned", unaligned.median_ms, "ms")
    mib16 = [fetch(f"{n * 50 + 37}:{n * 50 + 37 + SIDE}, 203:{203 + SIDE}, :") for n in range(10)]
    found = load.run(run.site, mib16)
    yield Figure("B1 16 MiB, unaligned, CPU of the subscriber", found.cpu_ms, "ms")
    yield Figure("B1 16 MiB, unaligned", found.median_ms, "ms", times(4))
    for clients in CLIENTS[1:]:
        found = load.run(run.site, mib16 * 2, clients=clients)
        yield Figure(f"B1 16 MiB, unaligned, {clients} clients", found.per_s, "req/s", more_is_better=True)
    found = load.run(run.site, [fetch(f"{n * 100}:{n * 100 + 200}, 300:500, :") for n in range(8)])
    yield Figure("B1 15 MiB, aligned, CPU of the subscriber", found.cpu_ms, "ms", times(3))
    yield Figure("B1 15 MiB, aligned", found.median_ms, "ms")


def whole(run: Run) -> Iterator[Row]:
    """A whole dataset of 298 MB, beside nginx sending the same file."""
    path = run.fetch("data", "large.b2nd")
    rates = [load.transfer(run.site.subscriber, path) for _ in range(2)]
    yield Figure("B1 whole file", max(rates), "MB/s", times(2), more_is_better=True)
    name = "B1 whole file, as a share of nginx sending it"
    if not run.site.is_ours:
        return
    if nginx.PROGRAM is None:
        yield Unable(name, "nginx is not installed")
        return
    with tempfile.TemporaryDirectory() as folder, nginx.serving(run.data.arrays, Path(folder)) as port:
        beside = max(load.transfer(port, "/large.b2nd") for _ in range(2))
    yield Figure(name, max(rates) / beside, "", at_least(0.8), more_is_better=True)


def with_client(run: Run) -> Iterator[Row]:
    """The same with each project's own Python client, in a process of its own."""
    small = [[[n * 3, n * 3 + 10], [n * 2, n * 2 + 10], [n % 100, n % 100 + 1]] for n in range(200)]
    mib16 = [[[n * 50 + 37, n * 50 + 37 + SIDE], [203, 203 + SIDE], [0, 100]] for n in range(10)]
    # Large chunks hold twice the numbers of such a slice, small ones hardly more.
    for label, dataset, wanted, target in (
        ("10x10", "large.b2nd", small, None),
        ("16 MiB, unaligned", "large.b2nd", mib16, None),
        ("16 MiB, unaligned, of small chunks", "small.b2nd", mib16, times(20)),
    ):
        cpu = run.site.cpu_s()
        found = _probe(run, run.site.path("data", dataset), wanted)
        cpu_ms = (run.site.cpu_s() - cpu) * 1000 / len(wanted)
        yield Figure(f"B1 {label}, own client, CPU of the subscriber", cpu_ms, "ms", target)
        yield Figure(f"B1 {label}, own client, CPU of both", cpu_ms + found["cpu_ms"], "ms")
        yield Figure(f"B1 {label}, own client", found["median_ms"], "ms")


def _probe(run: Run, path: str, wanted: list[list[list[int]]]) -> dict[str, float]:
    command = [str(run.site.programs.python), client_probe.__file__, run.site.url, path]
    done = subprocess.run(
        command, input=json.dumps(wanted), capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, float] = json.loads(done.stdout)
    return found
