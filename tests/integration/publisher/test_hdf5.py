"""An HDF5 file as a root."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from caterva2.events import Operation
from tests.integration.publisher.conftest import Followed, Publisher, blosc2
from tests.support.nats import NatsServer
from tests.support.processes import wait_until

STACK = np.arange(24_000, dtype=np.int32).reshape(10, 40, 60)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lab.h5"
    with h5py.File(path, "w") as h5:
        h5.create_dataset("scan/stack", data=STACK, chunks=(1, 40, 60), **hdf5plugin.Blosc2())
        h5.create_dataset("scan/gzip", data=STACK, chunks=(5, 40, 60), compression="gzip")
        h5.create_dataset("plain", data=np.arange(5.0))
        h5["plain"].attrs["unit"] = "eV"
    return path


@pytest.fixture
def lab(file: Path, tmp_path: Path, nats_server: NatsServer, follower: Followed) -> Iterator[Publisher]:
    # A process of its own: HDF5 keeps track of open files within a process.
    with Publisher(file, tmp_path / "pub", nats_server.environment()).ready("bus") as service:
        yield service


async def until_announced(follower: Followed, *paths: str) -> None:
    await follower.until_told(*[(Operation.CHANGED.value, path) for path in paths])
    follower.forget()


async def test_datasets_of_the_file_are_the_root(lab: Publisher) -> None:
    assert lab.list() == ["plain.b2nd", "scan/gzip.b2nd", "scan/stack.b2nd"]
    assert lab.get("/api/info/plain.b2nd").json()["schunk"]["vlmeta"] == {"unit": "eV"}
    for name in ("stack", "gzip"):
        info = lab.get(f"/api/info/scan/{name}.b2nd").json()
        rows = info["chunks"][0]
        chunk = lab.get(f"/api/download/scan/{name}.b2nd?nchunk=1").content
        found = np.frombuffer(blosc2.decompress2(chunk), np.int32)
        assert set(found[found > 0]) == set(STACK[rows : 2 * rows].ravel())


async def test_f17_a_file_that_is_being_written_answers_503_and_keeps_its_manifest(
    lab: Publisher, follower: Followed, file: Path
) -> None:
    await until_announced(follower, *lab.list())
    before = lab.manifest()
    with h5py.File(file, "a") as h5:
        h5["plain"][...] = 7
        h5.flush()
        answer = lab.get("/api/download/plain.b2nd?nchunk=0")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        time.sleep(0.5)
        assert lab.manifest() == before
    await follower.until_told((Operation.CHANGED.value, "plain.b2nd"), timeout_s=15)
    wait_until(
        lambda: lab.get("/api/download/plain.b2nd?nchunk=0").status_code == 200, timeout_s=5, what="readable again"
    )
    chunk = lab.get("/api/download/plain.b2nd?nchunk=0").content
    assert set(np.frombuffer(blosc2.decompress2(chunk), float)) == {7.0}


async def test_another_file_in_its_place_is_followed(lab: Publisher, follower: Followed, file: Path) -> None:
    await until_announced(follower, *lab.list())
    other = file.with_name("other.h5")
    with h5py.File(other, "w") as h5:
        h5.create_dataset("plain", data=np.arange(6.0))
        h5.create_dataset("new", data=np.arange(7.0))
    other.replace(file)
    await follower.until_told(
        (Operation.CHANGED.value, "plain.b2nd"),
        (Operation.CHANGED.value, "new.b2nd"),
        (Operation.REMOVED.value, "scan/stack.b2nd"),
        timeout_s=15,
    )
    assert lab.list() == ["new.b2nd", "plain.b2nd"]


async def test_f18_a_file_that_vanished_removes_nothing(lab: Publisher, follower: Followed, file: Path) -> None:
    await until_announced(follower, *lab.list())
    names = lab.list()
    aside = file.rename(file.with_name("aside.h5"))
    wait_until(lambda: not lab.manifest()[0]["online"], timeout_s=10, what="offline")
    assert (lab.list(), follower.told()) == (names, [])
    aside.rename(file)
    wait_until(lambda: lab.manifest()[0]["online"], timeout_s=10, what="online again")
    assert lab.list() == names


async def test_a_damaged_file_takes_the_root_offline_and_not_the_service(
    lab: Publisher, follower: Followed, file: Path
) -> None:
    await until_announced(follower, *lab.list())
    names = lab.list()
    file.write_bytes(b"no HDF5 any more")
    os.utime(file, (1, 1))  # not a file that is just being written
    wait_until(lambda: not lab.manifest()[0]["online"], timeout_s=30, what="offline")
    assert lab.list() == names
    assert lab.get("/api/download/plain.b2nd?nchunk=0").status_code in (422, 503)
