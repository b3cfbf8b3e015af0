"""B9: datasets of an HDF5 file, which its publisher serves as they are."""

from __future__ import annotations

from collections.abc import Iterator

from .. import load
from ..data import FRAMES
from ..figures import Figure, Row, Unable
from .run import Run, address

SLICE = "50:250, 150:350, :"
"""Crosses nine chunks of 100 x 100 x 100; 16 MB."""


def hdf5(run: Run) -> Iterator[Row]:
    """Slices of datasets that are compressed by gzip, by Blosc2, and not at all; and a stack of frames."""
    for kind in ("gzip", "blosc2", "contiguous"):
        yield from _cold_and_warm(run, f"B9 16 MB of {kind}", kind, SLICE)
    yield from _cold_and_warm(run, "B9 one frame", "frames", "7")
    yield from _cold_and_warm(run, f"B9 stack of {FRAMES[0]} frames, whole", "frames", "0:60")


def _cold_and_warm(run: Run, name: str, dataset: str, slice_: str) -> Iterator[Row]:
    path = address(run.site.member("hdf5", dataset), slice_)
    first = load.run(run.site, [path], may_fail=True)
    if first.failed:
        if not run.turn:
            yield Unable(f"{name}, cold", "fails")
            yield Unable(f"{name}, warm, CPU of the subscriber", "fails")
        return
    if not run.turn:
        # Nothing can be read for the first time twice.
        yield Figure(f"{name}, cold", first.seconds * 1000, "ms")
    found = load.run(run.site, [path] * 5)
    yield Figure(f"{name}, warm, CPU of the subscriber", found.cpu_ms, "ms")
    yield Figure(f"{name}, warm", found.median_ms, "ms")
