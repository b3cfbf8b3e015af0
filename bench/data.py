"""The data that workloads read: smooth numbers with noise, as measurements are, in large and in small chunks."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blosc2
import h5py
import hdf5plugin
import numpy as np

SHAPE = (1000, 1000, 100)
LARGE = (100, 100, 100)
"""2.9 MB compressed."""
SMALL = (40, 40, 25)
"""112 kB compressed."""
FRAMES = (60, 1065, 1030)
"""A stack of frames of a detector, two bytes each pixel, a chunk each frame."""


@dataclass(frozen=True)
class Data:
    """What the sites publish."""

    directory: Path

    @property
    def arrays(self) -> Path:
        """A directory of Blosc2 arrays."""
        return self.directory / "data"

    @property
    def hdf5(self) -> Path:
        """An HDF5 file with the same numbers stored in three ways, and a stack of frames."""
        return self.directory / "measured.h5"

    def cold(self, kind: str, number: int) -> str:
        """Return the path of a copy of ``small100`` or ``large10`` that nobody has read yet."""
        name = f"cold/{kind}-{number}.b2nd"
        copy = self.arrays / name
        if not copy.exists():
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(self.arrays / f"{kind}.b2nd", copy)
        return name

    def many(self, count: int) -> Path:
        """Return a directory with `count` small datasets, 500 in each directory."""
        directory = self.directory / f"many-{count}"
        done = directory.with_suffix(".done")
        if done.exists():
            return directory
        shutil.rmtree(directory, ignore_errors=True)
        content = small_dataset(100)
        for number in range(count):
            folder = directory / f"{number // 500:03d}"
            if number % 500 == 0:
                folder.mkdir(parents=True)
            (folder / f"d{number:07d}.b2nd").write_bytes(content)
        done.touch()
        return directory

    def changing(self, directory: Path) -> Path:
        """Return a fresh directory, for one site alone, that workloads change: ``edited.b2nd``, ``read.b2nd``."""
        directory.mkdir(parents=True)
        shutil.copy(self.arrays / "edited.b2nd", directory)
        shutil.copy(self.arrays / "small100.b2nd", directory / "read.b2nd")
        (directory / "new").mkdir()
        return directory


def make(directory: Path, *, cold: int) -> Data:
    """Write the data unless it is there already, with `cold` copies of what is read once."""
    data = Data(directory)
    done = directory / "data.done"
    if not done.exists():
        shutil.rmtree(data.arrays, ignore_errors=True)
        data.arrays.mkdir(parents=True)
        numbers = _numbers(SHAPE)
        _write(data.arrays / "large.b2nd", numbers, LARGE)
        _write(data.arrays / "small.b2nd", numbers, SMALL)
        _write(data.arrays / "small100.b2nd", _numbers((400, 400, 25)), SMALL)
        _write(data.arrays / "large10.b2nd", _numbers((1000, 100, 100)), LARGE)
        _write(data.arrays / "edited.b2nd", _numbers((1000, 160, 25)), (1, 160, 25))
        _write_hdf5(data.hdf5)
        done.touch()
    for kind in ("small100", "large10"):
        for number in range(cold):
            data.cold(kind, number)
    return data


def small_dataset(length: int) -> bytes:
    """Return the file of a small dataset of shape ``(length,)``, which tells one from another."""
    array = blosc2.asarray(np.arange(length, dtype="<i4"), chunks=(10,))
    content: bytes = array.to_cframe()
    return content


def edit_one_chunk(path: Path, number: int) -> None:
    """Replace an array of many chunks by one in which a single chunk differs."""
    fresh = path.with_name(f".cat2-{path.name}.tmp")
    shutil.copy(path, fresh)
    array = blosc2.open(str(fresh), mode="a")
    array[number % array.shape[0]] = np.full(array.shape[1:], number, dtype=array.dtype)
    del array
    fresh.replace(path)


def _numbers(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    axes = np.ix_(*(np.linspace(0, 7, n, dtype="<f4") for n in shape))
    smooth = sum(np.sin(axis) for axis in axes)
    return (smooth + rng.standard_normal(shape, dtype="<f4") * 0.01).astype("<f4")


def _write(path: Path, array: np.ndarray[Any, Any], chunks: tuple[int, ...]) -> None:
    cparams = {"codec": blosc2.Codec.ZSTD, "clevel": 5, "filters": [blosc2.Filter.SHUFFLE], "nthreads": 2}
    fresh = path.with_name(f".cat2-{path.name}.tmp")
    blosc2.asarray(array, chunks=chunks, urlpath=str(fresh), mode="w", cparams=cparams)
    fresh.replace(path)


def _write_hdf5(path: Path) -> None:
    numbers = _numbers((400, 400, 100))
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        file.create_dataset("gzip", data=numbers, chunks=(100, 100, 100), compression="gzip", shuffle=True)
        blosc = hdf5plugin.Blosc2(cname="zstd", clevel=5, filters=hdf5plugin.Blosc2.SHUFFLE)
        file.create_dataset("blosc2", data=numbers, chunks=(100, 100, 100), **blosc)
        file.create_dataset("contiguous", data=numbers)
        frames = file.create_dataset(
            "frames", FRAMES, "<u2", chunks=(1, *FRAMES[1:]), **hdf5plugin.Bitshuffle(cname="lz4")
        )
        for number in range(FRAMES[0]):
            frames[number] = rng.poisson(20, FRAMES[1:]).astype("<u2")
