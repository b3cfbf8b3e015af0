"""HDF5 files read by confined processes (U5): the same data, and crashes that stay there."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

from caterva2.errors import ChunkNotFound, DatasetNotFound, Unavailable, UnsafeContent, VersionChanged
from caterva2_formats.confined import ConfinedHDF5
from caterva2_formats.hdf5 import Handles, open_member
from caterva2_formats.opening import OpenFile
from caterva2_formats.sandbox import Limits, Sandbox
from caterva2_formats.unfold import unfold
from demo.make_hdf5_example import make_hdf5_example
from tests.conformance.roots import read
from tests.support.processes import wait_until
from tests.unit.formats.arrays import same
from tests.unit.formats.test_hdf5 import writer
from tests.unit.formats.test_sandbox import helpers


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


@pytest.fixture
def confined(sandbox: Sandbox) -> Iterator[ConfinedHDF5]:
    confined = ConfinedHDF5(sandbox)
    yield confined
    confined.close()


@pytest.fixture
def example(tmp_path: Path) -> str:
    make_hdf5_example(tmp_path / "example.h5")
    return str(tmp_path / "example.h5")


def test_u5_confined_reading_gives_what_direct_reading_does(confined: ConfinedHDF5, example: str) -> None:
    handles = Handles()
    handle = handles.acquire(example)
    direct = unfold(handle)
    assert confined.unfold(example) == direct
    for entry in direct:
        if entry.member is None:
            continue
        with (
            open_member(handles, example, entry.member) as expected,
            confined.open_member(example, entry.member) as found,
        ):
            assert (found.etag, found.layout, found.info) == (expected.etag, expected.layout, expected.info)
            assert found.attributes == expected.attributes
            assert found.compresses == expected.compresses
            assert found.skeleton() is None
            assert same(read(found), read(expected))
    handles.release(handle)
    handles.close()


def test_u5_errors_are_those_of_direct_reading(confined: ConfinedHDF5, example: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFound):
        confined.open_member(example, "nothing")
    with pytest.raises(DatasetNotFound):
        confined.open_member(str(tmp_path / "missing.h5"), "x")
    with pytest.raises(UnsafeContent, match="no fixed size"):
        confined.open_member(example, "unsupported/vlstring")
    with confined.open_member(example, "scalar") as source, pytest.raises(ChunkNotFound):
        source.chunk(1)


def test_u5_a_crash_over_a_file_leaves_the_service_and_other_files_alone(
    confined: ConfinedHDF5, example: str, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.arange(5)
    with confined.open_member(str(tmp_path / "other.h5"), "x") as other:
        before = confined_processes()
        with confined.open_member(example, "arrays/2d-gzip") as source:
            (victim,) = [process for process in confined_processes() if process not in before]
            victim.suspend()
            with ThreadPoolExecutor(1) as pool:
                asked = pool.submit(source.chunk, 0)
                # One that is dead before it is asked is replaced.
                wait_until(source._handle._confined._lock.locked, timeout_s=30, what="the process is asked")
                victim.send_signal(signal.SIGSEGV)
                victim.resume()
                with pytest.raises(UnsafeContent, match="crash"):
                    asked.result()
            assert same(read(other), np.arange(5))
            assert len(source.chunk(0)) > 32


def confined_processes() -> list[psutil.Process]:
    return [process for helper in helpers() for process in helper.children()]


def test_u5_chunks_of_a_confined_process_are_checked(confined: ConfinedHDF5, example: str) -> None:
    with confined.open_member(example, "arrays/2d-gzip") as source:
        ask = source._handle.ask
        source._handle.ask = lambda question: ({}, ask(question)[1][:-1])  # type: ignore[method-assign]
        with pytest.raises(UnsafeContent):
            source.chunk(0)


def test_a_file_that_is_opened_after_the_end_is_closed_when_it_is_given_back(sandbox: Sandbox, example: str) -> None:
    before = confined_processes()
    confined = ConfinedHDF5(sandbox)
    confined.close()
    with confined.open_member(example, "scalar") as source:
        assert same(read(source), np.float64(123.456))
        (process,) = [process for process in confined_processes() if process not in before]
    wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE, timeout_s=30, what="its process at its end")


def test_f15_a_replaced_file_is_another_version(confined: ConfinedHDF5, example: str, tmp_path: Path) -> None:
    with confined.open_member(example, "scalar") as source:
        etag = source.etag
        with h5py.File(tmp_path / "new.h5", "w") as file:
            file["scalar"] = 1.0
        (tmp_path / "new.h5").rename(example)
        with pytest.raises(VersionChanged):
            source.chunk(0)
    with confined.open_member(example, "scalar") as source:
        assert source.etag != etag
        assert read(source) == 1.0


def test_u6_writers_are_respected(confined: ConfinedHDF5, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(10)
    with writer(path), pytest.raises(Unavailable) as caught:
        confined.open_member(str(path), "x")
    assert caught.value.retry_after_s
    with confined.open_member(str(path), "x") as source:
        assert same(read(source), np.arange(10) + 1)


def test_u7_the_opener_decides_what_is_opened(confined: ConfinedHDF5, example: str) -> None:
    opened: list[str] = []

    def opener() -> OpenFile:
        opened.append(example)
        return OpenFile(os.open(example, os.O_RDONLY | os.O_CLOEXEC), example)

    for _ in range(3):
        confined.open_member(example, "scalar", opener=opener).close()
    assert opened == [example]


def test_processes_end_with_their_files(example: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.h5" for i in range(4)]
    for i, path in enumerate(files):
        with h5py.File(path, "w") as file:
            file["x"] = i
    sandbox = Sandbox(Limits())
    before = helpers()
    confined = ConfinedHDF5(sandbox, limit=2)
    try:
        for i, path in enumerate(files * 2):
            with confined.open_member(str(path), "x") as source:
                assert read(source) == i % 4
        (helper,) = [process for process in helpers() if process not in before]
        children = helper.children()
        confined.close()
        psutil.wait_procs(children, timeout=5)
        assert [child for child in helper.children() if child.status() != psutil.STATUS_ZOMBIE] == []
    finally:
        sandbox.close()
