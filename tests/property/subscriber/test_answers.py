"""Every way of answering a slice against numpy, for any type, shape, chunks and key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import blosc2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from caterva2.slices import format_key, select
from caterva2_formats.directory import DirectoryRoot
from caterva2_service.threads import Threads
from caterva2_subscriber import answers
from caterva2_subscriber.answers import CODECS, Answer
from caterva2_subscriber.memory import Memory
from caterva2_subscriber.spaces.resource import SpaceResource

DTYPES = [
    "|u1",
    "<i8",
    ">i4",
    "<f4",
    "<f8",
    "<c16",
    "|b1",
    "|S5",
    "<U3",
    "<M8[s]",
    [("a", "<i4"), ("b", ">f8"), ("c", "S3")],
]


@dataclass(frozen=True)
class Case:
    """An array, how it is stored, and what is asked of it."""

    array: np.ndarray[Any, Any]
    chunks: tuple[int, ...]
    key: Any


@st.composite
def cases(draw: st.DrawFn) -> Case:
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    size = int(np.prod(shape))
    raw = np.random.default_rng(draw(st.integers(0, 2**16))).integers(32, 127, size * dtype.itemsize, dtype=np.uint8)
    if dtype.kind == "b":
        raw %= 2
    if dtype.kind == "U":
        array = np.array([chr(65 + n % 26) for n in range(size)], dtype).reshape(shape)
    else:
        array = raw.view(dtype).reshape(shape)
    if draw(st.booleans()):
        array = np.zeros_like(array)
    chunks = tuple(draw(st.integers(1, max(1, n))) for n in shape)
    key = draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True, max_dims=7))
    return Case(array, chunks, key)


@contextmanager
def opened(case: Case) -> Iterator[SpaceResource]:
    with TemporaryDirectory() as directory:
        chunks = case.chunks if case.array.size else None
        blosc2.asarray(case.array, chunks=chunks, urlpath=f"{directory}/a.b2nd", mode="w")
        source = DirectoryRoot(Path(directory)).open("a.b2nd")
        threads = Threads(2)
        try:
            yield SpaceResource("@public/a.b2nd", source, 0.0, threads)
        finally:
            threads.close()


async def collected(answer: Answer) -> bytes:
    body = answer.body
    if isinstance(body, bytes):
        frame = body
    elif isinstance(body, list):
        frame = b"".join(body)
    else:
        frame = b"".join([piece async for piece in body])
    assert len(frame) == answer.length
    return frame


def check(frame: bytes, expected: np.ndarray[Any, Any]) -> None:
    found = blosc2.ndarray_from_cframe(frame, copy=True)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    elements = found[()] if found.ndim == 0 else found[:]
    assert np.asarray(elements).tobytes() == np.ascontiguousarray(expected).tobytes()


@given(cases(), st.sampled_from(sorted(CODECS)))
def test_exact_frames_hold_what_numpy_selects(case: Case, codec: str) -> None:
    with opened(case) as resource:
        selection = select(format_key(case.key), case.array.shape)
        check(asyncio.run(_exact(resource, selection, codec)), selected(case))


async def _exact(resource: SpaceResource, selection: Any, codec: str) -> bytes:
    threads = resource._threads
    return await collected(await answers.exact(resource, selection, CODECS[codec], threads, memory_with(threads)))


@given(cases())
def test_streamed_frames_hold_what_numpy_selects(case: Case) -> None:
    with opened(case) as resource, pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "HELD_BYTES", 0)
        patch.setattr(answers, "_GROUP_BYTES", 300)
        patch.setattr("caterva2_formats.assemble.PIECE_BYTES", 100)
        selection = select(format_key(case.key), case.array.shape)
        assume(selection.shape)
        check(asyncio.run(_exact(resource, selection, "none")), selected(case))


@given(cases(), st.data())
def test_stored_chunks_are_passed_on_only_where_they_hold_what_numpy_selects(case: Case, data: st.DataObject) -> None:
    array = case.array
    key = tuple(
        slice(start := c * data.draw(st.integers(0, max(0, (n - 1) // c))), data.draw(st.integers(start, n)))
        for n, c in zip(array.shape, case.chunks, strict=True)
    )
    with opened(case) as resource:
        assert resource.layout is not None
        stored = answers.aligned(resource.layout, select(key, array.shape))
        if stored is not None:
            check(asyncio.run(_assembled(resource, stored)), array[(*key, ...)])


async def _assembled(resource: SpaceResource, stored: Any) -> bytes:
    return await collected(await answers.assembled(resource, *stored, memory_with(resource._threads)))


def memory_with(threads: Threads) -> Memory:
    return Memory(2**20, Path(gettempdir()), threads)


@given(st.binary(max_size=3000), st.integers(1, 700))
def test_slices_of_bytes_are_those_of_python(content: bytes, chunksize: int) -> None:
    key = slice(len(content) // 3, len(content) - chunksize % 7, 1 + chunksize % 3)
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        schunk = blosc2.SChunk(chunksize=chunksize, data=content, urlpath=f"{directory}/a.b2frame", mode="w")
        del schunk
        source = DirectoryRoot(Path(directory)).open("a.b2frame")
        threads = Threads(2)
        resource = SpaceResource("@public/a.b2frame", source, 0.0, threads)
        patch.setattr(answers, "_PIECE_BYTES", 64)
        for held in (10**9, -1):
            patch.setattr(answers, "HELD_BYTES", held)
            selection = select(key, (len(content),))
            if held < 0 and not selection.size:
                continue
            frame = asyncio.run(_exact(resource, selection, "lz4"))
            assert blosc2.schunk_from_cframe(frame, copy=True)[:] == content[key]
        threads.close()


def selected(case: Case) -> np.ndarray[Any, Any]:
    """Return what numpy selects, as an array also where it is a single element."""
    key = case.key if isinstance(case.key, tuple) else (case.key,)
    return case.array[key if Ellipsis in key else (*key, ...)]
