"""The sandbox (U3, U9): verdicts about files, and what happens when looking at one goes wrong."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import blosc2
import h5py
import hdf5plugin
import numpy as np
import psutil
import pytest

from caterva2.errors import Unavailable, UnsafeContent
from caterva2.wire import Kind
from caterva2_formats import sandbox as sandbox_module
from caterva2_formats.inspection import Verdict
from caterva2_formats.sandbox import Limits, Sandbox
from demo.make_root_example import make_root_example


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    examples = tmp_path_factory.mktemp("examples")
    make_root_example(examples)
    return examples


def test_u9_every_good_file_passes(sandbox: Sandbox, examples: Path) -> None:
    verdicts = {
        path.relative_to(examples).as_posix(): sandbox.inspect(path, path.name)
        for path in examples.rglob("*")
        if path.is_file()
    }
    assert verdicts["ds-1d.b2nd"] == Verdict(Kind.ARRAY, 8000)
    assert verdicts["root-example.h5"] == Verdict(Kind.HDF5, (examples / "root-example.h5").stat().st_size, 13)
    assert verdicts["ds-hello.b2frame"] == Verdict(Kind.FRAME, 1200)
    assert verdicts["README.md"].kind is Kind.FILE
    assert len(verdicts) == 12


def test_u9_packed_files_pass(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "x.b2").write_bytes(blosc2.SChunk(data=b"text" * 50).to_cframe())
    assert sandbox.inspect(tmp_path / "x.b2", "x", packed=True) == Verdict(Kind.FILE, 200)


@pytest.mark.parametrize("name", ["x.b2nd", "x.b2frame", "x.h5"])
@pytest.mark.parametrize("content", [b"", b"junk" * 1000])
def test_f20_files_that_are_something_else_are_refused(
    sandbox: Sandbox, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnsafeContent, match="not a"):
        sandbox.inspect(tmp_path / name, name)


def test_f20_chunks_that_are_damaged_are_found(sandbox: Sandbox, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 100, 10_000)
    content = bytearray(blosc2.asarray(array, chunks=(1000,), blocks=(1000,)).to_cframe())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    (tmp_path / "x.b2nd").write_bytes(content)
    with pytest.raises(UnsafeContent):
        sandbox.inspect(tmp_path / "x.b2nd", "x.b2nd")


def test_u3_stores_that_blosc2_would_execute_are_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.b2nd", "w") as archive:
        archive.writestr("_meta.b2f", b"x" * 1000)
    with pytest.raises(UnsafeContent, match="not a Blosc2 frame"):
        sandbox.inspect(tmp_path / "x.b2nd", "x.b2nd")


def test_u5_hdf5_files_that_lead_elsewhere_give_nothing_away(sandbox: Sandbox, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["good"] = np.arange(5)
        file.create_dataset("stolen", (100,), dtype="S10", external=[("/etc/passwd", 0, 1000)])
        file["link"] = h5py.ExternalLink("/etc/passwd", "x")
        file.create_dataset("bits", data=np.arange(1000), chunks=(100,), **hdf5plugin.Bitshuffle())
    assert sandbox.inspect(tmp_path / "x.h5", "x.h5").ndatasets == 1


def test_f19_bombs_are_refused_within_their_limits(tmp_path: Path) -> None:
    sandbox = Sandbox(Limits(memory_bytes=100 * 2**20))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        # Within the limits of a single chunk, but more than this sandbox allows.
        file.create_dataset("x", data=np.zeros(60 * 2**20, "u1"), chunks=(60 * 2**20,), compression="gzip")
        file.create_dataset("huge", (2**30,), chunks=(2**30,), dtype="u1", compression="gzip")
    try:
        assert (tmp_path / "x.h5").stat().st_size < 2**20
        with pytest.raises(UnsafeContent, match=r"memory|damaged|crash"):
            sandbox.inspect(tmp_path / "x.h5", "x.h5")
    finally:
        sandbox.close()


def test_u9_looking_ends_at_its_deadline(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 2**8, 60 * 2**20, dtype="u1")
    blosc2.asarray(array, urlpath=str(tmp_path / "x.b2nd"), mode="w", cparams={"clevel": 1})
    sandbox = Sandbox(Limits(deadline_s=0.005))
    try:
        with pytest.raises(UnsafeContent, match="too long"):
            sandbox.inspect(tmp_path / "x.b2nd", "x.b2nd")
    finally:
        sandbox.close()


def test_u9_a_crash_is_the_files_problem(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"fine")
    sandbox = Sandbox()
    try:
        before = helpers()
        with open(tmp_path / "x.txt", "rb") as file, sandbox.start(file.fileno()) as confined:
            (helper,) = [process for process in helpers() if process not in before]
            (look,) = helper.children()
            look.send_signal(signal.SIGSEGV)
            look.wait(5)
            with pytest.raises(UnsafeContent, match="crash"):
                confined.ask({"measures": True})
        assert sandbox.inspect(tmp_path / "x.txt", "x.txt").nbytes == 4
        assert helper.is_running()
    finally:
        sandbox.close()


def helpers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        if "caterva2_formats.sandbox_worker" in child.cmdline():
            found.append(child)
    return found


def test_u9_a_helper_that_dies_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"fine")
    sandbox = Sandbox()
    try:
        before = helpers()
        sandbox.inspect(tmp_path / "x.txt", "x.txt")
        (helper,) = [process for process in helpers() if process not in before]
        helper.kill()
        helper.wait()
        assert sandbox.inspect(tmp_path / "x.txt", "x.txt").nbytes == 4
    finally:
        sandbox.close()


def test_u9_the_helper_knows_no_secrets(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATERVA2_SECRET", "hush")
    fresh = Sandbox()
    try:
        before = helpers()
        fresh.measures()
        (helper,) = [process for process in helpers() if process not in before]
        assert "hush" not in Path(f"/proc/{helper.pid}/environ").read_text()
        assert list(Path(helper.cwd()).iterdir()) == []
    finally:
        fresh.close()


def test_links_and_missing_files_are_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "link.txt").symlink_to("/etc/passwd")
    for name in ("link.txt", "missing.txt"):
        with pytest.raises(UnsafeContent, match="cannot be opened"):
            sandbox.inspect(tmp_path / name, name)


def test_u9_a_process_that_ignores_its_deadline_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module, "GRACE_S", 0.2)
    (tmp_path / "x.txt").write_bytes(b"fine")
    sandbox = Sandbox(Limits(deadline_s=0.3))
    try:
        before = helpers()
        with open(tmp_path / "x.txt", "rb") as file, sandbox.start(file.fileno()) as confined:
            (helper,) = [process for process in helpers() if process not in before]
            (look,) = helper.children()
            look.suspend()
            with pytest.raises(UnsafeContent, match="too long"):
                confined.ask({"measures": True})
            look.wait(5)
    finally:
        sandbox.close()


def test_several_threads_share_the_helpers(examples: Path) -> None:
    sandbox = Sandbox(workers=2)
    verdicts: list[Verdict] = []

    def work() -> None:
        verdicts.extend(sandbox.inspect(examples / "ds-1d.b2nd", "ds-1d.b2nd") for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sandbox.close()
    assert verdicts == [Verdict(Kind.ARRAY, 8000)] * 20


def test_nothing_is_left_when_it_is_closed(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"fine")
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    before = helpers()
    sandbox = Sandbox()
    sandbox.inspect(tmp_path / "x.txt", "x.txt")
    (helper,) = [process for process in helpers() if process not in before]
    directory = Path(helper.cwd())
    sandbox.close()
    assert not helper.is_running()
    assert not directory.exists()
    assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208
    with pytest.raises(Unavailable):
        sandbox.inspect(tmp_path / "x.txt", "x.txt")
