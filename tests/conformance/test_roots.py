"""Both kinds of published roots, over the example data that the project ships."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blosc2
import h5py
import hdf5plugin  # noqa: F401  (registers filters)
import numpy as np
import pytest

from caterva2_formats.base import RootSource
from caterva2_formats.directory import DirectoryRoot
from caterva2_formats.hdf5 import HDF5Root
from demo.make_hdf5_example import make_hdf5_example
from demo.make_root_example import make_root_example
from tests.conformance.roots import RootSourceTests


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("root")
    make_root_example(directory)
    (directory / "empty").write_bytes(b"")
    (directory / "sub").mkdir()
    (directory / "sub" / "ünïcode name #1 %.txt").write_bytes(b"x" * 1000)
    packed = blosc2.SChunk(data=b"packed " * 100, chunksize=100, cparams={"typesize": 1})
    (directory / "sub" / "packed.txt.b2").write_bytes(packed.to_cframe())
    (directory / "linked.b2nd").symlink_to("dir1/ds-2d.b2nd")
    return directory


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("hdf5") / "example.h5"
    make_hdf5_example(file)
    return file


class TestDirectoryRoot(RootSourceTests):
    @pytest.fixture
    def root(self, directory: Path) -> Iterator[RootSource]:
        root = DirectoryRoot(directory)
        yield root
        root.close()

    @pytest.fixture
    def expected(self, directory: Path) -> dict[str, Any]:
        expected: dict[str, Any] = {"sub/packed.txt": b"packed " * 100}
        for path in directory.rglob("*"):
            name = path.relative_to(directory).as_posix()
            if path.suffix == ".b2nd":
                expected[name] = blosc2.open(str(path.resolve()), mode="r")[...]
            elif path.suffix == ".b2frame":
                expected[name] = blosc2.open(str(path), mode="r")[:]
            elif path.is_file() and path.suffix != ".b2":
                expected[name] = path.read_bytes()
        return expected

    def test_stored_frames_are_rebuilt_byte_for_byte(self, root: RootSource, directory: Path) -> None:
        rebuilt = 0
        for path in directory.rglob("*.b2*"):
            name = path.relative_to(directory).as_posix()
            with root.open(name.removesuffix(".b2")) as source:
                skeleton = source.skeleton()
                assert skeleton is not None
                skeleton = type(skeleton).from_bytes(skeleton.to_bytes())
                parts = (part if isinstance(part, bytes) else source.chunk(part) for part in skeleton.parts)
                assert b"".join(parts) == path.read_bytes()
                assert skeleton.size == path.stat().st_size
            rebuilt += 1
        assert rebuilt >= 10


class TestHDF5Root(RootSourceTests):
    @pytest.fixture
    def root(self, file: Path) -> Iterator[RootSource]:
        root = HDF5Root(file)
        yield root
        root.close()

    @pytest.fixture
    def expected(self, file: Path) -> dict[str, Any]:
        expected: dict[str, Any] = {}

        def note(name: str, member: Any) -> None:
            if not isinstance(member, h5py.Dataset) or name.startswith("unsupported"):
                return
            value = member[()]
            expected[f"{name}.b2nd"] = np.zeros(()) if isinstance(value, h5py.Empty) else np.asarray(value)

        with h5py.File(file) as opened:
            opened.visititems(note)
        return expected

    def test_the_example_lists_thirteen_datasets(self, expected: dict[str, Any]) -> None:
        assert len(expected) == 13
