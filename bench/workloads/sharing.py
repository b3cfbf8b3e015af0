"""B7: the publisher is gone; B8: what the services weigh, also through large files and many minutes."""

from __future__ import annotations

import http.client
import random
import time
from collections.abc import Iterator
from pathlib import Path

from .. import load
from ..figures import Figure, Row, Unable, at_least, at_most
from .run import Run

PIECE = 2**20
LARGEST_MB = 300
REST_S = 3
"""Seconds after which a service at rest has given free memory back."""


def memory(run: Run) -> Iterator[Row]:
    """Resident memory after everything before."""
    for process, label in (("broker", "broker"), ("publisher data", "publisher"), ("subscriber", "subscriber")):
        if process not in run.site.processes:
            yield Unable(f"B8 {label}, now", "there is none")
            continue
        yield Figure(f"B8 {label}, now", run.site.resident_mb(process), "MB")
        yield Figure(f"B8 {label}, most", run.site.peak_mb(process), "MB", at_most(LARGEST_MB))


def offline(run: Run) -> Iterator[Row]:
    """Cached reads, before and after the publisher is killed. It stays dead: nothing may come after."""
    paths = run.windows("large.b2nd", 1000 if run.site.is_ours else 200)
    before = load.run(run.site, paths)
    run.site.kill("publisher data")
    after = load.run(run.site, paths, may_fail=True)
    share = 100 * (1 - after.failed / after.requests)
    yield Figure("B7 publisher dead, cached reads answered", share, "%", at_least(100), more_is_better=True)
    yield Figure("B7 p99 before", before.p99_ms, "ms")
    yield Figure("B7 p99 after", after.p99_ms, "ms")


def upload(run: Run) -> Iterator[Row]:
    """A large file of a user, up and down."""
    size = run.effort.upload
    name = f"B8 {size / 2**30:g} GiB"
    if not run.site.subscribes:
        yield Unable(f"{name}, upload", "not tried: it is measured without people")
        return
    file = run.site.directory / "upload.bin"
    _write(file, size)
    cookie = run.site.login()
    before = run.site.peak_mb()
    seconds = _upload(run.site.subscriber, file, cookie)
    yield Figure(f"{name}, upload", size / seconds / 1e6, "MB/s", more_is_better=True)
    rate = load.transfer(run.site.subscriber, "/api/download/@public/upload.bin")
    yield Figure(f"{name}, download", rate, "MB/s", more_is_better=True)
    yield Figure(f"{name}, most memory of the subscriber before", before, "MB")
    yield Figure(f"{name}, most memory of the subscriber after", run.site.peak_mb(), "MB", at_most(LARGEST_MB))


def soak(run: Run) -> Iterator[Row]:
    """Minutes of small and large reads and of listings; what is held is compared with that after a tenth of them."""
    if not run.site.is_ours:
        return
    large = [run.fetch("data", "large.b2nd", f"{n}:{n + 150}, 203:408, :") for n in range(0, 800, 50)]
    paths = [*run.windows("small.b2nd", 300), *large, "/api/list/data", "/api/info/data/large.b2nd"]
    name = f"B8 {run.effort.soak_s / 60:g} minutes of mixed reads"
    load.hammer(run.site, paths, clients=8, seconds=run.effort.soak_s / 10)
    time.sleep(REST_S)
    early, held = run.site.resident_mb(), run.site.held()
    found = load.hammer(run.site, paths, clients=8, seconds=run.effort.soak_s * 0.9)
    time.sleep(REST_S)
    yield Figure(name, found.per_s, "req/s", more_is_better=True)
    yield Figure(f"{name}, p99", found.p99_ms, "ms")
    yield Figure(f"{name}, growth of the subscriber", run.site.resident_mb() - early, "MB", at_most(15))
    now = run.site.held()
    for what, before, after, more in (
        ("open files", held.files, now.files, 16),
        ("threads", held.threads, now.threads, 4),
        ("locks", held.locks, now.locks, 2),
    ):
        yield Figure(f"{name}, {what} at the start", before, "")
        yield Figure(f"{name}, {what} at the end", after, "", at_most(before + more))


def _write(file: Path, size: int) -> None:
    # Numbers that do not compress, but differ in no way that matters from one piece to the next.
    piece = random.Random(0).randbytes(PIECE)
    with file.open("wb") as out:
        for _ in range(size // PIECE):
            out.write(piece)


def _upload(port: int, file: Path, cookie: str) -> float:
    """Send a form with one file, as every client does, and return the seconds until it was accepted."""
    boundary = "caterva2-bench"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="upload.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    connection = http.client.HTTPConnection("localhost", port, timeout=600)
    began = time.perf_counter()
    connection.putrequest("POST", "/api/upload/@public/upload.bin")
    connection.putheader("Cookie", cookie)
    connection.putheader("Content-Type", f"multipart/form-data; boundary={boundary}")
    connection.putheader("Content-Length", str(len(head) + file.stat().st_size + len(tail)))
    connection.endheaders()
    connection.send(head)
    with file.open("rb") as content:
        while piece := content.read(PIECE):
            connection.send(piece)
    connection.send(tail)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    assert answer.status == 200, (answer.status, said[:300])
    return time.perf_counter() - began
