"""NATS and PostgreSQL in containers, from the images that people deploy (``CATERVA2_TEST_CONTAINERS=1``).

They do for the fixtures what the programs of this machine do, which are faster and therefore the default. Linux only:
NATS uses the network of the machine.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, Self

from .nats import NatsServer
from .ports import free_port
from .postgres import START_TIMEOUT_S, USER, Postgres

SWITCH = "CATERVA2_TEST_CONTAINERS"
NATS_IMAGE, POSTGRES_IMAGE = "nats:2.12-alpine", "postgres:17-alpine"
PASSWORD = "only-for-tests"

os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")  # its reaper is one more image; each test cleans up


def wanted() -> bool:
    """Tell whether the fixtures shall use containers."""
    return os.environ.get(SWITCH, "") not in ("", "0")


class NatsContainer(NatsServer):
    """A `NatsServer` that runs in a container; killing it keeps the container and its store."""

    _container: Any = None

    @property
    def running(self) -> bool:
        """Whether the container runs."""
        if self._container is None:
            return False
        self._container.get_wrapped_container().reload()
        return bool(self._container.get_wrapped_container().status in ("running", "paused"))

    @property
    def output(self) -> str:
        """All that the server has said so far."""
        return "" if self._container is None else b"".join(self._container.get_logs()).decode(errors="replace")

    def start(self) -> Self:
        """Start the container, made at the first time."""
        if self._container is not None:
            self._container.get_wrapped_container().start()
            return self
        from testcontainers.core.container import DockerContainer

        directory = str(self.store.parent)
        made = DockerContainer(NATS_IMAGE).with_command(["-c", f"{directory}/nats.conf"])
        made.with_volume_mapping(directory, directory, "rw")
        made.with_kwargs(network_mode="host", user=f"{os.getuid()}:{os.getgid()}")
        self._container = made.start()
        return self

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server."""
        self._container.get_wrapped_container().kill(signal=int(number))

    def wait(self, timeout_s: float = 10) -> int:
        """Wait until the container has ended, and return its exit code."""
        return int(self._container.get_wrapped_container().wait(timeout=timeout_s)["StatusCode"])

    def __exit__(self, *error: object) -> None:
        if self._container is not None:
            self._container.stop()


class PostgresContainer(Postgres):
    """A `Postgres` that runs in a container, where everybody shows a password."""

    def __init__(self) -> None:
        from testcontainers.community.postgres import PostgresContainer as Container

        self.port = free_port()
        self._templates: dict[str, str] = {}
        made = Container(POSTGRES_IMAGE, username=USER, password=PASSWORD, dbname=USER, driver=None)
        made.with_bind_ports(5432, self.port)
        made.with_command(["postgres", "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200"])
        self._container = made.start()
        self._run("pg_isready", *self._connection(), "-t", "1", retries=START_TIMEOUT_S * 5)

    def start(self) -> None:
        """Start the server again and wait until it answers."""
        self._container.get_wrapped_container().start()
        self._run("pg_isready", *self._connection(), "-t", "1", retries=START_TIMEOUT_S * 5)

    def kill(self) -> None:
        """End the server as a crash would."""
        self._container.get_wrapped_container().kill()

    def hang(self) -> None:
        """Stop every process of the server from answering, without closing connections."""
        self._container.get_wrapped_container().pause()

    def resume(self) -> None:
        """Let a server that hangs go on."""
        self._container.get_wrapped_container().unpause()

    def close(self) -> None:
        """End the server and delete its data."""
        self._container.stop()

    def url(self, name: str, driver: str = "postgresql+asyncpg") -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"{driver}://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def _connection(self) -> list[str]:
        return ["-h", "/var/run/postgresql", "-U", USER]

    def _run(self, name: str, *arguments: str, retries: int = 0) -> None:
        done = self._container.exec([name, *arguments])
        while done.exit_code != 0 and retries > 0:
            retries -= 1
            time.sleep(0.2)
            done = self._container.exec([name, *arguments])
        assert done.exit_code == 0, f"{name}: {done.output.decode(errors='replace')}"


def nats_server(directory: Path) -> NatsServer:
    """Return a server that is not started yet."""
    return NatsContainer(directory) if wanted() else NatsServer(directory)


def postgres() -> Postgres:
    """Return a running server."""
    return PostgresContainer() if wanted() else Postgres()
