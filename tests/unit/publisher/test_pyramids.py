"""Pyramids and envelopes at the publisher, against numpy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blosc2
import h5py
import numpy as np
import pytest

from caterva2.errors import BadRequest, ChunkNotFound, TooLarge, VersionChanged
from caterva2.slices import select
from caterva2_formats import envelope as envelope_module
from caterva2_formats import pyramid as pyramid_module
from caterva2_formats.base import Layout
from caterva2_formats.chunks import check_chunk, read_part
from caterva2_formats.dtypes import parse_dtype
from caterva2_formats.envelope import Line, envelope
from caterva2_formats.pyramid import BASE_LEVEL, Plane, level_layout, level_shape, top_level
from caterva2_formats.roots import open_root
from caterva2_publisher.chunks import Sources
from caterva2_publisher.kept import KeptChunks
from caterva2_publisher.pyramid_files import PyramidFiles, PyramidKey
from caterva2_publisher.pyramids import Pyramids, Stopped

Array = np.ndarray[Any, Any]
NEVER = threading.Event()


class Maker:
    """Pyramids of the root ``data`` below a directory."""

    def __init__(self, place: Path, *, root: str = "data", disk_bytes: int = 2**24) -> None:
        self.data = place / "data"
        self.data.mkdir(exist_ok=True)
        self.files = place / "pyramids"
        self.root = open_root(place / root)
        self.sources = Sources(self.root, KeptChunks(place / "kept", disk_bytes=2**20))
        kept = KeptChunks(place / "tiles", disk_bytes=2**20)
        self.pyramids = Pyramids(self.sources, kept, PyramidFiles(self.files, disk_bytes=disk_bytes))

    def write(self, array: Array, chunks: tuple[int, ...]) -> None:
        blosc2.asarray(array, chunks=chunks, urlpath=str(self.data / "a.b2nd"), mode="w")

    def layout(self, path: str = "a.b2nd") -> Layout:
        with self.sources.lend(path) as source:
            return source.layout

    def level(self, plane: Plane, level: int, path: str = "a.b2nd") -> Array:
        """Return a whole level, put together from its tiles."""
        key = self.pyramids.check(path, None, plane, level)
        layout = level_layout(self.layout(path), plane, level)
        if level >= BASE_LEVEL:
            self.pyramids.make(key, NEVER)
        found = np.empty(layout.shape, parse_dtype(layout.dtype))
        for part in select((), layout.shape).parts(layout.chunks):
            tile = self.pyramids.tile(key, level, part.nchunk, NEVER)
            assert tile is not None
            read_part(tile, layout, part, found, header=check_chunk(tile, layout, part.nchunk))
        return found


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[Maker]:
    made = Maker(tmp_path)
    yield made
    made.sources.close()
    made.root.close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles and bands so small that little arrays have many."""
    monkeypatch.setattr(pyramid_module, "TILE", 4)
    monkeypatch.setattr(pyramid_module, "_BAND_ELEMENTS", 1)


def block_means(picture: Array, level: int) -> Array:
    """Return what a level is, square by square."""
    side = 1 << level
    found = np.empty(level_shape(picture.shape, level), picture.dtype)  # type: ignore[arg-type]
    for place in np.ndindex(found.shape):
        square = picture[tuple(slice(i * side, (i + 1) * side) for i in place)].astype("f8")
        valid = square[np.isfinite(square)]
        mean = valid.mean() if valid.size else np.nan
        found[place] = mean if picture.dtype.kind == "f" else np.rint(mean)
    return found


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("dtype", ["<u2", ">f4", "float64", "float16", "bool", "int8"])
@pytest.mark.parametrize(
    ("shape", "chunks", "plane"),
    [
        ((100, 70), (30, 30), Plane(0, 1, ())),
        ((2, 129, 65), (1, 129, 65), Plane(1, 2, (1,))),
        ((50, 6, 140, 3), (7, 2, 9, 1), Plane(0, 2, (5, 1))),
        ((1, 300), (1, 300), Plane(0, 1, ())),
    ],
)
def test_every_pixel_of_every_level_is_the_mean_of_its_square(
    maker: Maker, dtype: str, shape: tuple[int, ...], chunks: tuple[int, ...], plane: Plane
) -> None:
    random = np.random.default_rng(1)
    array = (random.random(shape) * 100).astype(dtype)
    if array.dtype.kind == "f":
        array[random.random(shape) < 0.3] = np.nan
        array[(slice(0, 40),) * len(shape)] = np.nan
    maker.write(array, chunks)
    others = iter(plane.at)
    index = tuple(slice(None) if i in (plane.rows, plane.columns) else next(others) for i in range(len(shape)))
    picture = array[index]
    for level in range(1, top_level(picture.shape) + 1):
        found = maker.level(plane, level)
        assert found.dtype == array.dtype
        # Equal but for the order of adding, which shows where a mean lies between two numbers of the type.
        np.testing.assert_allclose(found, block_means(picture, level), rtol=2e-3 if dtype == "float16" else 1e-6)


@pytest.mark.usefixtures("small")
def test_the_greatest_integers_keep_their_sign(maker: Maker) -> None:
    maker.write(np.full((70, 70), 2**64 - 1, "u8"), (20, 20))
    assert maker.level(Plane(0, 1, ()), 4).min() >= 2**64 - 2**12


@pytest.mark.usefixtures("small")
def test_planes_of_hdf5_datasets_have_pyramids(tmp_path: Path) -> None:
    stack = np.random.default_rng(3).integers(0, 1000, (3, 90, 75), dtype="i4")
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("stack", data=stack, chunks=(1, 32, 32), compression="gzip")
    maker = Maker(tmp_path, root="f.h5")
    assert [found.path for found in maker.root.scan()] == ["stack.b2nd"]
    for level in (1, 2, 3, 4):
        np.testing.assert_array_equal(maker.level(Plane(1, 2, (2,)), level, "stack.b2nd"), block_means(stack[2], level))


def counted(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with every chunk that is read."""
    read: list[int] = []
    original = Sources.chunk

    def chunk(self: Sources, path: str, source: Any, nchunk: int) -> bytes:
        read.append(nchunk)
        return original(self, path, source, nchunk)

    monkeypatch.setattr(Sources, "chunk", chunk)
    return read


@pytest.mark.usefixtures("small")
def test_a_pyramid_is_made_once_for_a_version_and_thrown_away_with_it(
    maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = Plane(0, 1, ())
    maker.write(np.random.default_rng(2).random((400, 400)), (100, 100))
    read = counted(maker, monkeypatch)
    first = maker.level(plane, 4)
    walked = len(read)
    assert walked
    np.testing.assert_array_equal(maker.level(plane, 4), first)
    maker.level(plane, 5)
    again = Maker(tmp_path)
    np.testing.assert_array_equal(again.level(plane, 4), first)
    assert len(read) == walked, "kept over restarts"
    key = maker.pyramids.check("a.b2nd", None, plane, 4)
    maker.write(np.zeros((400, 400)), (100, 100))
    with pytest.raises(VersionChanged):
        maker.pyramids.check("a.b2nd", key.etag, plane, 4)
    assert not maker.level(plane, 4).any()
    files = PyramidFiles(maker.files, disk_bytes=2**24)
    files.forget(["other.b2nd"])
    assert files.has(key)
    files.forget(["a.b2nd"])
    assert list(maker.files.iterdir()) == []


@pytest.mark.usefixtures("small")
def test_pyramids_are_bounded_and_the_least_recently_used_go_first(maker: Maker, tmp_path: Path) -> None:
    array = np.random.default_rng(4).integers(0, 60_000, (4, 200, 200), dtype="u2")
    maker.write(array, (1, 200, 200))
    maker.level(Plane(1, 2, (0,)), 3)
    size = next(maker.files.iterdir()).stat().st_size
    bounded = Maker(tmp_path, disk_bytes=int(size * 2.5))
    keys = [bounded.pyramids.check("a.b2nd", None, Plane(1, 2, (at,)), 3) for at in range(4)]
    for key in keys[:2]:
        bounded.pyramids.make(key, NEVER)
    assert bounded.pyramids.tile(keys[0], 3, 0, NEVER) is not None
    bounded.pyramids.make(keys[2], NEVER)
    assert [bounded.pyramids.is_made(key) for key in keys] == [True, False, True, False]
    tiny = Maker(tmp_path, disk_bytes=size // 2)
    for _ in range(2):
        with pytest.raises(TooLarge):
            tiny.pyramids.make(keys[3], NEVER)
    assert list(tiny.files.iterdir()) == []


@pytest.mark.usefixtures("small")
def test_a_damaged_pyramid_is_made_again(maker: Maker) -> None:
    maker.write(np.random.default_rng(5).random((200, 200)), (100, 100))
    key = maker.pyramids.check("a.b2nd", None, Plane(0, 1, ()), 3)
    maker.pyramids.make(key, NEVER)
    file = next(maker.files.iterdir())
    data = bytearray(file.read_bytes())
    data[40] ^= 1
    file.write_bytes(data)
    assert maker.pyramids.tile(key, 3, 0, NEVER) is None
    assert not maker.pyramids.is_made(key)
    maker.pyramids.make(key, NEVER)
    assert maker.pyramids.tile(key, 3, 0, NEVER) is not None


@pytest.mark.usefixtures("small")
def test_a_pyramid_that_nobody_waits_for_is_given_up(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    maker.write(np.random.default_rng(6).random((400, 400)), (50, 50))
    key = maker.pyramids.check("a.b2nd", None, Plane(0, 1, ()), 3)
    stop = threading.Event()
    read = counted(maker, monkeypatch)
    original = Sources.chunk

    def chunk(self: Sources, path: str, source: Any, nchunk: int) -> bytes:
        if len(read) == 9:
            stop.set()
        return original(self, path, source, nchunk)

    monkeypatch.setattr(Sources, "chunk", chunk)
    with pytest.raises(Stopped):
        maker.pyramids.make(key, stop)
    assert len(read) == 10
    assert list(maker.files.iterdir()) == []


@pytest.mark.parametrize("plane", [Plane(1, 0, (0,)), Plane(0, 3, (0,)), Plane(1, 2, ()), Plane(1, 2, (5,))])
def test_a_plane_that_is_none_is_refused(maker: Maker, plane: Plane) -> None:
    maker.write(np.zeros((5, 600, 600), "u1"), (1, 600, 600))
    with pytest.raises(BadRequest):
        maker.pyramids.check("a.b2nd", None, plane, 1)


@pytest.mark.parametrize("level", [-1, 0, 2, 40])
def test_a_level_that_is_none_is_refused(maker: Maker, level: int) -> None:
    maker.write(np.zeros((600, 600), "u1"), (600, 600))
    with pytest.raises(BadRequest, match="levels 1 to 1"):
        maker.pyramids.check("a.b2nd", None, Plane(0, 1, ()), level)


def test_a_tile_that_is_none_is_refused(maker: Maker) -> None:
    maker.write(np.zeros((600, 600), "u1"), (600, 600))
    key = maker.pyramids.check("a.b2nd", None, Plane(0, 1, ()), 1)
    with pytest.raises(ChunkNotFound):
        maker.pyramids.tile(key, 1, 1, NEVER)


def test_values_without_means_are_refused(maker: Maker) -> None:
    maker.write(np.zeros((600, 600), dtype=complex), (600, 600))
    with pytest.raises(BadRequest, match="real numbers"):
        maker.pyramids.check("a.b2nd", None, Plane(0, 1, ()), 1)


def read_envelope(maker: Maker, line: Line) -> Array:
    _, chunk = maker.pyramids.envelope("a.b2nd", None, line, NEVER)
    layout = line.layout(maker.layout())
    found = np.empty(layout.shape, parse_dtype(layout.dtype))
    for part in select((), layout.shape).parts(layout.chunks):
        read_part(chunk, layout, part, found, header=check_chunk(chunk, layout, 0))
    return found


@pytest.mark.parametrize("block", [1, 7, 100, 10_000])
@pytest.mark.parametrize("dtype", ["<i8", "<f8", ">f4", "u1", "bool"])
def test_an_envelope_is_exact(maker: Maker, monkeypatch: pytest.MonkeyPatch, dtype: str, block: int) -> None:
    monkeypatch.setattr(envelope_module, "_BLOCK", block)
    random = np.random.default_rng(7)
    wide = random.integers(-(2**62), 2**62, (3, 1000, 2))
    array = wide.astype(dtype) if np.dtype(dtype).kind != "f" else (wide / 3).astype(dtype)
    if array.dtype.kind == "f":
        array[random.random(array.shape) < 0.2] = np.nan
        array[1, 100:200, 1] = np.nan
    maker.write(array, (1, 90, 2))
    for start, step, count, group in ((0, 1, 1000, 10), (13, 1, 987, 31), (5, 3, 300, 300), (0, 1, 1000, 999)):
        line = Line(1, (1, 1), start, step, count, group)
        values = array[1, start : start + (count - 1) * step + 1 : step, 1]
        np.testing.assert_array_equal(read_envelope(maker, line), envelope(values, group))


@pytest.mark.parametrize(
    "line",
    [
        Line(2, (), 0, 1, 10, 2),
        Line(0, (), 0, 1, 10, 2),
        Line(0, (0,), 0, 1, 11, 2),
        Line(0, (0,), -1, 1, 5, 2),
        Line(0, (0,), 0, 1, 5, 0),
        Line(0, (9,), 0, 1, 5, 2),
    ],
)
def test_a_line_that_is_none_is_refused(maker: Maker, line: Line) -> None:
    maker.write(np.zeros((10, 4)), (10, 4))
    with pytest.raises(BadRequest):
        maker.pyramids.envelope("a.b2nd", None, line, NEVER)


def test_files_of_a_publisher_that_was_killed_are_removed(tmp_path: Path) -> None:
    (tmp_path / "x.begun").write_bytes(b"half")
    assert not PyramidFiles(tmp_path, disk_bytes=100).has(PyramidKey("a", "v", Plane(0, 1, ())))
    assert list(tmp_path.iterdir()) == []
