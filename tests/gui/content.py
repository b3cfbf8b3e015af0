"""The root that the tests of the GUI look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

Array = np.ndarray[Any, Any]

HIDDEN = np.dtype({"names": ["id", "value"], "formats": ["<i2", ">f8"], "offsets": [4, 16], "itemsize": 32})


def stack() -> Array:
    """A stack of 20 planes of 60 by 80, each value tells where it is."""
    z, y, x = np.ogrid[:20, :60, :80]
    return (z * 3000 + y * 40 + x).astype("u2")


def mosaic() -> Array:
    """A picture of more than 4 million pixels."""
    y, x = np.ogrid[:2100, :2200]
    return (y * 20 + x % 100).astype("u2")


def events() -> Array:
    """A table of 5000 records."""
    table = np.zeros(5000, [("time", "<f8"), ("channel", "<u2"), ("energy", "<f4"), ("valid", "?"), ("label", "S8")])
    table["time"] = np.arange(5000) * 0.25
    table["channel"] = np.arange(5000) % 17
    table["energy"] = np.linspace(0, 10, 5000)
    table["valid"] = np.arange(5000) % 2 == 0
    table["label"] = [f"ev{n % 7}".encode() for n in range(5000)]
    return table


def every_dtype() -> dict[str, tuple[Array, str]]:
    """Arrays of every kind of type by name, and the exact text of their second element."""
    padded = np.zeros(4, HIDDEN)
    padded["id"], padded["value"] = np.arange(4) + 7, np.arange(4) / 8
    return {
        "big-endian": (np.array([0, 1.5, 3], ">f4"), "1.5"),
        "half": (np.array([0, 0.5, 3], "f2"), "0.5"),
        "single": (np.array([0, 0.1, 3], "f4"), "0.1"),
        "double": (np.array([0, 0.1, np.nan], "f8"), "0.1"),
        "int8": (np.array([0, -5, 3], "i1"), "-5"),
        "int64": (np.array([0, 2**60 + 1, 3], "i8"), str(2**60 + 1)),
        "uint64": (np.array([0, 2**64 - 1, 3], ">u8"), str(2**64 - 1)),
        "bool": (np.array([False, True, False]), "true"),
        "complex": (np.array([0, 1 - 2j, 3], "c16"), "1-2j"),
        "text": (np.array(["", "ñandú", "b"]), "ñandú"),
        "bytes": (np.array([b"", b"abc", b"d"], "S4"), "abc"),
        "dates": (np.array(["2020-01-01", "2026-11-21T05:56:19", "NaT"], "M8[s]"), "2026-11-21T05:56:19"),
        "padded": (padded, "8"),
    }


def write(path: Path, array: Array, *, chunks: tuple[int, ...] | None = None, **attributes: Any) -> None:
    """Write an array with attributes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = blosc2.asarray(array, chunks=chunks, urlpath=str(path), mode="w")
    for name, value in attributes.items():
        made.schunk.vlmeta[name] = value


def make_root(directory: Path) -> Path:
    """Write the root and return it."""
    write(directory / "tomo/stack.b2nd", stack(), chunks=(1, 60, 80), units="counts")
    write(directory / "images/mosaic.b2nd", mosaic(), chunks=(512, 512))
    rgb = np.zeros((1200, 1500, 3), "u1")
    rgb[:, :750, 0], rgb[:, 750:, 2] = 255, 200
    write(directory / "images/colour.b2nd", rgb)
    y, x = np.ogrid[-1:1:64j, -1:1:48j]
    write(directory / "images/smooth.b2nd", np.exp(-4 * (x**2 + y**2)).astype("f4"))
    line = np.sin(np.arange(200_000) / 3000)
    line[123_456] = 9.5
    write(directory / "line/current.b2nd", line, chunks=(20_000,), units="mA")
    write(directory / "tables/events.b2nd", events(), chunks=(1000,))
    write(directory / "scalar.b2nd", np.array(123.456))
    write(directory / "empty.b2nd", np.zeros((0, 4)))
    write(directory / "odd/nothing-finite.b2nd", np.full((30, 40), np.nan))
    write(directory / "odd/silent.b2nd", np.full(100, np.nan))
    write(directory / "odd/greatest.b2nd", np.linspace(-1e300, 1e300, 600).reshape(20, 30))
    write(directory / "odd/column.b2nd", np.arange(5000.0).reshape(-1, 1) ** 2)
    write(directory / "odd/record.b2nd", np.array((7, 2.5, b"on"), [("run", "i4"), ("dose", "f8"), ("beam", "S2")]))
    write(directory / "odd/many-axes.b2nd", np.arange(2**5 * 12.0).reshape(2, 1, 2, 2, 2, 2, 3, 4))
    write(directory / "odd/wordy.b2nd", np.arange(4.0), story="x" * 5000)
    (directory / "odd/nothing.txt").touch()
    write(directory / "waves.b2nd", np.exp(1j * np.linspace(0, 6, 30 * 20)).reshape(30, 20))
    for name, (array, _) in every_dtype().items():
        write(directory / f"dtypes/{name}.b2nd", array)
    (directory / "README.md").write_text("# Beamline\n\nSome **words** <script>document.title='owned'</script>.\n")
    (directory / "config.json").write_text('{"a": [1, 2]}')
    notebook = {"nbformat": 4, "cells": [{"cell_type": "markdown", "source": "# Notebook title"}]}
    (directory / "note.ipynb").write_text(json.dumps(notebook))
    (directory / "data.xyz").write_bytes(bytes(range(256)))
    return directory
