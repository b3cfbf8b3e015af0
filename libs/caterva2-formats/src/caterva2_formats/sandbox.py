"""Looking at foreign files where they can do no harm: one disposable, confined process for each (U3, U9).

A small helper process imports the libraries once and forks for each file; the fork gives up all rights but reading
that file, has limits on memory and time, and talks over a socket of its own. Whatever a file makes a library do, it
does it there: a crash, a hang or a fill-up is that file's problem, and an error with one sentence here.

What comes back from a confined process is as foreign as the file was: those who ask check it.
"""

from __future__ import annotations

import json
import logging
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from caterva2 import errors
from caterva2.errors import Unavailable, UnsafeContent
from caterva2.wire import Kind

from .inspection import Verdict

logger = logging.getLogger(__name__)

START_S = 60.0
GRACE_S = 3.0
"""Seconds after its deadline at which a process that has not ended itself is killed."""
MAX_MESSAGE = 2**16
MAX_ANSWER = 64 * 2**20
MAX_CONTENT = 300 * 2**20

_HEAD = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one answer about a file may take."""

    deadline_s: float = 9.0
    memory_bytes: int = 512 * 2**20
    """Memory on top of what the libraries take."""


class Sandbox:
    """Starts confined processes. Methods block and may be called from any thread.

    Parameters
    ----------
    limits
        What one answer may take.
    workers
        Files that are inspected at the same time.
    """

    def __init__(self, limits: Limits | None = None, *, workers: int = 2) -> None:
        self.limits = limits or Limits()
        self._places = threading.BoundedSemaphore(workers)
        self._lock = threading.Lock()
        self._helper: _Helper | None = None
        self._closed = False

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
            If no process can be started.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            raise UnsafeContent(f"the file cannot be opened: {error.strerror}") from None
        try:
            with self._places, self.start(fd) as confined:
                answer, _ = confined.ask({"inspect": listed, "packed": packed})
        finally:
            os.close(fd)
        try:
            return Verdict(Kind(answer["kind"]), int(answer["nbytes"]), int(answer["ndatasets"]))
        except (KeyError, TypeError, ValueError):
            raise UnsafeContent("the file cannot be checked") from None

    def measures(self) -> list[str]:
        """Return the names of the measures that are in force on this machine. Raises Unavailable."""
        with open(os.devnull, "rb") as nothing, self.start(nothing.fileno()) as confined:
            answer, _ = confined.ask({"measures": True})
        return [str(name) for name in answer["measures"]]

    def start(self, fd: int, *, program: str | None = None, limits: Limits | None = None) -> Confined:
        """Start a confined process that may read the file behind a descriptor.

        Parameters
        ----------
        program
            Module of the service whose ``serve(fd)`` answers the questions, instead of what reads files here. The
            helper loads it once, and calls its ``warm_up()`` before it forks.
        limits
            What one answer may take; those of the sandbox by default.

        Raises
        ------
        Unavailable
            If none can be started.
        """
        limits = limits or self.limits
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                question = {**asdict(limits), "program": program}
                pid = self._ask_helper(question, [fd, theirs.fileno()])["pid"]
        except BaseException:
            ours.close()
            raise
        return Confined(self, ours, pid, limits)

    def warm_up(self, program: str) -> None:
        """Have the helper running with a program loaded, so that the next `start` takes no longer than a fork.

        Raises
        ------
        Unavailable
            If none can be started.
        """
        self._ask_helper({"load": program}, [])

    def _ask_helper(self, question: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """Put a question to the helper, a new one if it died. Raises Unavailable."""
        try:
            with self._lock:
                return self._running_helper().ask(question, fds)
        except (OSError, ValueError, EOFError) as error:
            logger.warning("no process to check files can be started: %s", error)
            raise Unavailable("files cannot be checked now; try again later", retry_after_s=5) from None

    def _running_helper(self) -> _Helper:
        """Return the helper, a new one if it died; the caller holds the lock. Raises Unavailable, OSError, EOFError."""
        if not self._closed and (self._helper is None or not self._helper.alive()):
            if self._helper is not None:
                self._helper.stop()
            self._helper = _Helper()
            try:
                # Whoever closes this object meanwhile is seen here, or sees the helper there and ends it.
                if not self._closed:
                    self._helper.wait()
            except BaseException:
                self._helper.stop()
                self._helper = None
                raise
        if self._closed or self._helper is None:
            raise Unavailable("files cannot be checked: the service is stopping")
        return self._helper

    def kill(self, pid: int) -> None:
        """End a confined process that does not end itself."""
        with self._lock, suppress(OSError, ValueError, EOFError):
            if self._helper is not None:
                self._helper.ask({"kill": pid}, [])

    def close(self) -> None:
        """Stop the helper, and with it every confined process."""
        self._closed = True
        helper = self._helper
        if helper is not None:
            # Also one that is just starting: who waits for it holds the lock.
            helper.kill()
        with self._lock:
            if self._helper is not None:
                self._helper.stop()
                self._helper = None


class Confined:
    """One confined process. Use as a context manager, or call `close`; one question at a time."""

    def __init__(self, sandbox: Sandbox, channel: socket.socket, pid: int, limits: Limits) -> None:
        self._sandbox = sandbox
        self._deadline_s = limits.deadline_s
        self._channel = channel
        self._pid = pid
        self._lock = threading.Lock()
        channel.settimeout(limits.deadline_s + GRACE_S)

    def ask(self, question: dict[str, Any], content: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Put a question to the process, with bytes behind it; return its answer, and bytes that came with it.

        Raises
        ------
        Caterva2Error
            What the process reported.
        UnsafeContent
            If it died over the question, or took too long.
        """
        started = time.monotonic()
        with self._lock:
            try:
                send(self._channel, question, content)
                answer, content = receive(self._channel)
            except (OSError, ValueError, EOFError) as error:
                if isinstance(error, TimeoutError):
                    self._sandbox.kill(self._pid)
                late = time.monotonic() - started >= self._deadline_s
                reason = "takes too long" if late else "makes the libraries crash"
                raise UnsafeContent(f"reading the file {reason}") from None
        if "error" in answer:
            known = errors.BY_CODE.get(str(answer["error"]), UnsafeContent)
            retry = answer.get("retry_after_s")
            raise known(str(answer.get("detail")), retry_after_s=retry if isinstance(retry, int | float) else None)
        return answer, content

    def alive(self) -> bool:
        """Tell whether the process can still be asked; it ends with the helper that it came from."""
        # What nobody asks says nothing: something to read is the end.
        waiting = select.poll()
        waiting.register(self._channel, select.POLLIN)
        return not waiting.poll(0)

    def interrupt(self) -> None:
        """End the process at once, also while another thread waits for its answer; that one gets UnsafeContent."""
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        self._sandbox.kill(self._pid)

    def close(self) -> None:
        """End the process."""
        self._channel.close()

    def __enter__(self) -> Confined:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def send(channel: socket.socket, message: dict[str, Any], content: bytes = b"") -> None:
    """Send a message as JSON, with bytes behind it. Raises OSError."""
    encoded = json.dumps(message).encode()
    channel.sendall(_HEAD.pack(len(encoded), len(content)))
    channel.sendall(encoded)
    if content:
        channel.sendall(content)


def receive(channel: socket.socket) -> tuple[dict[str, Any], bytes]:
    """Receive what `send` sent. Raises EOFError at the end, ValueError for nonsense, OSError."""
    length, size = _HEAD.unpack(_exactly(channel, _HEAD.size))
    if length > MAX_ANSWER or size > MAX_CONTENT:
        raise ValueError(length, size)
    message = json.loads(_exactly(channel, length))
    if not isinstance(message, dict):
        raise ValueError(message)
    return message, _exactly(channel, size) if size else b""


def _exactly(channel: socket.socket, length: int) -> bytes:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = channel.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return bytes(data)


class _Helper:
    """The process that forks for each file; see `caterva2_formats.sandbox_worker`."""

    def __init__(self) -> None:
        # An empty directory that nobody can write to: libraries that look for modules find none.
        self._directory = Path(tempfile.mkdtemp(prefix="cat2-sandbox-"))
        self._directory.chmod(0o500)
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(START_S)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-m", "caterva2_formats.sandbox_worker"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                cwd=self._directory,
                env=_ENVIRONMENT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until the process has loaded its libraries. Raises OSError or EOFError."""
        if self._channel.recv(MAX_MESSAGE) != b"ready":
            raise EOFError("the helper did not start")

    def alive(self) -> bool:
        """Tell whether the process runs."""
        return self._process.poll() is None

    def ask(self, question: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """Send a question with descriptors and return the answer. Raises OSError, ValueError or EOFError."""
        socket.send_fds(self._channel, [json.dumps(question).encode()], fds)
        answer = self._channel.recv(MAX_MESSAGE)
        if not answer:
            raise EOFError("the helper ended")
        decoded: dict[str, Any] = json.loads(answer)
        return decoded

    def kill(self) -> None:
        """End the process and everything that it started; whoever waits for it gets EOFError."""
        self._process.kill()

    def stop(self) -> None:
        """End the process, and give back what it needed."""
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
