"""Tiles and lines that are made at the subscriber."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from caterva2.errors import VersionChanged
from caterva2.slices import Selection, select
from caterva2.wire import Kind
from caterva2_formats import pyramid
from caterva2_formats.base import Layout
from caterva2_formats.envelope import envelope
from caterva2_formats.pyramid import Plane, level_shape, reduce_mean, top_level
from caterva2_service.threads import Threads
from caterva2_subscriber.views.lines import envelope_of
from caterva2_subscriber.views.planes import Planes

Array = np.ndarray[Any, Any]


class Held:
    """An array in memory, as a resource."""

    def __init__(self, array: Array, chunks: tuple[int, ...]) -> None:
        self.path, self.etag = "@public/a.b2nd", "v1"
        dtype = str(array.dtype)
        self.layout = Layout(Kind.ARRAY, array.shape, chunks, chunks, dtype, array.itemsize, 0, 0, array.nbytes)
        self.read_elements = 0
        self._array = array

    async def read(self, selection: Selection) -> Array:
        """Return the selected elements."""
        self.read_elements += selection.size
        index = tuple(slice(axis.start, axis.stop, axis.step) for axis in selection.axes)
        return self._array[index][selection.finish]


class Published(Held):
    """The same, whose publisher answers as it is told to."""

    answer: Callable[[], Array | None]

    async def tile(self, plane: Plane, level: int, window: Selection) -> Array | None:
        """Return a tile."""
        return self.answer()


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    opened = Threads(2)
    yield opened
    opened.close()


@pytest.fixture
async def planes(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Planes]:
    monkeypatch.setattr(pyramid, "TILE", 8)
    monkeypatch.setattr(pyramid, "_BAND_ELEMENTS", 1)
    opened = Planes(threads)
    yield opened
    await opened.close()


PICTURE = np.random.default_rng(1).integers(0, 60_000, (3, 150, 230), dtype="u2")


def whole(level: int) -> Selection:
    return select((), level_shape((150, 230), level))


async def test_planes_that_no_publisher_reduces_are_reduced_here(planes: Planes) -> None:
    held = Held(PICTURE, (1, 40, 50))
    for level in range(top_level((150, 230)) + 1):
        found = await planes.tile(held, Plane(1, 2, (2,)), level, whole(level))  # type: ignore[arg-type]
        np.testing.assert_array_equal(found, reduce_mean(PICTURE[2], level))
    before = held.read_elements
    window = select("1:3,2:9", level_shape((150, 230), 3))
    found = await planes.tile(held, Plane(1, 2, (2,)), 3, window)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, reduce_mean(PICTURE[2], 3)[1:3, 2:9])
    assert held.read_elements == before, "it is made once"


@pytest.mark.parametrize("level", [1, 4])
async def test_what_the_publisher_makes_is_taken_and_made_here_where_it_does_not(planes: Planes, level: int) -> None:
    held = Published(PICTURE, (1, 40, 50))
    made = np.zeros(1)
    held.answer = lambda: made
    plane = Plane(1, 2, (0,))
    assert await planes.tile(held, plane, level, whole(level)) is made  # type: ignore[arg-type]
    assert not held.read_elements
    held.answer = lambda: None
    found = await planes.tile(held, plane, level, whole(level))  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, reduce_mean(PICTURE[0], level))


async def test_a_version_that_is_gone_is_not_made_up_for(planes: Planes) -> None:
    held = Published(PICTURE, (1, 40, 50))

    def changed() -> Array:
        raise VersionChanged("it is at another version")

    held.answer = changed
    with pytest.raises(VersionChanged):
        await planes.tile(held, Plane(1, 2, (0,)), 3, whole(3))  # type: ignore[arg-type]


async def test_a_large_plane_is_described_by_a_level_of_bounded_size(planes: Planes) -> None:
    found = await planes.overview(Held(PICTURE, (1, 40, 50)), Plane(1, 2, (1,)))  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, reduce_mean(PICTURE[1], 3))


@pytest.mark.parametrize("text", [":,2", "10:190:7,0", "190:10:-1,1"])
async def test_lines_that_no_publisher_reduces_are_reduced_here(threads: Threads, text: str) -> None:
    array = np.random.default_rng(2).normal(size=(200, 3))
    selection = select(text, array.shape)
    found = await envelope_of(Held(array, (30, 3)), selection, 0, 6, threads)  # type: ignore[arg-type]
    axis = selection.axes[0]
    pairs = envelope(array[axis.start : axis.stop : axis.step, selection.axes[1].start], 6)
    np.testing.assert_array_equal(found, pairs[::-1] if axis.flipped else pairs)
