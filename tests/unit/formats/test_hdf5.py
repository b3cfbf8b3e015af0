"""HDF5 files: which datasets are shared, how their chunks travel, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from caterva2.errors import DatasetNotFound, Unavailable, UnsafeContent, VersionChanged
from caterva2_formats import hdf5
from caterva2_formats.attributes import vlmeta_of
from caterva2_formats.chunks import check_chunk, decompress, read_header
from caterva2_formats.hdf5 import Handles, HDF5Root, HDF5Source, open_member
from tests.conformance.roots import read
from tests.unit.formats.arrays import same

Make = Callable[[h5py.File], object]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.h5"


@pytest.fixture
def handles() -> Iterator[Handles]:
    handles = Handles()
    yield handles
    handles.close()


def make(path: Path, fill: Make) -> None:
    with h5py.File(path, "w", locking=True) as file:
        fill(file)


def listing(path: Path) -> list[str]:
    root = HDF5Root(path)
    try:
        return [found.path for found in root.scan()]
    finally:
        root.close()


def opened(handles: Handles, path: Path, member: str = "x") -> HDF5Source:
    return open_member(handles, str(path), member)


# --- what is listed ---------------------------------------------------------------------
def test_each_object_is_listed_once_by_its_first_hard_link(path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["b/data"] = 1
        file["a"] = file["b"]
        file["c"] = file["b/data"]
        file["b/up"] = file["/"]
        file["soft"] = h5py.SoftLink("/b/data")
        file["external"] = h5py.ExternalLink("other.h5", "/x")
        file["type"] = np.dtype("f8")
        file["a.b"] = 2

    make(path, fill)
    assert listing(path) == ["a/data.b2nd", "a.b.b2nd"]


def test_what_is_no_array_of_plain_values_is_left_out(path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["good"] = 1
        file["vlen"] = "text"
        file.create_dataset("ragged", (3,), dtype=h5py.vlen_dtype("i4"))
        file.create_dataset("compound", (3,), dtype=[("a", "i4"), ("b", h5py.string_dtype())])
        file.create_dataset("reference", (3,), dtype=h5py.ref_dtype)
        file.create_dataset("nine", (1,) * 9, dtype="u1")
        file.create_dataset("huge-chunk", (2**28,), chunks=(2**28,), dtype="u1")
        file.create_dataset("bad\u202ename", (1,), dtype="u1")

    make(path, fill)
    assert listing(path) == ["good.b2nd"]


def test_groups_that_are_nested_without_end_do_no_harm(path: Path) -> None:
    def fill(file: h5py.File) -> None:
        group = file
        for _ in range(1500):
            group = group.create_group("g")
        group["deep"] = 1
        file["x"] = 1

    make(path, fill)
    assert listing(path) == ["x.b2nd"]


def test_attributes_have_a_limit(path: Path, handles: Handles) -> None:
    def fill(file: h5py.File) -> None:
        file.create_dataset("x", data=0, track_order=True)
        for i in range(20):
            file["x"].attrs[f"a{i}"] = np.bytes_(b"x" * 2**20)
        file["x"].attrs["huge"] = np.zeros(2**22, "f8")
        file["x"].attrs["small"] = 1

    with h5py.File(path, "w", libver="latest") as file:
        fill(file)
    with opened(handles, path) as source:
        assert "small" in source.attributes
        assert "huge" not in source.attributes
        assert len(source.attributes) > 10
        assert sum(len(value) for value in source.attributes.values()) <= 16 * 2**20


@pytest.mark.parametrize(
    ("dtype", "shown"),
    [
        (np.dtype("?"), "bool"),
        (np.dtype(">i4"), ">i4"),
        (np.dtype("f2"), "float16"),
        (np.dtype("c8"), "complex64"),
        (np.dtype("S5"), "|S5"),
        (h5py.enum_dtype({"RED": 1, "BLUE": 2}, basetype="i2"), "int16"),
        (np.dtype([("a", "i4"), ("b", "S3")]), "[('a', '<i4'), ('b', 'S3')]"),
        (np.dtype(("<f8", (4,))), "('<f8', (4,))"),
        (np.dtype("V6"), "|V6"),
    ],
    ids=str,
)
@pytest.mark.parametrize("chunks", [None, (4,)])
def test_types_are_those_of_arrays(
    path: Path, handles: Handles, dtype: Any, shown: str, chunks: tuple[int, ...] | None
) -> None:
    rng = np.random.default_rng(2)
    plain = np.dtype((np.void, dtype.itemsize)) if dtype.subdtype else dtype
    raw = rng.integers(0, 2, 10 * dtype.itemsize, dtype="u1").view(plain)
    values = raw.view("<f8").reshape(10, 4) if dtype.subdtype else raw
    make(path, lambda file: file.create_dataset("x", (10,), dtype=dtype, chunks=chunks).__setitem__(..., values))
    with opened(handles, path) as source:
        assert source.info["dtype"] == shown
        assert same(read(source), values)


# --- chunks ---------------------------------------------------------------------
def test_c4_chunks_that_were_never_written_are_the_fill_value(path: Path, handles: Handles) -> None:
    def fill(file: h5py.File) -> None:
        for name, options in {
            "plain": {},
            "gzip": {"compression": "gzip"},
            "blosc2": hdf5plugin.Blosc2(),
            "filled": {"fillvalue": 7},
            "wide": {"dtype": "S300", "fillvalue": b"abc"},
        }.items():
            dataset = file.create_dataset(name, (9, 10), chunks=(3, 4), **({"dtype": ">i4"} | dict(options)))
            dataset[4, 5] = 1
        file.create_dataset("untouched", (9, 10), chunks=(3, 4), dtype="f8", fillvalue=np.nan)

    make(path, fill)
    with h5py.File(path, "r", locking=False) as file:
        expected = {name: file[name][...] for name in file}
    for name, values in expected.items():
        with opened(handles, path, name) as source:
            assert same(read(source), values), name
            if name != "wide":
                assert len(source.chunk(0)) < 50, name


@pytest.mark.parametrize("shape", [(10, 11, 12), (7,), (100, 3)], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "lzf"},
        dict(hdf5plugin.Blosc2(cname="zstd", clevel=3)),
        dict(hdf5plugin.Blosc2(cname="lz4", filters=hdf5plugin.Blosc2.BITSHUFFLE)),
        dict(hdf5plugin.Blosc()),
        dict(hdf5plugin.Zstd()),
        dict(hdf5plugin.LZ4()),
    ],
    ids=["raw", "gzip", "lzf", "blosc2-zstd", "blosc2-lz4", "blosc", "zstd", "lz4"],
)
def test_any_filter_reads_back(path: Path, handles: Handles, shape: tuple[int, ...], options: dict[str, Any]) -> None:
    values = np.random.default_rng(1).integers(0, 50, shape).astype("<f4")
    chunks = tuple(min(4, n) for n in shape)
    make(path, lambda file: file.create_dataset("x", data=values, chunks=chunks, **options))
    with opened(handles, path) as source:
        assert source.layout.chunks == chunks
        assert same(read(source), values)
        for nchunk in range(source.layout.nchunks):
            check_chunk(source.chunk(nchunk), source.layout, nchunk)


def test_blosc2_chunks_pass_through_unchanged(path: Path, handles: Handles) -> None:
    values = np.arange(64**3, dtype="<f4").reshape(64, 64, 64)
    options = hdf5plugin.Blosc2(cname="zstd", clevel=9)
    make(path, lambda file: file.create_dataset("x", data=values, chunks=(50, 50, 50), **options))
    stored = path.read_bytes()
    with opened(handles, path) as source:
        for nchunk in range(source.layout.nchunks):
            chunk = source.chunk(nchunk)
            assert chunk in stored
            assert read_header(chunk).nbytes == source.layout.chunksize
        assert source.info["schunk"]["cparams"]["clevel"] == 9
        assert same(read(source), values)


def test_chunks_that_disagree_with_the_first_are_compressed_anew(path: Path, handles: Handles) -> None:
    values = np.arange(40_000, dtype="<i4").reshape(4, 10_000)

    def fill(file: h5py.File) -> None:
        dataset = file.create_dataset("x", (4, 10_000), dtype="<i4", chunks=(1, 10_000), **hdf5plugin.Blosc2())
        dataset[0] = values[0]
        import blosc2

        other = blosc2.asarray(values[1:2], chunks=(1, 10_000), blocks=(1, 1000)).to_cframe()
        dataset.id.write_direct_chunk((1, 0), other)
        dataset.id.write_direct_chunk((2, 0), values[2].tobytes(), filter_mask=1)
        dataset[3] = values[3]

    make(path, fill)
    with opened(handles, path) as source:
        assert source._passed
        assert same(read(source), values)


def test_contiguous_datasets_get_chunks_of_their_own(path: Path, handles: Handles) -> None:
    values = np.random.default_rng(0).integers(0, 9, (5, 1200, 1000)).astype("<u2")
    make(path, lambda file: file.create_dataset("x", data=values))
    with opened(handles, path) as source:
        assert source.layout.nchunks == 5
        assert same(read(source, np.s_[2:4, 100:900:7, ::-3]), values[2:4, 100:900:7, ::-3])


def test_empty_and_scalar_datasets(path: Path, handles: Handles) -> None:
    def fill(file: h5py.File) -> None:
        file.create_dataset("none", (0, 3), maxshape=(None, 3), dtype="i2")
        file["scalar"] = np.array(1.5, dtype=">f4")
        file["null"] = h5py.Empty("i8")

    make(path, fill)
    for member, expected in (
        ("none", np.zeros((0, 3), "i2")),
        ("scalar", np.array(1.5, ">f4")),
        ("null", np.zeros((), "i8")),
    ):
        with opened(handles, path, member) as source:
            assert same(read(source), expected)


# --- attributes ---------------------------------------------------------------------
def test_attributes_become_attributes_of_the_dataset(path: Path, handles: Handles) -> None:
    def fill(file: h5py.File) -> None:
        attributes = file.create_dataset("x", data=0).attrs
        attributes["int"] = 42
        attributes["text"] = "bar"
        attributes["bytes"] = np.bytes_(b"foo")
        attributes["binary"] = np.frombuffer(b"\xff\xfe", dtype="S2")[0]
        attributes["array"] = [[0, 1], [2, 3]]
        attributes["nan"] = np.nan
        attributes["none"] = h5py.Empty("i4")
        attributes["nothing"] = h5py.Empty("S4")
        attributes["texts"] = ["a", "bü"]
        attributes["complex"] = 1j
        attributes["reference"] = file["x"].ref

    make(path, fill)
    with opened(handles, path) as source:
        shown = source.info["schunk"]["vlmeta"]
        packed = source.attributes
    assert shown == {
        "int": 42,
        "text": "bar",
        "bytes": "foo",
        "binary": {"__bytes__": "//4="},
        "array": [[0, 1], [2, 3]],
        "nan": None,
        "none": None,
        "nothing": "",
        "texts": ["a", "bü"],
    }
    assert set(packed) == set(shown)
    assert vlmeta_of({"schunk": {"vlmeta": shown}})["array"] == packed["array"]


# --- what is refused ---------------------------------------------------------------------
def test_u5_references_to_other_files_are_refused(path: Path, tmp_path: Path, handles: Handles) -> None:
    (tmp_path / "secret.bin").write_bytes(b"secret" * 100)
    make(tmp_path / "other.h5", lambda file: file.create_dataset("x", data=np.arange(10)))

    def fill(file: h5py.File) -> None:
        file["good"] = 1
        file.create_dataset("storage", (60,), dtype="S10", external=[(str(tmp_path / "secret.bin"), 0, 600)])
        layout = h5py.VirtualLayout((10,), dtype="i8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape=(10,))
        file.create_virtual_dataset("virtual", layout)
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
        file["soft"] = h5py.SoftLink("/link")

    make(path, fill)
    assert listing(path) == ["good.b2nd"]
    for member in ("storage", "virtual"):
        with pytest.raises(UnsafeContent):
            opened(handles, path, member)
    for member in ("link", "soft", "link/x", "../good", "", "good/x", "./good"):
        with pytest.raises(DatasetNotFound):
            opened(handles, path, member)


def test_u5_filters_outside_the_list_are_refused(path: Path, handles: Handles) -> None:
    values = np.arange(1000)

    def fill(file: h5py.File) -> None:
        file.create_dataset("bitshuffle", data=values, chunks=(100,), **hdf5plugin.Bitshuffle())
        file.create_dataset("unknown", (100,), chunks=(10,), dtype="u1", compression=305, allow_unknown_filter=True)

    make(path, fill)
    with pytest.raises(UnsafeContent, match="filter 32008"):
        opened(handles, path, "bitshuffle")
    with pytest.raises(UnsafeContent, match="filter 305"):
        opened(handles, path, "unknown")
    # The owner of a root vouches for it: detectors write bitshuffle.
    assert listing(path) == ["bitshuffle.b2nd"]
    with HDF5Root(path).open("bitshuffle.b2nd") as source:
        assert same(read(source), values)


def test_u5_plugins_are_never_loaded_from_disk() -> None:
    program = "import os; from caterva2_formats import hdf5; hdf5.library(); print(os.environ['HDF5_PLUGIN_PRELOAD'])"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == "::"


@pytest.mark.parametrize("cut", [0, 4, 100, 1000, -1])
def test_f17_damaged_files_are_refused_once_they_are_old(
    path: Path, handles: Handles, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(path, lambda file: file.create_dataset("x", data=np.arange(1000)))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(Unavailable) as caught:
        opened(handles, path)
    assert caught.value.retry_after_s
    monkeypatch.setattr(hdf5, "SETTLED_S", 0.0)
    with pytest.raises(UnsafeContent):
        opened(handles, path)


def test_damaged_chunks_are_refused(path: Path, handles: Handles) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 9, 10_000)
    make(path, lambda file: file.create_dataset("x", data=values, chunks=(1000,), compression="gzip"))
    content = bytearray(path.read_bytes())
    content[-2000:-1000] = rng.bytes(1000)
    path.write_bytes(content)
    with opened(handles, path) as source, pytest.raises(UnsafeContent, match="damaged"):
        read(source)


# --- writers ---------------------------------------------------------------------
def test_u6_a_file_that_a_writer_holds_is_unavailable_for_now(path: Path, handles: Handles) -> None:
    make(path, lambda file: file.create_dataset("x", data=np.arange(10)))
    with writer(path):
        for attempt in (lambda: opened(handles, path), lambda: listing(path)):
            with pytest.raises(Unavailable) as caught:
                attempt()
            assert caught.value.retry_after_s
    with opened(handles, path) as source:
        assert same(read(source), np.arange(10) + 1)


def test_u6_readers_do_not_lock_writers_out(path: Path, handles: Handles) -> None:
    make(path, lambda file: file.create_dataset("x", data=np.arange(10)))
    with opened(handles, path) as source:
        source.chunk(0)
        with writer(path), pytest.raises((Unavailable, VersionChanged)):
            source.chunk(0)
        with pytest.raises(VersionChanged):
            source.chunk(0)
    with opened(handles, path) as source:
        assert same(read(source), np.arange(10) + 1)


class writer:
    """Another process that has the file open for writing; it adds one to ``x``."""

    def __init__(self, path: Path) -> None:
        program = (
            "import sys, h5py\n"
            "with h5py.File(sys.argv[1], 'a', locking=True) as file:\n"
            "    file['x'][...] += 1\n"
            "    file.flush(); print('open', flush=True); sys.stdin.readline()\n"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "open\n"

    def __exit__(self, *exc: object) -> None:
        self._process.communicate("\n", timeout=60)
        assert self._process.returncode == 0


def test_f17_a_writer_killed_in_its_work_gives_an_error_or_whole_data(path: Path, handles: Handles) -> None:
    """Readers see all of one version or a clear error, whatever the writer was doing when it died."""
    program = (
        "import sys, h5py, numpy as np\n"
        "value = 0\n"
        "while True:\n"
        "    value += 1\n"
        "    with h5py.File(sys.argv[1], 'w', locking=True) as file:\n"
        "        for i in range(20):\n"
        "            file.create_dataset(f'd{i}', data=np.full(5000, value), chunks=(500,), compression='gzip')\n"
        "        file.flush()\n"
    )
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", program, str(path)])
        try:
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                _whole_or_refused(handles, path)
        finally:
            process.kill()
            process.wait()
        _whole_or_refused(handles, path)
    make(path, lambda file: file.create_dataset("d3", data=np.full(5000, 1)))
    assert _whole_or_refused(handles, path)


def _whole_or_refused(handles: Handles, path: Path) -> bool:
    try:
        with opened(handles, path, "d3") as source:
            values = read(source)
    except (Unavailable, VersionChanged, DatasetNotFound, UnsafeContent):
        return False
    assert len(np.unique(values)) == 1
    return True


# --- handles ---------------------------------------------------------------------
def test_handles_are_shared_bounded_and_closed(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.h5" for i in range(6)]
    for i, path in enumerate(files):
        make(path, lambda file, i=i: file.create_dataset("x", data=i))
    handles = Handles(limit=2)
    before = descriptors()
    sources = [opened(handles, path) for path in files for _ in range(2)]
    assert descriptors() <= before + 12
    assert [int(read(source)) for source in sources] == [i for i in range(6) for _ in range(2)]
    for source in sources:
        source.close()
        source.close()
    with opened(handles, files[0]) as source:
        assert int(read(source)) == 0
    assert descriptors() <= before + 3 * 2
    handles.close()
    assert descriptors() == before


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_threads_read_one_file_at_once(path: Path, handles: Handles) -> None:
    values = np.random.default_rng(0).integers(0, 99, (60, 200))
    make(path, lambda file: file.create_dataset("x", data=values, chunks=(3, 50), compression="gzip"))
    wrong: list[int] = []

    def work() -> None:
        with opened(handles, path) as source:
            for nchunk in range(source.layout.nchunks):
                row, column = divmod(nchunk, 4)
                flat = np.frombuffer(decompress(source.chunk(nchunk)), dtype=values.dtype)
                part = values[row * 3 : row * 3 + 3, column * 50 : column * 50 + 50]
                if not same(flat.reshape(3, 50), np.ascontiguousarray(part)):
                    wrong.append(nchunk)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
