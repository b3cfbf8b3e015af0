"""The helper process of `caterva2_formats.sandbox`: imports once, forks for each file. Not for import."""

from __future__ import annotations

import io
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
from typing import Any, NoReturn

from caterva2.errors import Caterva2Error
from caterva2_formats import confinement

MAX_ANSWER = 64 * 1024
MAX_MESSAGE = 2**20


def main() -> int:
    """Answer questions that come over the socket on standard input until it closes."""
    channel = socket.socket(fileno=os.dup(0))
    measures = ["network"] if confinement.leave_network() else []
    _warm_up()
    channel.send(b"ready")
    while True:
        message, fds, _, _ = socket.recv_fds(channel, MAX_MESSAGE, 1)
        if not message:
            return 0
        question = json.loads(message)
        answer = _answer(question, fds, channel)
        if "measures" in answer:
            answer["measures"] = measures + answer["measures"]
        channel.send(json.dumps(answer).encode())
        for fd in fds:
            os.close(fd)


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
        with tempfile.NamedTemporaryFile(prefix="cat2-sandbox-") as file:
            file.write(data)
            file.flush()
            inspect(os.dup(file.fileno()), name)


def _answer(question: dict[str, Any], fds: list[int], channel: socket.socket) -> dict[str, Any]:
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        channel.close()
        os.close(0)
        os.close(read_end)
        _look(question, fds, write_end)
    os.close(write_end)
    try:
        answer, in_time = _receive(read_end, time.monotonic() + question["deadline_s"])
    finally:
        os.close(read_end)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if not in_time or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return {"refused": "checking the file takes too long"}
    try:
        decoded: dict[str, Any] = json.loads(answer)
    except ValueError:
        return {"refused": "the file makes the libraries that read it crash"}
    return decoded


def _receive(pipe: int, deadline: float) -> tuple[bytes, bool]:
    """Read a pipe to its end; tell whether that came in time."""
    answer = b""
    while len(answer) < MAX_ANSWER:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            return b"", False
        piece = os.read(pipe, MAX_ANSWER)
        if not piece:
            return answer, True
        answer += piece
    return b"", True


def _look(question: dict[str, Any], fds: list[int], pipe: int) -> NoReturn:
    """In the fork: give up all rights, look at the file, say what it is, and end."""
    answer: dict[str, Any]
    try:
        measures = confinement.confine(
            fds, memory_bytes=question["memory_bytes"], cpu_s=int(question["deadline_s"]) + 1
        )
        answer = {"measures": measures} if "measures" in question else _inspect(question, fds[0])
    except Caterva2Error as error:
        answer = {"refused": error.detail}
    except MemoryError:
        answer = {"refused": "the file needs more memory than is allowed"}
    except Exception as error:  # noqa: BLE001  (whatever a file provokes is an answer about the file)
        answer = {"refused": f"the file cannot be read ({type(error).__name__})"}
    os.write(pipe, json.dumps(answer).encode()[:MAX_ANSWER])
    os._exit(0)


def _inspect(question: dict[str, Any], fd: int) -> dict[str, Any]:
    from caterva2_formats.inspection import inspect

    verdict = inspect(fd, question["listed"], packed=question["packed"])
    return {"verdict": [verdict.kind.value, verdict.nbytes, verdict.ndatasets]}


if __name__ == "__main__":
    sys.exit(main())
