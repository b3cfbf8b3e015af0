"""Several processes for one service: they share its address, one parent starts them and keeps them running.

The parent takes the state directory and the address and forks; it serves nothing itself. What a worker knows alone the
others ask it for (`siblings`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from types import FrameType

from fastapi import FastAPI

from . import log, serve
from .settings import ServiceSettings
from .siblings import Siblings

_PR_SET_PDEATHSIG = 1
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
_END_S = serve.GIVE_UP_S + 1
_SOON_S, _PAUSE_S = 10.0, 1.0
"""A worker that ends within so many seconds of its start is started again after a pause."""

logger = log.get_logger(__name__)


def run(create_app: Callable[[Siblings], FastAPI], settings: ServiceSettings, count: int) -> int:
    """Serve with `count` processes until SIGTERM or SIGINT and return the exit code; see `serve.run`."""
    if count == 1:
        return serve.run(lambda: create_app(Siblings()), settings)
    log.configure(settings.loglevel)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(serve.locked(settings.statedir))
            sockets = stack.enter_context(serve.listening(settings.http))
        except serve.StartupError as error:
            return serve.refuse(error)
        directory = settings.statedir / "workers"
        directory.mkdir(mode=0o700, exist_ok=True)

        def work(number: int, started: Callable[[], None]) -> int:
            siblings = Siblings(directory, number, count)
            return serve.serve(lambda: create_app(siblings), settings, sockets, started)

        return _Parent(work, count, f"{serve.program()} listens at {settings.http}").run()


def _say(fd: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits for a worker that replaces another one
        os.write(fd, b"1")
    os.close(fd)


class _Parent:
    """Keeps `count` workers running until it is told to stop."""

    def __init__(self, work: Callable[[int, Callable[[], None]], int], count: int, announce: str) -> None:
        self._work = work
        self._count = count
        self._announce = announce
        self._running: dict[int, tuple[int, float]] = {}
        """Number and time of the start of each worker, by its process id."""
        self._stopping = False

    def run(self) -> int:
        former = {number: signal.signal(number, self._on_signal) for number in _HANDLED}
        try:
            # The first one brings the database to this version before the others need it.
            code = self._start(0, wait=True)
            for number in range(1, self._count):
                code = code if code is not None or self._stopping else self._start(number, wait=True)
            if code is None and not self._stopping:
                print(self._announce, file=sys.stderr, flush=True)  # noqa: T201
            if code is not None:
                self._stop()
            self._watch()
            return code or 0
        finally:
            signal.alarm(0)
            for number, handler in former.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGALRM:
            self._tell(signal.SIGKILL)
        else:
            self._stop()

    def _stop(self) -> None:
        self._stopping = True
        self._tell(signal.SIGTERM)
        signal.setitimer(signal.ITIMER_REAL, _END_S)

    def _tell(self, number: int) -> None:
        for pid in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _start(self, number: int, *, wait: bool = False) -> int | None:
        """Fork a worker; with `wait`, return the exit code of one that could not start."""
        reading, writing = os.pipe()
        # Until the worker has handlers of its own, a signal would be taken for one to the parent.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        pid = os.fork()
        if not pid:
            os.close(reading)
            self._be_worker(number, writing)
        self._running[pid] = number, time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
        os.close(writing)
        if self._stopping:
            self._tell(signal.SIGTERM)
        with open(reading, "rb") as told:
            if not wait or told.read(1):
                return None
        _, status = os.waitpid(pid, 0)
        del self._running[pid]
        return os.waitstatus_to_exitcode(status) or (0 if self._stopping else 1)

    def _be_worker(self, number: int, writing: int) -> None:
        code = 1
        try:
            for handled in _HANDLED:
                signal.signal(handled, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            os.setpgid(0, 0)  # a ^C is for the parent, which tells its workers
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            code = self._work(number, partial(_say, writing))
        except BaseException as error:  # noqa: BLE001 - nothing of the parent may run here
            logger.critical("a worker failed", worker=number, error=repr(error))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _watch(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, 0)
            number, began = self._running.pop(pid, (None, 0.0))
            if number is None or self._stopping:
                continue
            code = os.waitstatus_to_exitcode(status)
            logger.error("a worker ended and is started again", worker=number, code=code)
            if time.monotonic() - began < _SOON_S:
                time.sleep(_PAUSE_S)
            if not self._stopping:
                self._start(number)
