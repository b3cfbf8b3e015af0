"""Make the example HDF5 file: a root of its own, with every kind of dataset that is supported and some that are not.

Run ``python -m demo.make_hdf5_example FILE.h5``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np


def make_hdf5_example(target: Path) -> None:
    """Write the example to `target`, which must not exist."""
    with h5py.File(target, "x") as file:
        file["scalar"] = 123.456
        file["string"] = np.bytes_("Hello world!")
        _make_arrays(file.create_group("arrays"))
        _make_attributes(file)
        unsupported = file.create_group("unsupported")
        unsupported.create_dataset("too-many-dimensions", shape=(1,) * 23, dtype="u1")
        unsupported.create_dataset("vlstring", data="Hello world!", dtype=h5py.string_dtype())


def _make_arrays(group: h5py.Group) -> None:
    group["1d-raw"] = np.arange(100, dtype="u1")
    group["soft-link"] = h5py.SoftLink("/arrays/1d-raw")
    foobar = np.frombuffer(b"foobar" * 100, dtype="u1")
    group.create_dataset("1ds-blosc2", data=foobar, chunks=(50,), **hdf5plugin.Blosc2())
    plane = np.arange(100, dtype="c16").reshape(10, 10)
    plane = plane + plane * 1j
    group["2d-nochunks"] = plane
    group.create_dataset("2d-gzip", data=plane, chunks=(4, 4), compression="gzip")
    cube = np.arange(1000).astype("u1").reshape(10, 10, 10)
    bitshuffled = hdf5plugin.Blosc2(cname="lz4", clevel=7, filters=hdf5plugin.Blosc2.BITSHUFFLE)
    group.create_dataset("3d-blosc2", data=cube, chunks=(4, 10, 10), **bitshuffled)
    ramp = np.linspace(-1, 2, 1000).reshape(10, 10, 10)
    group.create_dataset("3d-blosc2-a", data=ramp, chunks=(4, 10, 10), **bitshuffled)
    shuffled = hdf5plugin.Blosc2(cname="blosclz", clevel=7, filters=hdf5plugin.Blosc2.SHUFFLE)
    group.create_dataset("3d-blosc2-b", data=ramp, chunks=(2, 5, 10), **shuffled)
    group.create_dataset("array-dtype", shape=(10,), dtype=np.dtype(("<f8", (4,))))
    group.create_dataset("compound-dtype", shape=(10,), dtype=np.dtype("u1,<f8"))
    group["empty"] = h5py.Empty("f8")


def _make_attributes(file: h5py.File) -> None:
    attributes = file.create_dataset("attrs", data=0).attrs
    attributes["Int"] = 42
    attributes.create("IntT", 42, dtype="i2")
    attributes["Bin"] = np.bytes_("foo")
    attributes.create("BinT", np.bytes_("foo"), dtype="S10")
    attributes["Str"] = "bar"
    attributes["Arr"] = [[0, 1], [2, 3]]
    attributes.create("ArrT", [[0, 1], [2, 3]], dtype="i2")
    attributes["NilBin"] = h5py.Empty("S4")
    attributes["NilInt"] = h5py.Empty("i4")


def main() -> int:
    """Write the example to the path given on the command line."""
    if len(sys.argv) != 2:
        print("usage: python -m demo.make_hdf5_example FILE.h5", file=sys.stderr)
        return 2
    target = Path(sys.argv[1])
    if target.exists():
        print(f"{target} exists already", file=sys.stderr)
        return 1
    make_hdf5_example(target)
    print(f"made {target}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
