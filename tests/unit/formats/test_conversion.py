"""HDF5 files to directories and back: ``cat2import``, ``cat2export``."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import blosc2
import h5py
import hdf5plugin
import numpy as np
import pytest

from caterva2.errors import BadRequest, Caterva2Error
from caterva2_formats.hdf5_export import export_hdf5
from caterva2_formats.hdf5_import import import_hdf5
from demo.make_hdf5_example import make_hdf5_example
from demo.make_root_example import make_root_example


def contents(path: Path) -> dict[str, tuple[Any, Any, list[int], dict[str, Any]]]:
    """Return value, chunks, filters and attributes of each dataset."""
    found: dict[str, tuple[Any, Any, list[int], dict[str, Any]]] = {}

    def note(name: str, member: Any) -> None:
        if isinstance(member, h5py.Dataset) and not name.startswith("unsupported"):
            plist = member.id.get_create_plist()
            filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
            attributes = {key: _plain(value) for key, value in member.attrs.items()}
            found[name] = (member[()], member.chunks, filters, attributes)

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, h5py.Empty):
        return "empty"
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def test_hdf5_to_directory_and_back_keeps_everything(tmp_path: Path) -> None:
    make_hdf5_example(tmp_path / "example.h5")
    assert import_hdf5(tmp_path / "example.h5", tmp_path / "root") == 13
    assert export_hdf5(tmp_path / "root", tmp_path / "back.h5") == 13
    before, after = contents(tmp_path / "example.h5"), contents(tmp_path / "back.h5")
    assert sorted(before) == sorted(after)
    for name, (value, chunks, filters, attributes) in before.items():
        if name == "arrays/empty":
            continue
        assert np.array_equal(value, after[name][0]), name
        assert after[name][3] == attributes, name
        if chunks:
            assert after[name][1] == chunks, name
        if filters == [hdf5plugin.Blosc2.filter_id]:
            assert after[name][2] == filters, name


def test_imported_arrays_are_read_by_blosc2(tmp_path: Path) -> None:
    make_hdf5_example(tmp_path / "example.h5")
    import_hdf5(tmp_path / "example.h5", tmp_path / "root")
    array = blosc2.open(str(tmp_path / "root" / "arrays" / "3d-blosc2.b2nd"), mode="r")
    assert array.chunks == (4, 10, 10)
    assert array.schunk.cparams.codec == blosc2.Codec.LZ4
    assert (array[...].ravel() == np.arange(1000).astype("u1")).all()
    scalar = blosc2.open(str(tmp_path / "root" / "attrs.b2nd"), mode="r")
    attributes = scalar.schunk.vlmeta[:]
    assert attributes["Arr"] == [[0, 1], [2, 3]]
    assert attributes["Bin"] == b"foo"
    assert attributes["NilInt"] is None


def test_compressed_chunks_are_kept_in_both_directions(tmp_path: Path) -> None:
    values = np.arange(64**3, dtype="<f4").reshape(64, 64, 64)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=values, chunks=(50, 50, 50), **hdf5plugin.Blosc2(cname="zstd", clevel=9))
    import_hdf5(tmp_path / "x.h5", tmp_path / "root")
    export_hdf5(tmp_path / "root", tmp_path / "back.h5")
    stored = (tmp_path / "root" / "x.b2nd").read_bytes()
    for path in (tmp_path / "x.h5", tmp_path / "back.h5"):
        with h5py.File(path) as file:
            for i in range(file["x"].id.get_num_chunks()):
                info = file["x"].id.get_chunk_info(i)
                _, frame = file["x"].id.read_direct_chunk(info.chunk_offset)
                start = int.from_bytes(frame[11:15], "big")
                length = int.from_bytes(frame[start + 12 : start + 16], "little")
                assert frame[start : start + length] in stored
    with h5py.File(tmp_path / "back.h5") as file:
        assert (file["x"][...] == values).all()


def test_every_file_of_a_directory_is_exported(tmp_path: Path) -> None:
    make_root_example(tmp_path / "root")
    (tmp_path / "root" / "empty").mkdir()
    (tmp_path / "root" / "nothing.txt").write_bytes(b"")
    (tmp_path / "root" / "packed.txt.b2").write_bytes(blosc2.SChunk(data=b"packed").to_cframe())
    times = np.arange(10).astype("<M8[s]")
    blosc2.asarray(times, urlpath=str(tmp_path / "root" / "times.b2nd"), mode="w")
    texts = np.array(["a", "bü", "日本"])
    blosc2.asarray(texts, urlpath=str(tmp_path / "root" / "texts.b2nd"), mode="w")
    large = np.zeros(3, dtype="S300")
    large[1] = b"x" * 300
    blosc2.asarray(large, urlpath=str(tmp_path / "root" / "large.b2nd"), mode="w")
    assert export_hdf5(tmp_path / "root", tmp_path / "x.h5") == 17
    with h5py.File(tmp_path / "x.h5") as file:
        assert (file["ds-1d"][...] == np.arange(1000)).all()
        assert file["ds-1d"].chunks == (100,)
        numbers = np.arange(120).reshape(2, 3, 4, 5)
        assert (file["dir2/ds-4d"][...] == numbers + numbers * 1j).all()
        assert file["ds-1d-fields"][5]["c"] == b"row5"
        assert file["ds-hello"][:12].tobytes() == b"Hello world!"
        assert file["README.md"][...].tobytes() == (tmp_path / "root" / "README.md").read_bytes()
        assert file["packed.txt"][...].tobytes() == b"packed"
        assert file["nothing.txt"].shape == (0,)
        assert file["ds-sc-attr"][()].decode() == "foobar"
        assert dict(file["ds-sc-attr"].attrs) == {"a": 1, "b": "foo", "c": 123.456}
        assert (file["times"][...] == times).all()
        assert [text.decode() for text in file["texts"][...]] == list(texts)
        assert (file["large"][...] == large).all()
        assert isinstance(file["empty"], h5py.Group)


def test_what_cannot_be_converted_is_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["good"] = 1
        file["text"] = "variable"
        file.attrs["lost"] = 1
        file.create_group("group").attrs["lost"] = 2
    with caplog.at_level(logging.WARNING):
        assert import_hdf5(tmp_path / "x.h5", tmp_path / "root") == 1
    assert "'text' is left out" in caplog.text
    assert "attributes of group 'group'" in caplog.text
    assert (tmp_path / "root" / "group").is_dir()
    caplog.clear()
    (tmp_path / "root" / "bad.b2nd").write_bytes(b"junk")
    (tmp_path / "root" / "good").mkdir()
    with caplog.at_level(logging.WARNING):
        assert export_hdf5(tmp_path / "root", tmp_path / "y.h5") == 0
    assert "'bad.b2nd' is left out" in caplog.text
    assert "'good.b2nd' is left out" in caplog.text


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    make_hdf5_example(tmp_path / "x.h5")
    (tmp_path / "root").mkdir()
    with pytest.raises(BadRequest, match="exists already"):
        import_hdf5(tmp_path / "x.h5", tmp_path / "root")
    with pytest.raises(BadRequest, match="exists already"):
        export_hdf5(tmp_path / "root", tmp_path / "x.h5")
    with pytest.raises(BadRequest, match="no directory"):
        export_hdf5(tmp_path / "missing", tmp_path / "y.h5")
    with pytest.raises(Caterva2Error):
        import_hdf5(tmp_path / "missing.h5", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_programs_say_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    make_hdf5_example(tmp_path / "x.h5")
    assert _run("import_main", str(tmp_path / "x.h5"), str(tmp_path / "root")).returncode == 0
    again = _run("import_main", str(tmp_path / "x.h5"), str(tmp_path / "root"))
    assert again.returncode == 1
    assert again.stderr == f"cat2import: {tmp_path}/root exists already\n"
    usage = _run("export_main", "one")
    assert (usage.returncode, usage.stderr) == (1, "usage: cat2export CATERVA2_ROOT HDF5_FILE\n")
    done = _run("export_main", str(tmp_path / "root"), str(tmp_path / "y.h5"))
    assert (done.returncode, done.stdout) == (0, "")


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; from caterva2_formats import commands; sys.exit(commands.{program}())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
