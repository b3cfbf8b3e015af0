"""Looking at foreign files where they can do no harm: one disposable, confined process for each (U3, U9).

A small helper process imports the libraries once and forks for each file; the fork gives up all rights but reading
that file, has limits on memory and time, and ends with its answer. Whatever a file makes a library do, it does it
there: a crash, a hang or a fill-up is that file's problem, and an error with one sentence here.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caterva2.errors import Unavailable, UnsafeContent
from caterva2.wire import Kind

from .inspection import Verdict

logger = logging.getLogger(__name__)

START_S = 60.0
GRACE_S = 5.0
"""Seconds after its deadline at which the helper itself counts as hung."""
MAX_MESSAGE = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one look at a file may take."""

    deadline_s: float = 9.0
    memory_bytes: int = 512 * 2**20
    """Memory on top of what the libraries take."""


class Sandbox:
    """A pool of helpers, started when first needed. Methods block and may be called from any thread.

    Parameters
    ----------
    limits
        What one look may take.
    workers
        Files that are looked at at the same time.
    """

    def __init__(self, limits: Limits | None = None, *, workers: int = 1) -> None:
        self._limits = limits or Limits()
        self._helpers: queue.LifoQueue[_Helper | None] = queue.LifoQueue()
        for _ in range(workers):
            self._helpers.put(None)
        self._workers = workers
        self._closed = threading.Event()

    def inspect(self, path: str | os.PathLike[str], listed: str, *, packed: bool = False) -> Verdict:
        """Check that a file may be shared under a name; see `caterva2_formats.inspection.inspect`.

        Parameters
        ----------
        path
            The file. A symbolic link is refused.
        listed, packed
            As in `inspect`.

        Raises
        ------
        UnsafeContent
            If it may not, with one sentence that says why.
        Unavailable
            If the helper cannot be started.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            raise UnsafeContent(f"the file cannot be opened: {error.strerror}") from None
        try:
            answer = self._ask({"listed": listed, "packed": packed}, fd)
        finally:
            os.close(fd)
        if "verdict" not in answer:
            raise UnsafeContent(str(answer.get("refused", "the file could not be checked")))
        kind, nbytes, ndatasets = answer["verdict"]
        return Verdict(Kind(kind), nbytes, ndatasets)

    def measures(self) -> list[str]:
        """Return the names of the measures that are in force on this machine. Raises Unavailable."""
        found: list[str] = self._ask({"measures": True}, None)["measures"]
        return found

    def _ask(self, question: dict[str, Any], fd: int | None) -> dict[str, Any]:
        question |= {"deadline_s": self._limits.deadline_s, "memory_bytes": self._limits.memory_bytes}
        helper = self._helpers.get()
        try:
            if self._closed.is_set():
                raise Unavailable("files cannot be checked: the service is stopping")
            if helper is None or not helper.alive():
                helper = _Helper.start(helper)
            answer = helper.ask(question, fd, timeout_s=self._limits.deadline_s + GRACE_S)
        except (OSError, ValueError, EOFError) as error:
            logger.warning("the helper that checks files had to be replaced: %s", error)
            if helper is not None:
                helper.stop()
                helper = None
            raise Unavailable("files cannot be checked now; try again later", retry_after_s=5) from None
        finally:
            self._helpers.put(helper)
        return answer

    def close(self) -> None:
        """Stop the helpers, after what they are doing."""
        self._closed.set()
        for helper in [self._helpers.get() for _ in range(self._workers)]:
            if helper is not None:
                helper.stop()
            self._helpers.put(None)


class _Helper:
    """The process that forks for each file; see `caterva2_formats.sandbox_worker`."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket, directory: Path) -> None:
        self._process = process
        self._channel = channel
        self._directory = directory

    @classmethod
    def start(cls, old: _Helper | None = None) -> _Helper:
        """Start a helper in the place of an `old` one. Raises OSError or EOFError."""
        if old is not None:
            old.stop()
        # An empty directory that nobody can write to: libraries that look for modules find none.
        directory = Path(tempfile.mkdtemp(prefix="cat2-sandbox-"))
        directory.chmod(0o500)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-m", "caterva2_formats.sandbox_worker"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                cwd=directory,
                env=_ENVIRONMENT,
                start_new_session=True,
            )
        helper = cls(process, ours, directory)
        try:
            ours.settimeout(START_S)
            if ours.recv(MAX_MESSAGE) != b"ready":
                raise EOFError("the helper did not start")
        except BaseException:
            helper.stop()
            raise
        return helper

    def alive(self) -> bool:
        """Tell whether the process runs."""
        return self._process.poll() is None

    def ask(self, question: dict[str, Any], fd: int | None, *, timeout_s: float) -> dict[str, Any]:
        """Send a question with a descriptor and return the answer. Raises OSError, ValueError or EOFError."""
        self._channel.settimeout(timeout_s)
        socket.send_fds(self._channel, [json.dumps(question).encode()], [] if fd is None else [fd])
        answer = self._channel.recv(MAX_MESSAGE)
        if not answer:
            raise EOFError("the helper ended")
        decoded: dict[str, Any] = json.loads(answer)
        return decoded

    def stop(self) -> None:
        """End the process and everything that it started."""
        self._channel.close()
        self._process.kill()
        self._process.wait()
        with suppress(OSError):
            self._directory.rmdir()


# Nothing of the service's environment, which may hold secrets, reaches the helper.
_ENVIRONMENT = {
    "PATH": "",
    "LANG": "C.UTF-8",
    "PYTHONSAFEPATH": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "NUMEXPR_MAX_THREADS": "1",
    "BLOSC_NTHREADS": "1",
    "HDF5_PLUGIN_PRELOAD": "::",
}
