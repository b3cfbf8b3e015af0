"""Programs as processes of their own: started, waited for, killed, and never left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

READY_TIMEOUT_S = 30.0
BUSY = 4.0
"""Limits are those of a quiet machine; one that does other things besides has so many times as long."""
BIN = Path(sys.executable).parent

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends; called between fork and exec."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def program(name: str) -> str:
    """Return the path of an installed console script of this environment."""
    path = BIN / name
    assert path.exists(), f"{name} is not installed: run 'make setup'"
    return str(path)


def wait_until(condition: Callable[[], Any], *, timeout_s: float, what: str, every_s: float = 0.05) -> Any:
    """Return the first true value of `condition`; fail the test if there is none within `timeout_s` (`BUSY`)."""
    end = time.monotonic() + timeout_s * BUSY
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {timeout_s * BUSY:.0f} s: {what}"
        time.sleep(every_s)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a started program: this one without settings of Caterva2 and without proxies."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CATERVA2_") and not k.lower().endswith("_proxy")}
    kept["PATH"] = f"{BIN}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, **(extra or {})}


def run(command: Sequence[str | Path], *, timeout_s: float = 180, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run an installed console script to its end and return what it said; its exit code is not checked."""
    options.setdefault("env", environment())
    return subprocess.run(
        [program(str(command[0])), *map(str, command[1:])],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        **options,
    )


class Process:
    """One program that runs beside the test; output goes to `log_path`.

    Parameters
    ----------
    command
        Console script and its arguments.
    log_path
        File that collects standard output and error over all starts.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log_path: Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.command = [program(str(command[0])), *map(str, command[1:])]
        self.log_path = log_path
        self.cwd = cwd
        self.env = environment(env)
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running program."""
        assert self._popen is not None, "not started"
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether the program runs."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def output(self) -> str:
        """All that the program has said so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def start(self) -> Self:
        """Start the program and return at once."""
        assert not self.running, f"{self.command[0]} runs already"
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.cwd,
                env=self.env,
                preexec_fn=die_with_parent,
            )
        return self

    def send(self, number: signal.Signals) -> None:
        """Send a signal; SIGSTOP and SIGCONT let the program hang and go on."""
        assert self._popen is not None, "not started"
        self._popen.send_signal(number)

    def wait(self, timeout_s: float = 60) -> int:
        """Wait for the end of the program and return its exit code (negative: the signal that ended it)."""
        assert self._popen is not None, "not started"
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{Path(self.command[0]).name} did not end in {timeout_s} s\n{self.output}") from None

    def terminate(self, timeout_s: float = 60) -> int:
        """End the program as an administrator would (SIGTERM) and return its exit code."""
        self.send(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """End the program as a crash would (SIGKILL)."""
        if self.running:
            self.send(signal.SIGKILL)
            self.wait()

    def restart(self) -> Self:
        """Kill the program and start it again."""
        self.kill()
        return self.start()

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


class Service(Process):
    """A service of Caterva2 with its own state directory.

    Parameters
    ----------
    command
        Console script and its arguments, without ``--http`` and ``--statedir``.
    port
        Port of loopback where it listens.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        port: int,
        statedir: Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        self.http = f"localhost:{port}"
        self.url = f"http://localhost:{port}"
        self.statedir = statedir
        log_path = statedir.with_name(statedir.name + ".log")
        options = ["--http", self.http, "--statedir", statedir]
        super().__init__([command[0], *options, *command[1:]], log_path=log_path, cwd=cwd, env=env)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Ask the service by HTTP."""
        with httpx.Client(base_url=self.url, trust_env=False, timeout=options.pop("timeout", 60)) as http:
            return http.get(path, **options)

    def readiness(self) -> dict[str, Any] | None:
        """Return the body of ``/readyz`` if the service is able to work, else None."""
        try:
            response = self.get("/readyz", timeout=5)
        except httpx.HTTPError:
            return None
        return dict(response.json()) if response.status_code == 200 else None

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S, *, parts: Sequence[str] = ()) -> Self:
        """Wait until the service is able to work, and until `parts` work too."""
        end = time.monotonic() + timeout_s * BUSY
        while True:
            body = self.readiness()
            if body is not None and all(body["parts"].get(part, {}).get("ok") for part in parts):
                return self
            assert self.running, f"{self.command[0]} ended with {self.wait()}\n{self.output}"
            assert time.monotonic() < end, f"{self.command[0]} not ready ({body})\n{self.output}"
            time.sleep(0.05)

    def start_ready(self, **options: Any) -> Self:
        """Start the service and wait until it is able to work."""
        return self.start().wait_ready(**options)
