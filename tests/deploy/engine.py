"""A Docker engine for tests: the machine's own, or one that scripts bring where there is none."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.require import missing

SCRIPTS_VARIABLE = "CATERVA2_CONTAINER_SCRIPTS"
"""Directory with ``install-docker.sh`` and ``base-images.sh``, for machines that reach no registry of images."""

DOCKERD_PID = Path("/var/run/docker.pid")


def run(
    command: Sequence[str | Path],
    *,
    timeout_s: float = 300,
    check: bool = True,
    variables: Mapping[str, str] | None = None,
) -> str:
    """Run a program and return its standard output; a failure shows both streams."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, **(variables or {})},
    )
    if check:
        assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def docker(*arguments: str | Path, timeout_s: float = 300, check: bool = True) -> str:
    """Run ``docker`` and return what it prints."""
    return run(["docker", *arguments], timeout_s=timeout_s, check=check).strip()


def answers() -> bool:
    """Tell whether an engine can be used."""
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=120).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def scripts() -> Path | None:
    """Return the directory of the scripts, if there is one."""
    given = os.environ.get(SCRIPTS_VARIABLE)
    return Path(given) if given else None


@contextmanager
def running() -> Iterator[None]:
    """Have an engine and the base images; an engine that was started for this is stopped again."""
    was_there, directory = answers(), scripts()
    if directory is not None:
        run([directory / "install-docker.sh"], timeout_s=600)
        run([directory / "base-images.sh"], timeout_s=900)
    elif not was_there:
        missing(f"Docker does not answer here, and {SCRIPTS_VARIABLE} names no scripts that bring it")
    try:
        yield
    finally:
        if not was_there:
            stop_engine()


def stop_engine() -> None:
    """End the engine that `running` started, and wait for its end."""
    pid = int(DOCKERD_PID.read_text())
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 60
    while DOCKERD_PID.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
