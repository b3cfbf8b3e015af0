"""T1: mutated Blosc2 and HDF5 files and chunks. ``make fuzz`` tries many more than ``make test``."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pytest

from caterva2.errors import UnsafeContent
from caterva2.slices import ChunkPart, select
from caterva2_formats.base import Layout
from caterva2_formats.chunks import ChunkHeader, check_chunk, decompress, read_part
from caterva2_formats.dtypes import parse_dtype, storage_dtype
from caterva2_formats.frames import Frame, read_frame
from caterva2_formats.parts import Numbers, block_numbers, check_part, cut_part, read_blocks
from caterva2_formats.sandbox import Confined, Limits, Sandbox
from tests.security.mutants import blosc2_files, effort, hdf5_files, mutants, mutate
from tests.unit.formats.test_frames import reader

SECONDS = 15.0
"""Longest time that one file may take: the deadline of the sandbox, and room for a busy machine."""
MEMORY = 512 * 2**20


ALONE_EVERY = 20
"""One mutant in so many has a confined process of its own, as in the service; the others share one, which is ten times
as fast. A process that ended over one of them is replaced."""
RECYCLE_AFTER = 500
"""Mutants after which a shared process is replaced, so that what libraries leak is not taken for a mutant's doing."""
SHARED = Limits(deadline_s=3.0)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    sandbox.measures()
    yield sandbox
    sandbox.close()


def newest_helper() -> psutil.Process:
    """Return the process behind the sandbox that was made last; other tests may still have theirs."""
    helpers = [child for child in psutil.Process().children() if "caterva2_formats.sandbox_worker" in child.cmdline()]
    return max(helpers, key=psutil.Process.create_time)


class Looks:
    """Inspects one mutant after the other in a confined process that stays, by one file that holds each in turn."""

    def __init__(self, sandbox: Sandbox, path: Path) -> None:
        self._sandbox = sandbox
        self._file = path.open("w+b", buffering=0)
        self._confined: Confined | None = None
        self._looks = 0

    def inspect(self, name: str, content: bytes) -> None:
        """Check a mutant as `Sandbox.inspect` does. Raises UnsafeContent."""
        self._file.truncate(0)
        os.pwrite(self._file.fileno(), content, 0)
        if self._confined is None:
            self._confined = self._sandbox.start(self._file.fileno(), limits=SHARED)
        self._looks += 1
        try:
            self._confined.ask({"inspect": name, "packed": False})
        except UnsafeContent as error:
            if "crash" in error.detail or "too long" in error.detail:
                self._stop()
            raise
        if self._looks % RECYCLE_AFTER == 0:
            self._stop()

    def _stop(self) -> None:
        if self._confined is not None:
            self._confined.close()
            self._confined = None

    def close(self) -> None:
        """End the process."""
        self._stop()
        self._file.close()


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("make", "crashes_allowed"), [(blosc2_files, False), (hdf5_files, True)], ids=["blosc2", "hdf5"]
)
def test_t1_mutated_files_are_read_or_refused(
    sandbox: Sandbox, tmp_path: Path, make: Callable[[], dict[str, bytes]], crashes_allowed: bool
) -> None:
    helper = newest_helper()
    outcomes: Counter[str] = Counter()
    looks = Looks(sandbox, tmp_path / "mutant")
    for number, (name, content) in enumerate(mutants(make(), effort(150), seed=2026)):
        started = time.monotonic()
        try:
            if number % ALONE_EVERY:
                looks.inspect(name, content)
            else:
                path = tmp_path / name
                path.write_bytes(content)
                sandbox.inspect(path, name)
            outcomes["passed"] += 1
        except UnsafeContent as error:
            outcomes[next((each for each in ("crash", "too long") if each in error.detail), "refused")] += 1
            if "crash" in error.detail and not crashes_allowed:
                pytest.fail(f"mutant {number} of {name} makes a library crash behind the checks of our own")
        assert time.monotonic() - started < SECONDS, f"mutant {number} of {name} takes too long"
    looks.close()
    print(dict(outcomes))
    assert outcomes["passed"]
    assert outcomes["refused"]
    assert helper.is_running()
    assert helper.memory_info().rss < MEMORY


@pytest.mark.timeout(3600)
def test_t1_mutated_frames_raise_nothing_but_refusals() -> None:
    """The parser is our own: it runs in services too, so that not even an unexpected exception will do."""
    in_child(_read_mutants, effort(150) * 10)


def _read_mutants(count: int) -> None:
    passed = refused = 0
    for name, content in mutants(blosc2_files(), count, seed=7):
        try:
            _read_all(content)
            passed += 1
        except UnsafeContent:
            refused += 1
        except Exception as error:
            raise AssertionError(f"{name}: {error!r}") from error
    assert passed
    assert refused


def _read_all(content: bytes) -> None:
    frame = read_frame(reader(content), len(content))
    frame.skeleton()
    for nchunk in islice(range(frame.layout.nchunks), 50):
        decompress(frame.chunk(nchunk))


@pytest.mark.timeout(3600)
def test_t1_mutated_chunks_never_reach_the_library_unchecked() -> None:
    """A subscriber reads what publishers send: whole chunks, and single blocks of them."""
    in_child(_read_mutated_chunks, effort(150) * 50)


def _read_mutated_chunks(count: int) -> None:
    rng = np.random.default_rng(99)
    originals = [(frame, chunk, n) for frame, chunk, n in _chunks() if frame.layout.kind == "array"]
    passed = 0
    for number in range(count):
        frame, chunk, nchunk = originals[number % len(originals)]
        mutant = mutate(rng, chunk, header=64)
        try:
            header = check_chunk(mutant, frame.layout, nchunk)
        except UnsafeContent:
            continue
        passed += 1
        with suppress(UnsafeContent):
            decompress(mutant)
        with suppress(UnsafeContent):
            _read_some(mutant, frame, header)
    assert passed


@pytest.mark.timeout(3600)
def test_t1_mutated_parts_of_chunks_never_reach_the_library_unchecked() -> None:
    """A subscriber reads single blocks that publishers cut out of large chunks."""
    in_child(_read_mutated_parts, effort(150) * 50)


def _read_mutated_parts(count: int) -> None:
    rng = np.random.default_rng(98)
    originals = list(_parts())
    passed = 0
    for number in range(count):
        layout, part, numbers, data = originals[number % len(originals)]
        mutant = mutate(rng, data, header=160)
        try:
            singles = check_part(mutant, layout, part.nchunk, numbers)
        except UnsafeContent:
            continue
        passed += 1
        box = np.empty([9] * len(layout.shape), dtype=storage_dtype(parse_dtype(layout.dtype)))
        with suppress(UnsafeContent):
            read_blocks(singles, layout, part, box)
    assert passed


def _parts() -> Iterator[tuple[Layout, ChunkPart, Numbers, bytes]]:
    for frame, chunk, nchunk in _chunks():
        layout = frame.layout
        inside = tuple(slice(0, min(3, n)) for n in layout.chunks)
        if layout.kind == "array" and (numbers := block_numbers(layout, part := ChunkPart(nchunk, inside, inside))):
            # Where blocks compress to nothing, the table alone is too much of the chunk for a publisher to cut it.
            data = cut_part(chunk, nchunk, numbers)
            if data is not None:
                yield layout, part, numbers, data


def _read_some(chunk: bytes, frame: Frame, header: ChunkHeader) -> None:
    layout = frame.layout
    selection = select(tuple(slice(0, n, 7) for n in layout.shape), layout.shape)
    box = np.empty(selection.box, dtype=storage_dtype(parse_dtype(layout.dtype)))
    for part in selection.parts(layout.chunks):
        read_part(chunk, layout, part, box, header=header)


def _chunks() -> Iterator[tuple[Frame, bytes, int]]:
    for content in blosc2_files().values():
        frame = read_frame(reader(content), len(content))
        for nchunk in range(frame.layout.nchunks):
            yield frame, frame.chunk(nchunk), nchunk


def in_child(work: Callable[[int], None], count: int) -> None:
    """Run `work` in a fork, so that a crash of a library is a failure and not the end of the tests."""
    child = os.fork()
    if child == 0:
        try:
            work(count)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        pytest.fail(f"the process died of {signal.Signals(os.WTERMSIG(status)).name}")
    assert os.waitstatus_to_exitcode(status) == 0
