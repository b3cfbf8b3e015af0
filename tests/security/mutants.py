"""Good files of every kind, and what becomes of them when bytes change: made when the tests run, never stored."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from typing import Any

import blosc2
import h5py
import hdf5plugin
import numpy as np

INTERESTING = [0, 1, -1, 2, 7, 8, 31, 32, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**31 - 1, -(2**31), 2**32 - 1]


def effort(default: int) -> int:
    """Return how many mutants a test tries: `default`, or what ``CATERVA2_FUZZ`` says (``make fuzz``)."""
    return int(os.environ.get("CATERVA2_FUZZ", "0")) or default


def blosc2_files() -> dict[str, bytes]:
    """Return frames with every codec, filter and kind of element, by file name."""
    rng = np.random.default_rng(0)
    files: dict[str, bytes] = {}
    values = rng.integers(0, 50, (60, 70)).astype("<i4")
    for codec in (blosc2.Codec.BLOSCLZ, blosc2.Codec.LZ4, blosc2.Codec.LZ4HC, blosc2.Codec.ZLIB, blosc2.Codec.ZSTD):
        made = blosc2.asarray(values, chunks=(25, 30), blocks=(10, 10), cparams={"codec": codec, "nthreads": 1})
        files[f"codec-{codec.name}.b2nd"] = made.to_cframe()
    for number in (blosc2.Filter.BITSHUFFLE, blosc2.Filter.DELTA, blosc2.Filter.TRUNC_PREC):
        cparams = {"filters": [number, blosc2.Filter.SHUFFLE], "filters_meta": [10, 0], "nthreads": 1}
        floats = values.astype("<f4")
        made = blosc2.asarray(floats, chunks=(30, 70), blocks=(10, 70), cparams=cparams)
        files[f"filter-{number.name}.b2nd"] = made.to_cframe()
    table = np.zeros(300, dtype=[("a", "<i4"), ("b", "<f8"), ("c", "S10")])
    table["a"] = np.arange(300)
    made = blosc2.asarray(table, chunks=(100,), blocks=(20,))
    made.schunk.vlmeta["note"] = {"list": [1, 2.5, "text", None], "bytes": b"\0\1"}
    files["table.b2nd"] = made.to_cframe()
    specials = blosc2.zeros((100, 10), dtype="<f8", chunks=(10, 10), blocks=(5, 10))
    specials[10:20] = np.nan
    specials[30:40] = 7
    specials[50:60] = rng.random((10, 10))
    files["specials.b2nd"] = specials.to_cframe()
    files["scalar.b2nd"] = blosc2.asarray(np.array(3.5)).to_cframe()
    files["bytes.b2frame"] = blosc2.SChunk(data=rng.bytes(3000) + bytes(3000), chunksize=1000).to_cframe()
    return files


def hdf5_files() -> dict[str, bytes]:
    """Return HDF5 files with every filter that is allowed, by file name."""
    rng = np.random.default_rng(1)
    values = rng.integers(0, 50, (40, 50)).astype("<i4")
    filters: dict[str, dict[str, Any]] = {
        "gzip": {"compression": "gzip", "shuffle": True, "fletcher32": True},
        "lzf": {"compression": "lzf"},
        "scaleoffset": {"scaleoffset": 0},
        "bzip2": dict(hdf5plugin.BZip2()),
        "blosc": dict(hdf5plugin.Blosc()),
        "lz4": dict(hdf5plugin.LZ4()),
        "zstd": dict(hdf5plugin.Zstd()),
        "zfp": dict(hdf5plugin.Zfp(reversible=True)),
        "blosc2": dict(hdf5plugin.Blosc2()),
        "contiguous": {},
    }
    files: dict[str, bytes] = {}
    for name, options in filters.items():
        for libver in ("earliest", "latest"):
            content = io.BytesIO()
            with h5py.File(content, "w", libver=libver) as file:
                chunks = None if name == "contiguous" else (15, 20)
                dataset = file.create_dataset("group/x", data=values, chunks=chunks, **options)
                dataset.attrs["unit"] = "m"
                dataset.attrs["array"] = [1.5, 2.5]
                file["group"].attrs["text"] = "text"
                file["scalar"] = 5
            files[f"{name}-{libver}.h5"] = content.getvalue()
    return files


def mutate(rng: np.random.Generator, data: bytes, *, header: int = 200) -> bytes:
    """Return `data` with some damage; the first and last `header` bytes, where sizes are, are hit more often."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        if not changed:
            break
        _damage(rng, changed, header)
    return bytes(changed)


def _damage(rng: np.random.Generator, data: bytearray, header: int) -> None:
    position = _position(rng, len(data), header)
    match int(rng.integers(0, 7)):
        case 0:
            data[position] ^= 1 << int(rng.integers(0, 8))
        case 1:
            data[position] = int(rng.integers(0, 256))
        case 2 | 3:
            value = INTERESTING[int(rng.integers(0, len(INTERESTING)))]
            field = struct.pack(("<" if rng.integers(0, 2) else ">") + "q", value)
            width = int(rng.choice([1, 2, 4, 8]))
            field = field[:width] if field[:1] != b"\0" else field[8 - width :]
            data[position : position + width] = field[: len(data) - position]
        case 4:
            del data[position:]
        case 5:
            length = int(rng.integers(1, 64))
            source = _position(rng, len(data), header)
            data[position : position + length] = data[source : source + length]
        case 6:
            length = int(rng.integers(1, 64))
            data[position : position + length] = rng.bytes(length)


def _position(rng: np.random.Generator, length: int, header: int) -> int:
    where = int(rng.integers(0, 3))
    if where == 0:
        return int(rng.integers(0, min(header, length)))
    if where == 1:
        return int(rng.integers(max(0, length - header), length))
    return int(rng.integers(0, length))


def mutants(files: dict[str, bytes], count: int, *, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of `count` mutants, the same for the same seed."""
    rng = np.random.default_rng(seed)
    names = sorted(files)
    for number in range(count):
        name = names[number % len(names)]
        yield name, mutate(rng, files[name])
