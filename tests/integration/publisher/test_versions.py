"""Every answer is one version of a file, whatever happens to the file meanwhile."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from caterva2 import errors, wire
from tests.integration.publisher.conftest import Publisher, blosc2, write_array

LONG = os.environ.get("CATERVA2_LONG", "") not in ("", "0")
SWAPS = 1000 if LONG else 150
SHAPE, CHUNKS = (64, 1000), (4, 1000)
NCHUNKS = 16


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("versions") / "root"
    write_array(root / "a.b2nd", np.full(SHAPE, 0), chunks=CHUNKS)
    return root


@pytest.fixture(scope="module")
def publisher(root: Path) -> Iterator[Publisher]:
    service = Publisher(root, root.parent / "pub", {})
    try:
        yield service.ready()
    finally:
        service.kill()


def version(number: int) -> np.ndarray:
    """All elements say which version they are of; noise keeps chunks from being special values."""
    return np.random.default_rng(number).integers(0, 1000, SHAPE) * 100_000 + number


def read_all(http: httpx.Client) -> set[int] | str:
    """Read all chunks in one answer; return the versions that its elements are of, or the code of the error."""
    answer = http.post("/api/chunks/a.b2nd", json={"ranges": [[0, NCHUNKS]], "skeleton": True})
    if answer.status_code != 200:
        assert answer.status_code in (412, 503, 422, 404), answer.text
        return str(answer.json()["code"])
    decoder = wire.FrameDecoder()
    try:
        frames = [frame for frame in decoder.feed(answer.content) if frame.index != wire.INDEX_SKELETON]
        decoder.close()
    except (errors.VersionChanged, errors.Unavailable, errors.UnsafeContent) as error:
        return error.code
    assert len(frames) == NCHUNKS
    found: set[int] = set()
    for frame in frames:
        found |= set((np.frombuffer(blosc2.decompress2(frame.data), np.int64) % 100_000).tolist())
    return found


def beside(change: Callable[[int], None], publisher: Publisher, swaps: int) -> list[set[int] | str]:
    """Read again and again while `change` is called `swaps` times."""
    done = threading.Event()

    def work() -> None:
        try:
            for number in range(1, swaps + 1):
                change(number)
        finally:
            done.set()

    worker = threading.Thread(target=work)
    worker.start()
    results: list[set[int] | str] = []
    with httpx.Client(base_url=publisher.url, trust_env=False, timeout=60) as http:
        for _ in itertools.takewhile(lambda _: not done.is_set(), itertools.count()):
            results.append(read_all(http))
    worker.join()
    return results


def check(results: list[set[int] | str]) -> None:
    read = [result for result in results if isinstance(result, set)]
    mixed = [result for result in read if len(result) != 1]
    assert not mixed, "an answer mixes versions"
    assert read, f"nothing could be read: {set(map(str, results))}"


def test_f15_a_file_replaced_while_it_is_read_is_never_mixed(publisher: Publisher, root: Path) -> None:
    versions = [write_array(root.parent / f"v{n}.b2nd", version(n), chunks=CHUNKS).read_bytes() for n in range(8)]

    def swap(number: int) -> None:
        other = root.parent / "next.b2nd"
        other.write_bytes(versions[number % 8])
        other.replace(root / "a.b2nd")
        if number % 3 == 0:
            threading.Event().wait(0.03)  # time in which it can be read

    check(beside(swap, publisher, SWAPS))


def test_f16_a_file_overwritten_in_place_is_never_mixed(publisher: Publisher, root: Path) -> None:
    # Without compression all versions are of one size: only time stamps tell them apart.
    versions = [
        write_array(root.parent / f"w{n}.b2nd", version(n), chunks=CHUNKS, cparams={"clevel": 0}).read_bytes()
        for n in range(8)
    ]
    assert len({len(data) for data in versions}) == 1
    (root / "a.b2nd").write_bytes(versions[0])

    def overwrite(number: int) -> None:
        with (root / "a.b2nd").open("r+b") as file:
            file.write(versions[number % 8])
        if number % 3 == 0:
            threading.Event().wait(0.03)  # time in which it can be read

    check(beside(overwrite, publisher, SWAPS))


def test_f16_a_file_truncated_while_it_is_read_harms_nobody(publisher: Publisher, root: Path) -> None:
    data = write_array(root.parent / "t.b2nd", version(1), chunks=CHUNKS).read_bytes()

    def truncate(number: int) -> None:
        (root / "a.b2nd").write_bytes(data)
        threading.Event().wait(0.02)
        os.truncate(root / "a.b2nd", len(data) * (number % 5) // 5)

    check(beside(truncate, publisher, SWAPS // 3))
    assert publisher.get("/healthz").status_code == 200


def test_a_reader_who_goes_away_leaves_the_source_to_the_next(publisher: Publisher, root: Path) -> None:
    big = np.random.default_rng(0).integers(0, 2**60, (64, 200_000))
    write_array(root / "big.b2nd", big, chunks=(1, 200_000), cparams={"clevel": 0})
    assert publisher.get("/api/info/big.b2nd").status_code in (200, 503)
    descriptors = Path(f"/proc/{publisher.pid}/fd")
    before = None
    for _ in range(12):
        with (
            httpx.Client(base_url=publisher.url, trust_env=False) as http,
            http.stream("POST", "/api/chunks/big.b2nd", json={"ranges": [[0, 64]]}) as answer,
        ):
            next(answer.iter_raw(100_000))
        before = before or len(list(descriptors.iterdir()))
    whole = httpx.post(f"{publisher.url}/api/chunks/big.b2nd", json={"ranges": [[0, 64]]}, trust_env=False, timeout=60)
    decoder = wire.FrameDecoder()
    assert [frame.index for frame in decoder.feed(whole.content)] == list(range(64))
    decoder.close()
    assert len(list(descriptors.iterdir())) <= before + 3
