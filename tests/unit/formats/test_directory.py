"""Directories as roots: which files are seen, and which version of them is read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import blosc2
import numpy as np
import pytest

from caterva2.errors import DatasetNotFound, Unavailable, UnsafeContent, VersionChanged
from caterva2.wire import Kind
from caterva2_formats import opening
from caterva2_formats.directory import DirectoryRoot, listed_name
from tests.conformance.roots import read


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


@pytest.fixture
def root(directory: Path) -> DirectoryRoot:
    return DirectoryRoot(directory)


@pytest.fixture(params=["openat2", "segments"])
def opener(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Open by openat2, and as on kernels without it."""
    kind: str = request.param
    if kind == "segments":
        monkeypatch.setattr(opening, "_has_openat2", lambda: False)
    elif not opening._has_openat2():
        pytest.skip("the kernel has no openat2")
    return kind


def listing(root: DirectoryRoot) -> list[str]:
    return sorted(found.path for found in root.scan())


def save(path: Path, value: int, *, size: int = 5000) -> None:
    """Write an array full of `value` in place."""
    rng = np.random.default_rng(value)
    array = rng.integers(0, 2**60, size) * 0 + rng.integers(0, 5, size) * 1000 + value
    path.write_bytes(blosc2.asarray(array, chunks=(500,), blocks=(100,)).to_cframe())


@pytest.mark.usefixtures("opener")
def test_u7_links_that_lead_outside_are_neither_listed_nor_opened(
    root: DirectoryRoot, directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "rootbeer").mkdir()
    (tmp_path / "rootbeer" / "secret.txt").write_text("secret")
    (directory / "sub").mkdir()
    (directory / "sub" / "inside.txt").write_text("inside")
    (directory / "relative.txt").symlink_to("../secret.txt")
    (directory / "absolute.txt").symlink_to(tmp_path / "secret.txt")
    (directory / "sibling.txt").symlink_to("../rootbeer/secret.txt")
    (directory / "system.txt").symlink_to("/etc/passwd")
    (directory / "process.txt").symlink_to("/proc/self/environ")
    (directory / "loop.txt").symlink_to("loop.txt")
    (directory / "broken.txt").symlink_to("nowhere")
    (directory / "folder").symlink_to(tmp_path, target_is_directory=True)
    (directory / "inner").symlink_to("sub", target_is_directory=True)
    (directory / "good.txt").symlink_to("sub/inside.txt")
    (directory / "good-absolute.txt").symlink_to(directory / "sub" / "inside.txt")
    assert listing(root) == ["good-absolute.txt", "good.txt", "sub/inside.txt"]
    for path in ("good.txt", "good-absolute.txt"):
        with root.open(path) as source:
            assert read(source) == b"inside"
    refused = ["relative.txt", "absolute.txt", "sibling.txt", "system.txt", "process.txt", "loop.txt", "broken.txt"]
    for path in [*refused, "folder/secret.txt", "inner/inside.txt", "sub", "sub/inside.txt/x"]:
        assert root.find(path) is None, path
        assert path == "sub" or list(root.below(path)) == [], path
        with pytest.raises(DatasetNotFound):
            root.open(path)


@pytest.mark.usefixtures("opener")
def test_u7_what_is_no_regular_file_is_left_out(root: DirectoryRoot, directory: Path) -> None:
    os.mkfifo(directory / "pipe")
    (directory / "link-to-pipe").symlink_to("pipe")
    assert listing(root) == []
    for path in ("pipe", "link-to-pipe"):
        with pytest.raises(DatasetNotFound):
            root.open(path)


def test_u7_names_that_could_deceive_are_left_out(root: DirectoryRoot, directory: Path) -> None:
    for name in ("good", "a\u202eb", "tab\there", " space", "dot.", "nul", ".cat2-state", "half.tmp", "back\\slash"):
        (directory / name).write_bytes(b"x")
    (directory / os.fsdecode(b"latin-\xe9")).write_bytes(b"x")
    assert listing(root) == ["good"]


def test_names_spelled_in_other_unicode_forms_are_found(root: DirectoryRoot, directory: Path) -> None:
    (directory / "re\u0301sume\u0301").mkdir()
    (directory / "re\u0301sume\u0301" / "e\u0301.txt").write_bytes(b"decomposed")
    (path,) = listing(root)
    assert path == "r\u00e9sum\u00e9/\u00e9.txt"
    with root.open(path) as source:
        assert read(source) == b"decomposed"


@pytest.mark.parametrize(
    ("stored", "listed"),
    [
        ("README.md.b2", "README.md"),
        ("a.b2", "a"),
        (".b2", ".b2"),
        ("x.b2nd", "x.b2nd"),
        ("x.b2nd.b2", "x.b2nd.b2"),
        ("x.h5.b2", "x.h5.b2"),
        ("x.b2.b2", "x.b2.b2"),
    ],
)
def test_compressed_files_are_listed_under_their_own_name(stored: str, listed: str) -> None:
    assert listed_name(stored) == listed


def test_u7_of_two_spellings_of_one_name_the_one_that_is_opened_is_listed(
    root: DirectoryRoot, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    composed, decomposed = "caf\u00e9.txt", "cafe\u0301.txt"
    (directory / composed).write_bytes(b"composed")
    (directory / decomposed).write_bytes(b"decomposed")
    if len(list(directory.glob("caf*"))) != 2:
        pytest.skip("this file system has one name for both spellings")
    (found,) = [found for found in root.scan() if found.path.startswith("caf")]
    assert found == root.find(composed)
    with root.open(composed) as source:
        assert bytes(read(source)) == b"composed"
    assert "spelled otherwise" in caplog.text


def test_u7_names_that_differ_by_case_alone_are_both_listed_and_that_is_said(
    root: DirectoryRoot, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("Scan.txt", "scan.txt", "other.txt"):
        (directory / name).write_bytes(name.encode())
    listed = [found.path for found in root.scan()]
    assert {"Scan.txt", "scan.txt"} <= set(listed)
    assert len(listed) == len(set(listed))
    (said,) = [record.getMessage() for record in caplog.records if "case alone" in record.getMessage()]
    assert "Scan.txt" in said
    assert "other.txt" not in caplog.text


def test_a_file_hides_its_compressed_namesake(root: DirectoryRoot, directory: Path) -> None:
    (directory / "a.txt").write_bytes(b"plain")
    (directory / "a.txt.b2").write_bytes(blosc2.SChunk(data=b"packed").to_cframe())
    assert listing(root) == ["a.txt"]
    with root.open("a.txt") as source:
        assert read(source) == b"plain"


def test_hdf5_files_in_directories_are_served_whole(root: DirectoryRoot, directory: Path) -> None:
    for name in ("a.h5", "b.hdf5"):
        (directory / name).write_bytes(b"\x89HDF" + bytes(100))
        with root.open(name) as source:
            assert source.layout.kind is Kind.HDF5
            assert source.info == {"mtime": pytest.approx((directory / name).stat().st_mtime), "size": 104}
            assert len(read(source)) == 104


def test_below_yields_what_a_scan_would(root: DirectoryRoot, directory: Path) -> None:
    for name in ("a/b/c.txt", "a/d.txt", "e.txt"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(b"x")
    everything = {found.path: found for found in root.scan()}
    assert {found.path: found for found in root.below(".")} == everything
    assert [found.path for found in root.below("a")] == ["a/d.txt", "a/b/c.txt"]
    assert list(root.below("a/d.txt")) == [everything["a/d.txt"]]
    assert list(root.below("missing")) == []
    assert list(root.below("../" + directory.name + "x")) == []


def test_f18_a_missing_directory_is_unavailable_and_not_empty(root: DirectoryRoot, directory: Path) -> None:
    directory.rmdir()
    assert not root.available()
    with pytest.raises(Unavailable):
        list(root.scan())


@pytest.mark.parametrize("content", [b"", b"junk" * 100, b"\x9e\xa8b2frame\0" + bytes(200)])
def test_f20_files_that_are_not_what_their_name_says_are_refused(
    root: DirectoryRoot, directory: Path, content: bytes
) -> None:
    for name in ("x.b2nd", "x.b2frame", "x.txt.b2"):
        (directory / name).write_bytes(content)
        with pytest.raises(UnsafeContent):
            root.open(name.removesuffix(".b2"))


def test_f15_a_replaced_file_is_never_mixed_with_the_new_one(root: DirectoryRoot, directory: Path) -> None:
    target = directory / "x.b2nd"
    save(target, 0)
    stop = threading.Event()
    thread = threading.Thread(target=_replace, args=(target, stop))
    thread.start()
    complete = changed = 0
    try:
        for _ in range(150):
            try:
                with root.open("x.b2nd") as source:
                    values = np.unique(read(source) % 1000)
            except VersionChanged:
                changed += 1
                continue
            assert len(values) == 1
            complete += 1
    finally:
        stop.set()
        thread.join()
    assert complete


def _replace(target: Path, stop: threading.Event) -> None:
    for value in range(1, 1000):
        if stop.is_set():
            return
        partial = target.with_name("partial.tmp")
        save(partial, value)
        partial.rename(target)


def test_f16_a_file_that_is_overwritten_in_place_is_never_read_wrongly(root: DirectoryRoot, directory: Path) -> None:
    target = directory / "x.b2nd"
    save(target, 0)
    with root.open("x.b2nd") as source:
        first = source.chunk(0)
        save(target, 1)
        with pytest.raises(VersionChanged):
            source.chunk(1)
        with pytest.raises(VersionChanged):
            source.skeleton()
        etag = source.etag
    with root.open("x.b2nd") as source:
        assert source.etag != etag
        assert source.chunk(0) != first


def test_f16_a_truncated_file_is_an_error_and_no_crash(root: DirectoryRoot, directory: Path) -> None:
    for name, make in (("x.b2nd", lambda path: save(path, 0)), ("x.bin", lambda path: path.write_bytes(bytes(10000)))):
        make(directory / name)
        with root.open(name) as source:
            os.truncate(directory / name, 300)
            with pytest.raises(VersionChanged):
                source.chunk(0)


def test_a_removed_file_is_another_version(root: DirectoryRoot, directory: Path) -> None:
    (directory / "x").write_bytes(b"data")
    with root.open("x") as source:
        (directory / "x").unlink()
        with pytest.raises(VersionChanged):
            source.chunk(0)


def test_any_write_changes_the_version(root: DirectoryRoot, directory: Path) -> None:
    path = directory / "x"
    path.write_bytes(b"data")
    versions = [_etag(root)]
    status = path.stat()
    path.write_bytes(b"DATA")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    versions.append(_etag(root))
    path.chmod(0o600)
    versions.append(_etag(root))
    copy = directory / "x.tmp"
    copy.write_bytes(b"DATA")
    copy.rename(path)
    versions.append(_etag(root))
    assert len(set(versions)) == 4


def _etag(root: DirectoryRoot) -> str:
    found = root.find("x")
    assert found is not None
    return found.etag


def test_large_files_are_cut_into_full_chunks(root: DirectoryRoot, directory: Path) -> None:
    content = np.random.default_rng(0).integers(0, 4, 40 * 2**20 + 5, dtype="u1").tobytes()
    (directory / "big.bin").write_bytes(content)
    with root.open("big.bin") as source:
        assert source.layout.nchunks == 3
        assert source.skeleton() is None
        assert read(source) == content


@pytest.fixture(autouse=True)
def _no_descriptor_leaks() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
