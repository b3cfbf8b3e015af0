"""Files in the making: they get a name in a space only when they are finished and checked."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from caterva2.wire import Kind
from caterva2_formats.assemble import plan_frame
from caterva2_formats.base import FILE_CHUNK_BYTES, Layout
from caterva2_formats.chunks import compress, placement
from caterva2_formats.frames import Coding, bytes_layout


class Staging:
    """A directory of this process on the file system of the spaces; those that crashes left are removed at the start.

    Parameters
    ----------
    directory
        Shared by all processes that serve the same spaces.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for abandoned in directory.iterdir():
            _remove_if_abandoned(abandoned)
        self.directory = directory / uuid.uuid4().hex
        self.directory.mkdir(mode=0o700)
        self._lock = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._lock)

    @contextlib.contextmanager
    def new(self) -> Iterator[Path]:
        """Yield the path of a file that may be made, and is removed if it is still there at the end."""
        path = self.directory / uuid.uuid4().hex
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


def _remove_if_abandoned(directory: Path) -> None:
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)
    except BlockingIOError:
        return  # its process is alive
    finally:
        os.close(fd)


class FrameWriter:
    """Writes a frame chunk by chunk, in order. Methods block.

    Parameters
    ----------
    path
        File to be made.
    kind
        Decides what the frame's head holds.
    layout
        Layout of an array; its head is as long as that of the finished frame.
    vlmeta
        User attributes, packed by msgpack.
    """

    def __init__(
        self, path: Path, layout: Layout, *, coding: Coding | None = None, vlmeta: dict[str, bytes] | None = None
    ) -> None:
        self._layout = layout
        self._coding = coding
        self._vlmeta = vlmeta or {}
        self._placements: list[int] = []
        self._file = path.open("xb")
        # The head's length does not depend on what it says, so that the chunks can go to their places at once.
        self._file.seek(len(plan_frame(layout, [0] * layout.nchunks, coding=coding, vlmeta=self._vlmeta).head))

    def add(self, chunk: bytes) -> None:
        """Append the next compressed chunk."""
        place = placement(chunk)
        self._placements.append(place)
        if place > 0:
            self._file.write(chunk)

    @property
    def nbytes(self) -> int:
        """Bytes written so far."""
        return self._file.tell()

    def finish(self, layout: Layout | None = None) -> int:
        """Write what is around the chunks; return the size of the file. `layout` replaces the one given before."""
        plan = plan_frame(layout or self._layout, self._placements, coding=self._coding, vlmeta=self._vlmeta)
        self._file.write(plan.tail)
        self._file.seek(0)
        self._file.write(plan.head)
        self._file.flush()
        os.fsync(self._file.fileno())
        return plan.size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


class PlainFileWriter:
    """Packs a plain file into a frame as it arrives, in chunks of at most 16 MiB. Methods block."""

    def __init__(self, path: Path) -> None:
        self._coding = Coding(filters=(0, 0, 0, 0, 0, 0))
        self._writer = FrameWriter(path, bytes_layout(Kind.FILE, 0, 1), coding=self._coding)
        self._pending = bytearray()
        self._total = 0

    @property
    def nbytes(self) -> int:
        """Bytes written so far."""
        return self._writer.nbytes

    def write(self, data: bytes) -> None:
        """Append content."""
        self._pending += data
        self._total += len(data)
        while len(self._pending) > FILE_CHUNK_BYTES:
            self._pack(bytes(self._pending[:FILE_CHUNK_BYTES]))
            del self._pending[:FILE_CHUNK_BYTES]

    def _pack(self, data: bytes) -> None:
        self._writer.add(compress(data, typesize=1, shuffle=False))

    def finish(self) -> int:
        """Write the rest; return the size of the file."""
        if self._pending:
            self._pack(bytes(self._pending))
        chunksize = max(1, min(self._total, FILE_CHUNK_BYTES))
        return self._writer.finish(bytes_layout(Kind.FILE, self._total, chunksize))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._writer.__exit__(*exc)


class RawFileWriter:
    """Writes a file as it arrives. Methods block."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")

    @property
    def nbytes(self) -> int:
        """Bytes written so far."""
        return self._file.tell()

    def write(self, data: bytes) -> None:
        """Append content."""
        self._file.write(data)

    def finish(self) -> int:
        """Make sure that the content is on disk; return its size."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
