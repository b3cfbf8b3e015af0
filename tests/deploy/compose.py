"""A site that ``docker compose`` runs for a test, under a name and on ports of its own."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.engine import docker, run

REPOSITORY = Path(__file__).parents[2]
TAG = "test"
"""Tag of the images that tests build; the user's own keep theirs."""


@dataclass(frozen=True, slots=True)
class Project:
    """One compose project."""

    name: str
    file: Path
    env_file: Path

    def compose(self, *arguments: str | Path, timeout_s: float = 600, check: bool = True) -> str:
        """Run ``docker compose`` for this project and return what it prints."""
        command = ["docker", "compose", "-p", self.name, "-f", self.file, "--env-file", self.env_file]
        return run([*command, *arguments], timeout_s=timeout_s, check=check)

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return what the engine knows of the running containers, by service."""
        ids = self.compose("ps", "-q").split()
        inspected = json.loads(docker("inspect", *ids))
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in inspected}

    def crash(self, service: str) -> None:
        """Kill a container so that the engine sees a crash and applies the restart policy."""
        container = self.containers()[service]
        try:
            os.kill(container["State"]["Pid"], signal.SIGKILL)
        except (PermissionError, ProcessLookupError):  # not root, or the engine is in a virtual machine
            docker("kill", container["Id"])
            docker("start", container["Id"])

    def healthy(self, service: str) -> bool:
        """Tell whether a service runs and its health check passes."""
        found = self.containers().get(service)
        return found is not None and found["State"].get("Health", {}).get("Status") == "healthy"

    def inside(self, service: str, url: str) -> str:
        """Return the body of a GET request that is made inside a container of ours."""
        script = f"import urllib.request; print(urllib.request.urlopen('{url}').read().decode())"
        return self.compose("exec", "-T", service, "python", "-c", script)

    def script(self, name: str, *arguments: str | Path, timeout_s: float = 600) -> str:
        """Run a script of ``docker/`` for this project and return what it prints."""
        variables = {"COMPOSE_PROJECT_NAME": self.name, "COMPOSE_ENV_FILES": str(self.env_file)}
        return run([REPOSITORY / "docker" / name, *arguments], timeout_s=timeout_s, variables=variables)

    def change_setting(self, name: str, value: str) -> None:
        """Change a line of the project's ``.env``."""
        lines = [line for line in self.env_file.read_text().splitlines() if not line.startswith(f"{name}=")]
        self.env_file.write_text("\n".join([*lines, f"{name}={value}", ""]))

    def secrets(self) -> dict[str, str]:
        """Return the secrets of the project's ``.env``."""
        lines = (line.partition("=") for line in self.env_file.read_text().splitlines())
        return {name: value for name, _, value in lines if name.endswith(("PASSWORD", "SECRET"))}


@contextmanager
def project(file: str, directory: Path, settings: dict[str, str]) -> Iterator[Project]:
    """Prepare a project in `directory`, with secrets of its own; whatever it made is removed at the end."""
    env_file = directory / ".env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in {"CATERVA2_VERSION": TAG, **settings}.items()))
    run([sys.executable, REPOSITORY / "docker" / "make_env.py", env_file])
    made = Project(f"caterva2-test-{os.getpid()}-{Path(file).stem.replace('.', '-')}", REPOSITORY / file, env_file)
    try:
        yield made
    finally:
        made.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5", check=False)
        docker("image", "prune", "-f", "--filter", "label=org.opencontainers.image.licenses=BSD-3-Clause", check=False)
