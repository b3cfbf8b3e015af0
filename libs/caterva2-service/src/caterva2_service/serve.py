"""Serving an application: sockets, signals and an end within seconds."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import logging
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from caterva2.errors import Caterva2Error

from . import heap, log
from .address import ANY_HOST, Address
from .connections import BoundedHttp
from .settings import ServiceSettings

LOCK_NAME = ".cat2-lock"
DRAIN_S = 3
"""Seconds that running requests get to end after SIGTERM."""
GIVE_UP_S = 4.7
"""Seconds after which a process that does not end by itself is ended."""


def run(create_app: Callable[[], FastAPI], settings: ServiceSettings) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code of the process.

    State directory and address are taken before the application is built, so that a taken one is the first thing
    that is said. What stops a start is said in one line on stderr.
    """
    log.configure(settings.loglevel)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(settings.statedir))
            sockets = stack.enter_context(listening(settings.http))
        except StartupError as error:
            return refuse(error)

        def started() -> None:
            print(f"{program()} listens at {settings.http}", file=sys.stderr, flush=True)  # noqa: T201

        return serve(create_app, settings, sockets, started)


def serve(
    create_app: Callable[[], FastAPI],
    settings: ServiceSettings,
    sockets: list[socket.socket],
    started: Callable[[], None],
) -> int:
    """Serve on `sockets`, call `started` once that works, and return the exit code of the process."""
    heap.use_one_arena()
    app = create_app()
    heap.keep_what_is_loaded()
    server = _Server(_config(app, settings))
    server.announce = started
    with contextlib.suppress(SystemExit):  # how uvicorn ends when the lifespan could not start
        server.run(sockets=sockets)
    return 0 if server.started else refuse(app.state.startup_error)


def program() -> str:
    """Return the name under which this program was started."""
    return Path(sys.argv[0]).name


class StartupError(Exception):
    """The service cannot start; the text is the line that the person who starts it reads."""


def refuse(error: Exception | None) -> int:
    """Say in one line why the service cannot start, and return the exit code of the process."""
    if not isinstance(error, StartupError | Caterva2Error | OSError):
        log.get_logger("caterva2").critical("the service could not start", exc_info=error)
    print(f"{program()}: {error or 'stopped before it was ready'}", file=sys.stderr)  # noqa: T201
    return 1


def _config(app: FastAPI, settings: ServiceSettings) -> uvicorn.Config:
    # What uvicorn has to say about a start is said better, and in one line, by `run`.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=BoundedHttp,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=75,
        proxy_headers=True,
        forwarded_allow_ips=list(settings.trusted_proxies),
    )


@contextlib.contextmanager
def locked(statedir: Path) -> Iterator[None]:
    """Make the state directory and keep other processes out of it.

    Raises
    ------
    StartupError
        If another process uses it (F21), or it cannot be written.
    """
    try:
        statedir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(statedir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartupError(f"cannot use the state directory {statedir}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise StartupError(
            f"another process uses the state directory {statedir}; choose another one with --statedir DIR"
        ) from None
    finally:
        os.close(descriptor)


class _Server(uvicorn.Server):
    """A server that says when it listens, and exits with 0 when a signal ends it."""

    announce: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets=sockets)
        if self.started:
            _settle()
            logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)
            self.announce()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on SIGTERM and SIGINT, also while the event loop is blocked."""
        former = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = True
            return
        self.should_exit = True
        # Whatever hangs, on a dead disk or in a codec, must not keep the process from ending.
        watchdog = threading.Timer(GIVE_UP_S, os._exit, args=(0,))
        watchdog.daemon = True
        watchdog.start()


def _settle() -> None:
    """Let the garbage collector look at what requests leave behind, not at the program itself each time.

    With modules and models a full collection takes 50 ms, on the event loop; without, as good as nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def listen(address: Address) -> list[socket.socket]:
    """Return listening sockets for every address that the host name stands for. Raises OSError."""
    if address.uds is not None:
        return [_listen_unix(Path(address.uds))]
    host = None if address.host == ANY_HOST else address.host
    found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    port = address.port
    try:
        for family, kind, protocol, _, where in dict.fromkeys(found):
            try:
                sockets.append(_listen_tcp(family, kind, protocol, (where[0], port, *where[2:])))
            except OSError as error:
                # `localhost` may stand for an IPv6 address that this machine does not have.
                if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) and len(found) > 1:
                    continue
                raise
            port = port or sockets[0].getsockname()[1]
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    if not sockets:
        raise OSError(errno.EADDRNOTAVAIL, "this machine has no such address")
    return sockets


def _listen_tcp(family: int, kind: int, protocol: int, where: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        sock.listen(2048)
    except OSError:
        sock.close()
        raise
    return sock


def _listen_unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            _remove_dead_socket(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        sock.bind(str(path))
        sock.listen(2048)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_dead_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()  # left behind by a process that was killed
        else:
            raise OSError(errno.EADDRINUSE, "another process listens there")


def _why_not(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{address} is taken by another program; choose another address with --http HOST:PORT"
    reason = error.strerror or str(error)
    return f"cannot listen at {address}: {reason}; choose another address with --http HOST:PORT"


@contextlib.contextmanager
def listening(address: Address) -> Iterator[list[socket.socket]]:
    """Listen at an address while the block runs. Raises StartupError."""
    try:
        sockets = listen(address)
    except OSError as error:
        raise StartupError(_why_not(address, error)) from None
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()
        if address.uds is not None:
            Path(address.uds).unlink(missing_ok=True)
