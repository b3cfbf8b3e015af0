"""The data that workloads read: smooth numbers with noise, as measurements are, in large and in small chunks."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

SHAPE = (1000, 1000, 100)
LARGE = (100, 100, 100)
"""2.9 MB compressed."""
SMALL = (40, 40, 25)
"""112 kB compressed."""


@dataclass(frozen=True)
class Data:
    """A published directory."""

    directory: Path

    def cold(self, kind: str, number: int) -> str:
        """Return the path of a copy of ``small100`` or ``large10`` that nobody has read yet."""
        name = f"cold/{kind}-{number}.b2nd"
        copy = self.directory / name
        if not copy.exists():
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(self.directory / f"{kind}.b2nd", copy)
        return name


def make(directory: Path, *, cold: int) -> Data:
    """Write the data unless it is there already, with `cold` copies of what is read once."""
    data = Data(directory)
    if not (directory / "done").exists():
        directory.mkdir(parents=True, exist_ok=True)
        _write(directory / "large.b2nd", _numbers(SHAPE), LARGE)
        _write(directory / "small.b2nd", _numbers(SHAPE), SMALL)
        _write(directory / "small100.b2nd", _numbers((400, 400, 25)), SMALL)
        _write(directory / "large10.b2nd", _numbers((1000, 100, 100)), LARGE)
        _write(directory / "edited.b2nd", _numbers((1000, 160, 25)), (1, 160, 25))
        (directory / "done").touch()
    for kind in ("small100", "large10"):
        for number in range(cold):
            data.cold(kind, number)
    return data


def make_many(directory: Path, count: int) -> None:
    """Write `count` small datasets."""
    if (directory / "done").exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    first = directory / "d0000000.b2nd"
    _write(first, np.arange(100, dtype="<i4"), (10,))
    content = first.read_bytes()
    for number in range(1, count):
        folder = directory / f"{number // 500:03d}"
        folder.mkdir(exist_ok=True)
        (folder / f"d{number:07d}.b2nd").write_bytes(content)
    (directory / "done").touch()


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
