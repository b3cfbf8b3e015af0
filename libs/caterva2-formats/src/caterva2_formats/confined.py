"""HDF5 files of people one does not know, read by a confined process each (U5).

libhdf5 and its filters may crash, hang or worse on a damaged file, and not only at the first look. What reads such a
file is therefore never the service: a process of the `caterva2_formats.sandbox` does, for as long as the file is open.
Its answers are checked as if they came from the file itself.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from typing import Any, Self

from caterva2.errors import Caterva2Error, ChunkNotFound, Unavailable, UnsafeContent
from caterva2.paths import check_path
from caterva2.wire import Kind

from .base import Skeleton
from .chunks import check_chunk
from .frames import unpack_value
from .hdf5 import OpenFiles
from .info import layout_of
from .opening import OpenFile, etag_of
from .sandbox import Confined, Sandbox
from .unfold import Unfolded


class ConfinedHandle:
    """One version of an HDF5 file, and the process that reads it, started when first asked."""

    def __init__(self, opened: OpenFile, sandbox: Sandbox) -> None:
        self.opened = opened
        self.users = 0
        self._sandbox = sandbox
        self._lock = threading.Lock()
        self._confined: Confined | None = None
        self._closed = False

    def ask(self, question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Put a question to the process. Raises as `Confined.ask`, and VersionChanged."""
        with self._lock:
            self.opened.check()
            if self._confined is not None and not self._confined.alive():
                self._stop()
            if self._confined is None:
                self._confined = self._sandbox.start(self.opened.fd)
            if self._closed:
                # The service ended while the process was started: nobody else would end it.
                self._stop()
                raise Unavailable("the service is stopping")
            try:
                answer = self._confined.ask(question)
            except UnsafeContent:
                # It may be dead: the next question gets a process of its own.
                self._stop()
                raise
            self.opened.check()
            return answer

    def _stop(self) -> None:
        if self._confined is not None:
            self._confined.close()
            self._confined = None

    def close(self) -> None:
        """End the process and close the file."""
        self._closed = True
        self._stop()
        self.opened.close()


class ConfinedHDF5:
    """HDF5 files that are read by confined processes, a bounded number of them at a time.

    Parameters
    ----------
    sandbox
        Starts the processes; the caller closes it.
    limit
        Files whose process stays while nobody reads them.
    """

    def __init__(self, sandbox: Sandbox, *, limit: int = 8) -> None:
        self._handles: OpenFiles[ConfinedHandle] = OpenFiles(limit, make=lambda opened: ConfinedHandle(opened, sandbox))

    def open_member(self, path: str, member: str, *, opener: Callable[[], OpenFile] | None = None) -> ConfinedSource:
        """Open one dataset; see `caterva2_formats.hdf5.open_member`."""
        handle = self._handles.acquire(path, opener)
        try:
            return ConfinedSource(self._handles, handle, member)
        except BaseException:
            self._handles.release(handle)
            raise

    def unfold(self, path: str, *, opener: Callable[[], OpenFile] | None = None) -> list[Unfolded]:
        """Return what an unfolded file holds; see `caterva2_formats.unfold.unfold`."""
        handle = self._handles.acquire(path, opener)
        try:
            answer, _ = handle.ask({"unfold": True})
            return [_unfolded(*entry) for entry in answer["entries"]]
        except Caterva2Error:
            raise
        except (KeyError, TypeError, ValueError):
            raise UnsafeContent("the HDF5 file is damaged") from None
        finally:
            self._handles.release(handle)

    def close(self) -> None:
        """End the processes and close the files."""
        self._handles.close()


def _unfolded(path: str, member: str | None, content: str) -> Unfolded:
    if member is not None and not isinstance(member, str):
        raise TypeError(member)
    return Unfolded(check_path(path), member, base64.b64decode(content))


class ConfinedSource:
    """One dataset of an HDF5 file that a confined process reads; see `caterva2_formats.base.DatasetSource`."""

    def __init__(self, handles: OpenFiles[ConfinedHandle], handle: ConfinedHandle, member: str) -> None:
        self._handles = handles
        self._handle = handle
        self._member = member
        self._closed = False
        self.etag = etag_of(handle.opened.stamp, member)
        answer, _ = handle.ask({"open": member})
        try:
            self.info: dict[str, Any] = dict(answer["info"])
            self.compresses = bool(answer["compresses"])
            self.attributes = {str(name): base64.b64decode(value) for name, value in dict(answer["attributes"]).items()}
            """Attributes, packed as frames hold them."""
        except (KeyError, TypeError, ValueError):
            raise UnsafeContent("the HDF5 file is damaged") from None
        self.layout = layout_of(Kind.ARRAY, self.info)
        for name, value in self.attributes.items():
            unpack_value(name, value)

    def chunk(self, nchunk: int) -> bytes:
        """Return compressed chunk `nchunk`. See `DatasetSource.chunk`."""
        if not 0 <= nchunk < self.layout.nchunks:
            raise ChunkNotFound(f"there is no chunk {nchunk}: the dataset has {self.layout.nchunks}")
        _, chunk = self._handle.ask({"chunk": nchunk, "member": self._member})
        check_chunk(chunk, self.layout, nchunk)
        return chunk

    def skeleton(self) -> Skeleton | None:
        """Return None: the dataset is not stored as a frame."""
        return None

    def close(self) -> None:
        """Give the file back."""
        if not self._closed:
            self._closed = True
            self._handles.release(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
