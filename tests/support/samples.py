"""Sample data that tests make at run time: an array of every kind that a dataset can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import blosc2
import numpy as np

TABLE = np.dtype([("a", "<i4"), ("b", "<f8"), ("c", "S10"), ("d", "?")])


def sample_arrays() -> dict[str, np.ndarray[Any, Any]]:
    """Return arrays by the name of the dataset that holds them."""
    rng = np.random.default_rng(7)
    table = np.zeros(500, TABLE)
    table["a"], table["b"], table["d"] = np.arange(500) % 9, np.linspace(0, 1, 500), np.arange(500) % 3 == 0
    table["c"] = np.char.mod("row%d", np.arange(500))
    return {
        "scalar.b2nd": np.array(2.5),
        "empty.b2nd": np.zeros((0, 4)),
        "one.b2nd": np.array([7], "u1"),
        "line.b2nd": np.arange(1001, dtype="i8"),
        "plane.b2nd": rng.normal(size=(47, 31)),
        "cube.b2nd": np.arange(9 * 8 * 7, dtype="u2").reshape(9, 8, 7),
        "deep.b2nd": np.arange(2 * 3 * 4 * 5 * 6, dtype="f4").reshape(2, 3, 4, 5, 6),
        "zeros.b2nd": np.zeros((64, 64), "f4"),
        "big-endian.b2nd": np.arange(60, dtype=">f4").reshape(12, 5),
        "complex.b2nd": np.arange(40).reshape(8, 5) * (1 + 2j),
        "bool.b2nd": np.arange(99) % 3 == 0,
        "text.b2nd": np.array(["uno", "dos", "tres", "cuatro", "ñandú", ""] * 9),
        "bytes.b2nd": np.array([b"a", b"bcd", b""] * 20, "S5"),
        "dates.b2nd": np.arange("2020-01-01", "2020-04-01", dtype="datetime64[D]").astype("datetime64[s]"),
        "half.b2nd": np.linspace(0, 1, 64, dtype="f2").reshape(8, 8),
        "table.b2nd": table,
        "large.b2nd": rng.normal(size=(400, 300)),
        "named/día 1%.b2nd": np.arange(5),
    }


def make_samples(directory: Path) -> Path:
    """Write the sample arrays, a frame and a file below a directory, and return it."""
    for name, array in sample_arrays().items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        chunks = tuple(max(1, -(-length // 3)) for length in array.shape) or None
        blosc2.asarray(array, chunks=chunks, urlpath=str(path), mode="w")
    frame = blosc2.SChunk(chunksize=240, urlpath=str(directory / "frame.b2frame"), mode="w", contiguous=True)
    for count in (20, 20, 10):
        frame.append_data(b"Hello world!" * count)
    (directory / "notes.md").write_text("# Notes\n" * 1000)
    (directory / "!odd #?name.bin").write_bytes(bytes(range(256)) * 1000)
    return directory
