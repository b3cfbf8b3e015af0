"""Make ``root-example/``, the small directory root of the tutorial, from nothing.

Run ``python -m demo.make_root_example [DIRECTORY]``. Running it again makes the same files.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import blosc2
import h5py
import numpy as np

from demo.make_hdf5_example import make_hdf5_example

README = """\
# Example root

Small datasets of every kind, for the tutorial and for trying things out. They are made by
`python -m demo.make_root_example`.

| path | holds |
|---|---|
| `ds-1d.b2nd` | 1000 integers |
| `ds-1d-b.b2nd` | 1000 byte strings |
| `ds-1d-fields.b2nd` | 1000 rows of a table with the fields a, b, c, d |
| `ds-2d-fields.b2nd` | a table of 10 x 20 rows with the fields a, b |
| `ds-hello.b2frame` | the text "Hello world!", a hundred times |
| `ds-sc-attr.b2nd` | a scalar with attributes |
| `dir1/ds-2d.b2nd` | 10 x 20 integers |
| `dir1/ds-3d.b2nd` | 3 x 4 x 5 numbers |
| `dir2/ds-4d.b2nd` | 2 x 3 x 4 x 5 complex numbers |
| `ex-noattr.h5` | HDF5: groups and arrays |
| `root-example.h5` | HDF5: arrays of every supported kind, with attributes |
"""


def make_root_example(target: Path) -> None:
    """Write the files into `target`, replacing those of the same name."""
    for folder in ("", "dir1", "dir2"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    (target / "README.md").write_text(README)
    _save(target / "ds-1d.b2nd", np.arange(1000), (100,), (10,))
    _save(target / "ds-1d-b.b2nd", np.array([b"foobar"] * 1000), (100,), (10,))
    _save(target / "ds-1d-fields.b2nd", _table(), (100,), (10,))
    _save(target / "ds-2d-fields.b2nd", _grid_table(), (5, 5), (2, 2))
    _save(target / "dir1" / "ds-2d.b2nd", np.arange(200, dtype="u2").reshape(10, 20), (5, 5), (2, 3))
    _save(target / "dir1" / "ds-3d.b2nd", np.arange(60, dtype="f4").reshape(3, 4, 5), (2, 3, 4), (2, 2, 2))
    numbers = np.arange(120).reshape(2, 3, 4, 5)
    _save(target / "dir2" / "ds-4d.b2nd", numbers + numbers * 1j, (1, 2, 3, 4), (1, 2, 2, 2))
    attributes = {"a": 1, "b": "foo", "c": 123.456}
    _save(target / "ds-sc-attr.b2nd", np.array("foobar"), (), (), attributes)
    hello = target / "ds-hello.b2frame"
    hello.unlink(missing_ok=True)
    blosc2.SChunk(chunksize=100, data=b"Hello world!" * 100, cparams={"typesize": 1}, urlpath=str(hello), mode="w")
    for name, make in (("root-example.h5", make_hdf5_example), ("ex-noattr.h5", _make_small_hdf5)):
        (target / name).unlink(missing_ok=True)
        make(target / name)


def _save(
    path: Path, array: np.ndarray[Any, Any], chunks: tuple[int, ...], blocks: tuple[int, ...], attributes: Any = None
) -> None:
    path.unlink(missing_ok=True)
    saved = blosc2.asarray(
        array, chunks=chunks, blocks=blocks, urlpath=str(path), mode="w", cparams={"nthreads": 1, "clevel": 5}
    )
    for name, value in (attributes or {}).items():
        saved.schunk.vlmeta[name] = value


def _table() -> np.ndarray[Any, Any]:
    table = np.empty(1000, dtype=[("a", "<i4"), ("b", "<f8"), ("c", "S10"), ("d", "?")])
    table["a"] = np.arange(1000)
    table["b"] = np.linspace(0, 1, 1000)
    table["c"] = [f"row{i}".encode() for i in range(1000)]
    table["d"] = np.arange(1000) % 3 == 0
    return table


def _grid_table() -> np.ndarray[Any, Any]:
    table = np.empty((10, 20), dtype=[("a", "<i4"), ("b", "<f8")])
    table["a"] = np.arange(200).reshape(10, 20)
    table["b"] = np.linspace(0, 1, 200).reshape(10, 20)
    return table


def _make_small_hdf5(path: Path) -> None:
    with h5py.File(path, "x") as file:
        file["dataset"] = np.arange(100, dtype="<f4").reshape(10, 10)
        group = file.create_group("group")
        group["x"] = np.linspace(0, 1, 50)
        group["y"] = np.linspace(0, 1, 50) ** 2


def main() -> int:
    """Make the example root."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "root-example"
    make_root_example(target)
    print(f"made {target}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
