"""Overviews of planes."""

from __future__ import annotations

import io
from pathlib import Path

import blosc2
import numpy as np
import pytest
import zstandard

from caterva2.errors import BadRequest, VersionChanged
from caterva2_formats.directory import DirectoryRoot
from caterva2_formats.pyramid import OVERVIEW_LEVEL, reduce_mean
from caterva2_publisher import overviews as module
from caterva2_publisher.chunks import Sources
from caterva2_publisher.kept import KeptChunks
from caterva2_publisher.overviews import Overviews, Plane


@pytest.fixture
def overviews(tmp_path: Path) -> Overviews:
    kept = KeptChunks(tmp_path / "kept", disk_bytes=2**20)
    return Overviews(Sources(DirectoryRoot(tmp_path), kept), kept)


def write(place: Path, array: np.ndarray, chunks: tuple[int, ...]) -> None:
    blosc2.asarray(array, chunks=chunks, urlpath=str(place / "a.b2nd"), mode="w")


def read(packed: bytes) -> np.ndarray:
    found: np.ndarray = np.load(io.BytesIO(zstandard.decompress(packed)), allow_pickle=False)
    return found


@pytest.mark.parametrize("dtype", ["<u2", ">f4", "float64", "bool", "int8"])
@pytest.mark.parametrize(
    ("shape", "chunks", "plane"),
    [
        ((100, 70), (30, 30), Plane(0, 1, ())),
        ((5, 100, 70), (1, 100, 70), Plane(1, 2, (3,))),
        ((50, 6, 40, 3), (7, 2, 9, 1), Plane(0, 2, (5, 1))),
    ],
)
def test_an_overview_is_the_mean_of_squares(
    tmp_path: Path,
    overviews: Overviews,
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    plane: Plane,
) -> None:
    monkeypatch.setattr(module, "_BAND_BYTES", 1)  # as many bands as there can be
    array = (np.random.default_rng(1).random(shape) * 100).astype(dtype)
    write(tmp_path, array, chunks)
    _, packed = overviews.of("a.b2nd", None, plane)
    others = iter(plane.at)
    index = tuple(slice(None) if i in (plane.rows, plane.columns) else next(others) for i in range(len(shape)))
    wanted = reduce_mean(array[index], OVERVIEW_LEVEL)
    found = read(packed)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


def test_an_overview_is_made_once_for_a_version(tmp_path: Path, overviews: Overviews) -> None:
    write(tmp_path, np.random.default_rng(2).random((400, 400)), (100, 100))
    etag, first = overviews.of("a.b2nd", None, Plane(0, 1, ()))
    made = [file.name for file in (tmp_path / "kept").iterdir()]
    assert overviews.of("a.b2nd", etag, Plane(0, 1, ())) == (etag, first)
    assert [file.name for file in (tmp_path / "kept").iterdir()] == made
    write(tmp_path, np.zeros((400, 400)), (100, 100))
    with pytest.raises(VersionChanged):
        overviews.of("a.b2nd", etag, Plane(0, 1, ()))
    assert not read(overviews.of("a.b2nd", None, Plane(0, 1, ()))[1]).any()


@pytest.mark.parametrize("plane", [Plane(1, 0, (0,)), Plane(0, 3, (0,)), Plane(1, 2, ()), Plane(1, 2, (5,))])
def test_a_plane_that_is_none_is_refused(tmp_path: Path, overviews: Overviews, plane: Plane) -> None:
    write(tmp_path, np.zeros((5, 9, 9)), (1, 9, 9))
    with pytest.raises(BadRequest):
        overviews.of("a.b2nd", None, plane)


def test_values_without_means_are_refused(tmp_path: Path, overviews: Overviews) -> None:
    write(tmp_path, np.zeros((9, 9), dtype=complex), (9, 9))
    with pytest.raises(BadRequest, match="real numbers"):
        overviews.of("a.b2nd", None, Plane(0, 1, ()))
