"""A whole site: broker, publishers and a subscriber as processes of their own, on free ports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

import caterva2
from caterva2_service.trust import Role, audience_of

from .ports import free_port
from .processes import Service, run, wait_until
from .trust import make_identity

USER, PASSWORD = "user@example.com", "foobar11foobar"


class Site:
    """The processes of one site, below one directory; what was started ends with the block.

    Parameters
    ----------
    env
        Environment variables for every service, such as `NatsServer.environment`.
    login
        Whether the subscriber knows people; `add_user` makes the one that `client` logs in.
    """

    def __init__(self, directory: Path, *, env: Mapping[str, str] | None = None, login: bool = False) -> None:
        self.directory = directory
        self.env = dict(env or {})
        self.login = login
        directory.mkdir(parents=True, exist_ok=True)
        self.broker = Service(["cat2bro"], port=free_port(), statedir=directory / "bro", cwd=directory, env=self.env)
        self.publishers: dict[str, Service] = {}
        self.subscribers: list[Service] = []
        self.services: list[Service] = [self.broker]
        self._clients: list[caterva2.Client] = []
        self.new_subscriber()

    @property
    def subscriber(self) -> Service:
        """The first subscriber."""
        return self.subscribers[0]

    # --- making services ---------------------------------------------------------------------
    def new_subscriber(self, **env: str) -> Service:
        """Describe one more subscriber; it is not started."""
        number = len(self.subscribers)
        secrets = {"CATERVA2_SECRET": "only-for-tests-" * 4} if self.login else {"CATERVA2_LOGIN": "false"}
        service = Service(
            ["cat2sub", "--broker", self.broker.http],
            port=free_port(),
            statedir=self.directory / f"sub{number or ''}",
            cwd=self.directory,
            env={**self.env, **secrets, **env},
        )
        self.subscribers.append(service)
        self.services.append(service)
        return service

    def new_publisher(self, name: str, source: Path, *options: str, statedir: str = "", **env: str) -> Service:
        """Describe the publisher of root `name`; it is not started."""
        service = Service(
            ["cat2pub", "--broker", self.broker.http, *options, name, source],
            port=free_port(),
            statedir=self.directory / (statedir or f"pub.{name}"),
            cwd=self.directory,
            env={**self.env, **env},
        )
        self.publishers[name] = service
        self.services.append(service)
        return service

    # --- starting ---------------------------------------------------------------------
    def start(self, **roots: Path) -> Self:
        """Start the broker, a publisher for each of `roots` and the subscriber, and wait until all work together."""
        for name, source in roots.items():
            self.new_publisher(name, source)
        return self.ensure_running()

    def ensure_running(self) -> Self:
        """Start what does not run, and wait until all work together."""
        for service in self.services:
            if not service.running:
                service.start()
        for service in self.services:
            service.wait_ready(parts=self.parts(service))
        return self

    def parts(self, service: Service) -> tuple[str, ...]:
        """Return the parts of a service's health without which the site does not work as a whole."""
        embedded = service is self.broker and "CATERVA2_NATS_URL" not in self.env
        return ("nats", "bus") if embedded else ("bus",)

    def nats_pid(self) -> int:
        """Process id of the nats-server that the broker runs."""
        file = self.broker.statedir / "nats" / "nats.pid"
        # It is empty for a moment when a new server starts.
        return int(wait_until(file.read_text, timeout_s=20, what="nats-server writes its process id"))

    def kill_nats(self) -> None:
        """Kill the nats-server that the broker runs, and wait until the broker has started another."""
        pid = self.nats_pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.nats_pid() != pid, timeout_s=20, what="the broker starts another nats-server")

    def drop(self, service: Service) -> None:
        """Kill a service and forget it."""
        service.kill()
        self.services.remove(service)
        self.publishers = {name: each for name, each in self.publishers.items() if each is not service}
        self.subscribers = [each for each in self.subscribers if each is not service]

    def add_user(self, name: str = USER, password: str = PASSWORD, *, superuser: bool = False) -> None:
        """Make a user at the first subscriber."""
        options = ["-S"] if superuser else []
        done = run(
            ["cat2adduser", "--statedir", self.subscriber.statedir, *options, name, password], cwd=self.directory
        )
        assert done.returncode == 0, done.stdout + done.stderr

    # --- using ---------------------------------------------------------------------
    def client(self, *, user: bool = False, subscriber: int = 0) -> caterva2.Client:
        """Return a client of a subscriber, logged in if asked for."""
        auth = (USER, PASSWORD) if user else None
        self._clients.append(caterva2.Client(self.subscribers[subscriber].url, auth))
        return self._clients[-1]

    def cli(self, *arguments: str | Path, **options: Any) -> str:
        """Run ``cat2cli`` against the first subscriber and return what it printed."""
        done = run(["cat2cli", "--subscriber", self.subscriber.url, *arguments], cwd=options.pop("cwd", self.directory))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def manifest(self, root: str) -> list[str]:
        """Return the manifest that the publisher of `root` answers, line by line, without its header."""
        return self._manifest(root)[1:]

    def manifest_header(self, root: str) -> dict[str, Any]:
        """Return the header of that manifest: epoch, seq and more."""
        header: dict[str, Any] = json.loads(self._manifest(root)[0])
        return header

    def _manifest(self, root: str) -> list[str]:
        publisher = self.publishers[root]
        identity = make_identity(self.subscriber.statedir, Role.SUBSCRIBER)
        auth = identity.auth(audience_of(publisher.http))
        response = httpx.get(f"{publisher.url}/api/manifest", auth=auth, trust_env=False, timeout=60)
        response.raise_for_status()
        return response.text.splitlines()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()
        for service in reversed(self.services):
            with contextlib.suppress(ProcessLookupError):
                service.kill()
        if kind is not None:
            for service in self.services:
                print(f"\n----- {service.log_path.name}\n{service.output[-4000:]}")
