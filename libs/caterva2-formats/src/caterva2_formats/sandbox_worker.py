"""The helper process of `caterva2_formats.sandbox`: imports once, forks for each file. Not for import."""

from __future__ import annotations

import base64
import importlib
import io
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, Protocol

from caterva2.errors import BadRequest, Caterva2Error
from caterva2_formats import confinement
from caterva2_formats.sandbox import MAX_MESSAGE, receive, send

SWEEP_S = 1.0
SERVING_CPU_S = 3600
"""Processor seconds of one process that serves an HDF5 file."""


def main() -> int:
    """Fork for what comes over the socket on standard input, until it closes."""
    channel = socket.socket(fileno=os.dup(0))
    network = ["network"] if confinement.leave_network() else []
    _warm_up()
    channel.send(b"ready")
    children: set[int] = set()
    while True:
        _reap(children)
        if not select.select([channel], [], [], SWEEP_S if children else None)[0]:
            continue
        message, fds, _, _ = socket.recv_fds(channel, MAX_MESSAGE, 2)
        if not message:
            # Whoever started this process is gone, perhaps without a chance to clean up.
            with suppress(OSError):
                os.rmdir(os.getcwd())  # noqa: PTH106, PTH109
            return 0
        question = json.loads(message)
        if "kill" in question:
            if question["kill"] in children:
                os.kill(question["kill"], signal.SIGKILL)
            channel.send(b"{}")
            continue
        if "load" in question:
            _program(question["load"])
            channel.send(b"{}")
            continue
        serve = _program(question["program"])
        pid = os.fork()
        if pid == 0:
            channel.close()
            os.close(0)
            _be_confined(serve(fds[0]), fds[0], socket.socket(fileno=fds[1]), question, network)
        children.add(pid)
        for fd in fds:
            os.close(fd)
        channel.send(json.dumps({"pid": pid}).encode())


def _program(name: str | None) -> Callable[[int], Served]:
    """Return what answers in the fork, loaded here so that every fork has it."""
    if name is None:
        return _Served
    known = sys.modules.get(name)
    if known is None:
        known = importlib.import_module(name)
        known.warm_up()
    serve: Callable[[int], Served] = known.serve
    return serve


def _reap(children: set[int]) -> None:
    for pid in list(children):
        if os.waitpid(pid, os.WNOHANG)[0]:
            children.discard(pid)


def _warm_up() -> None:
    """Load every module and library that a look at a file may need: afterwards no file can be opened."""
    import blosc2
    import h5py
    import hdf5plugin
    import numpy as np

    from caterva2_formats.inspection import inspect

    array = np.arange(100, dtype="<f4")
    frame = blosc2.asarray(array, chunks=(50,), blocks=(25,), cparams={"nthreads": 1}).to_cframe()
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("a", data=array, chunks=(50,), compression="gzip")
        file.create_dataset("b", data=array, chunks=(50,), **hdf5plugin.Blosc2())
        file["a"].attrs["text"] = "text"
    for name, data in (("x.b2nd", frame), ("x.h5", content.getvalue())):
        with tempfile.NamedTemporaryFile(prefix="cat2-sandbox-") as temporary:
            temporary.write(data)
            temporary.flush()
            inspect(os.dup(temporary.fileno()), name)
            if name == "x.h5":
                served = _Served(temporary.fileno())
                served.answer({"unfold": True}, b"")
                served.answer({"chunk": 0, "member": "a"}, b"")


# --- in the fork ---------------------------------------------------------------------
def _be_confined(
    served: Served, fd: int, channel: socket.socket, limits: dict[str, Any], network: list[str]
) -> NoReturn:
    """Give up all rights, then answer questions until the channel closes."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # What libraries have to say about hostile files is no news for the service's log.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    served.measures = network + confinement.confine(
        [fd], memory_bytes=limits["memory_bytes"], cpu_s=SERVING_CPU_S + int(limits["deadline_s"])
    )
    with suppress(OSError, EOFError, ValueError):
        while True:
            question, given = receive(channel)
            # Who does not answer in time is ended by the kernel, whatever library it is stuck in.
            signal.setitimer(signal.ITIMER_REAL, limits["deadline_s"])
            answer, content = _answer(served, question, given)
            signal.setitimer(signal.ITIMER_REAL, 0)
            send(channel, answer, content)
    os._exit(0)


def _answer(served: Served, question: dict[str, Any], given: bytes) -> tuple[dict[str, Any], bytes]:
    started = time.monotonic()
    try:
        return served.answer(question, given)
    except Caterva2Error as error:
        return {"error": error.code, "detail": error.detail, "retry_after_s": error.retry_after_s}, b""
    except MemoryError:
        return {"error": "unsafe_content", "detail": "the file needs more memory than is allowed"}, b""
    except Exception as error:  # noqa: BLE001  (whatever a file provokes is an answer about the file)
        seconds = time.monotonic() - started
        detail = f"the file cannot be read ({type(error).__name__} after {seconds:.0f} s)"
        return {"error": "unsafe_content", "detail": detail}, b""


class Served(Protocol):
    """What answers questions in a confined process."""

    measures: list[str]
    """Names of the measures that are in force."""

    def answer(self, question: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
        """Answer one question, that came with `content`, with JSON and bytes. Raises Caterva2Error."""
        ...


class _Served:
    """What a confined process knows: one file, and the datasets of it that are open."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._sources: dict[str, Any] = {}
        self._handles: Any = None
        self.measures: list[str] = []

    def answer(self, question: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
        """Answer one question with JSON and bytes. Raises Caterva2Error."""
        match question:
            case {"measures": True}:
                return {"measures": self.measures}, b""
            case {"inspect": str(listed), "packed": bool(packed)}:
                return self._inspect(listed, packed=packed), b""
            case {"chunk": int(nchunk), "member": str(member)}:
                return {}, self._source(member).chunk(nchunk)
            case {"open": str(member)}:
                return self._open(member), b""
            case {"unfold": True}:
                return self._unfold(), b""
        raise BadRequest("a confined process was asked something unknown")

    def _inspect(self, listed: str, *, packed: bool) -> dict[str, Any]:
        from caterva2_formats.inspection import inspect

        verdict = inspect(os.dup(self._fd), listed, packed=packed)
        return {"kind": verdict.kind.value, "nbytes": verdict.nbytes, "ndatasets": verdict.ndatasets}

    def _acquire(self) -> tuple[Any, Any]:
        from caterva2_formats.hdf5 import Handles
        from caterva2_formats.opening import OpenFile

        if self._handles is None:
            self._handles = Handles()
        return self._handles, self._handles.acquire(f"/proc/self/fd/{self._fd}", lambda: OpenFile(os.dup(self._fd)))

    def _source(self, member: str) -> Any:
        from caterva2_formats.hdf5 import HDF5Source

        if member not in self._sources:
            handles, handle = self._acquire()
            try:
                self._sources[member] = HDF5Source(handles, handle, member)
            except BaseException:
                handles.release(handle)
                raise
        return self._sources[member]

    def _open(self, member: str) -> dict[str, Any]:
        source = self._source(member)
        attributes = {name: base64.b64encode(value).decode() for name, value in source.attributes.items()}
        return {"info": source.info, "attributes": attributes, "compresses": source.compresses}

    def _unfold(self) -> dict[str, Any]:
        from caterva2_formats.unfold import unfold

        handles, handle = self._acquire()
        try:
            entries = unfold(handle)
        finally:
            handles.release(handle)
        return {"entries": [[e.path, e.member, base64.b64encode(e.content).decode()] for e in entries]}


if __name__ == "__main__":
    sys.exit(main())
