"""A real PostgreSQL for tests: the machine's own, or the one of the wheel ``pgserver``.

PostgreSQL refuses to run as root, so as root everything runs as ``postgres`` or ``nobody``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from .ports import free_port
from .processes import die_with_parent, environment
from .require import missing

USER = "caterva2"
SERVER = "CATERVA2_TEST_POSTGRES"
"""Names the directory of a server's binaries, where it shall be another than this machine's."""
START_TIMEOUT_S = 60


def find_binaries() -> Path:
    """Return the directory with ``initdb`` and ``postgres``; ends the test if there is none."""
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    spec = importlib.util.find_spec("pgserver")
    if spec is not None and spec.origin is not None:
        candidates.append(Path(spec.origin).parent / "pginstall" / "bin")
    for directory in candidates:
        if (directory / "initdb").exists() and (directory / "postgres").exists():
            return directory
    return missing("there is no PostgreSQL: install Debian's package 'postgresql' or the wheel 'pgserver'")


class Postgres:
    """One server on loopback, in a directory of its own, without fsync: data is as lost as the test is over."""

    def __init__(self) -> None:
        self._clients = find_binaries()
        self.binaries = Path(os.environ[SERVER]) if os.environ.get(SERVER) else self._clients
        self.port = free_port()
        self._owner = _unprivileged()
        self.directory = Path(tempfile.mkdtemp(prefix="cat2-postgres-"))
        if self._owner is not None:
            os.chown(self.directory, self._owner.pw_uid, self._owner.pw_gid)
            self.binaries = self._readable(self.binaries)
        self._templates: dict[str, str] = {}
        self._popen: subprocess.Popen[bytes] | None = None
        self._log = (self.directory / "log").open("ab")
        self._run("initdb", "--no-sync", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "-U", USER, "-D", self._data)
        self.start()

    @property
    def _data(self) -> str:
        return str(self.directory / "data")

    def _readable(self, binaries: Path) -> Path:
        """Copy binaries that lie where the unprivileged user may not look."""
        if self._run_plain([str(binaries / "postgres"), "--version"]).returncode == 0:
            return binaries
        copied = self.directory / "pginstall"
        shutil.copytree(binaries.parent, copied, symlinks=True)
        return copied / "bin"

    # --- server ---------------------------------------------------------------------
    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": 200,
        }
        options = [text for key, value in settings.items() for text in ("-c", f"{key}={value}")]
        self._popen = subprocess.Popen(
            [str(self.binaries / "postgres"), "-D", self._data, *options],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
            **self._privileges(),
        )
        self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1", retries=START_TIMEOUT_S * 5)

    def kill(self) -> None:
        """End the server as a crash would."""
        if self._popen is not None:
            # The children of a killed postmaster notice its death; immediate shutdown spares waiting for them.
            self._popen.send_signal(signal.SIGCONT)
            self._popen.send_signal(signal.SIGQUIT)
            self._popen.wait(20)
            self._popen = None

    def hang(self) -> None:
        """Stop every process of the server from answering, without closing connections."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a server that hangs go on."""
        self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        """End the server and delete its data."""
        self.kill()
        self._log.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._popen is not None, "not running"
        children = Path(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children").read_text().split()
        for pid in (self._popen.pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):  # a connection that ended meanwhile
                os.kill(pid, number)

    # --- databases ---------------------------------------------------------------------
    def create(self, template: str = "template0") -> str:
        """Make a database, as a copy of `template`, and return its name."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self._run("createdb", *self._connection(), "-T", template, name)
        return name

    def create_prepared(self, key: str, prepare: Callable[[str], None]) -> str:
        """Make a database as `prepare` leaves it; it is called once, with a URL, and copied after that."""
        if key not in self._templates:
            template = self.create()
            prepare(self.url(template))
            self._templates[key] = template
        return self.create(self._templates[key])

    def drop(self, name: str) -> None:
        """Delete a database, even while somebody is connected."""
        self._run("dropdb", *self._connection(), "--force", name)

    def url(self, name: str, driver: str = "postgresql+asyncpg") -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"{driver}://{USER}@127.0.0.1:{self.port}/{name}"

    def _connection(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER]

    # --- running its programs ---------------------------------------------------------------------
    def _privileges(self) -> dict[str, object]:
        drop = {"user": self._owner.pw_uid, "group": self._owner.pw_gid, "extra_groups": []} if self._owner else {}
        return {"cwd": self.directory, "env": environment({"LC_ALL": "C.UTF-8"}), **drop}

    def _run_plain(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=60, **self._privileges())
        except PermissionError as error:
            return subprocess.CompletedProcess(command, 126, "", str(error))

    def _run(self, name: str, *arguments: str, retries: int = 0) -> None:
        # Servers of other versions come without programs for their clients; those of any version talk to them.
        directory = self.binaries if (self.binaries / name).exists() else self._clients
        command = [str(directory / name), *arguments]
        done = self._run_plain(command)
        while done.returncode != 0 and retries > 0:
            retries -= 1
            done = self._run_plain(command)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}{(self.directory / 'log').read_text()}"


def _unprivileged() -> pwd.struct_passwd | None:
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return missing("PostgreSQL does not run as root, and there is no other user")
