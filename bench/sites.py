"""Two sites side by side: ours, and the original in a virtual environment of its own, used as a black box."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.support.ports import free_port
from tests.support.processes import environment

ORIGINAL = ("caterva2[services]==2025.6.26", "blosc2==3.5.1")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Link:
    """Distance between publisher and subscriber."""

    name: str
    round_trip_ms: float = 0
    mbit: float = 10_000


NEAR = Link("loopback")


@dataclass
class Site:
    """A broker, publishers behind a link, and a subscriber."""

    name: str
    bin: Path
    directory: Path
    link: Link = NEAR
    broker: int = field(default_factory=free_port)
    subscriber: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        """Whether this is the project's own."""
        return self.name == "ours"

    def start(self, **roots: Path) -> Self:
        """Start every service and follow every root but ``many``."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._spawn("broker", "cat2bro", "--http", f"localhost:{self.broker}", "--statedir", self.directory / "bro")
        self._wait(self.broker, "/api/roots")
        for root, source in roots.items():
            self._publish(root, source)
        self.start_subscriber()
        for root in roots:
            if root != "many":
                self.post(f"/api/subscribe/{root}", timeout_s=300)
        return self

    def start_subscriber(self) -> None:
        """Start the subscriber."""
        http, state = f"localhost:{self.subscriber}", self.directory / "sub"
        self._spawn(
            "subscriber", "cat2sub", "--broker", f"localhost:{self.broker}", "--http", http, "--statedir", state
        )
        self._wait(self.subscriber, "/api/roots")

    def _publish(self, root: str, source: Path) -> None:
        port, advertised = free_port(), free_port()
        command = ["cat2pub", "--broker", f"localhost:{self.broker}", "--http", f"localhost:{port}"]
        if self.is_ours:
            command += ["--advertise", f"localhost:{advertised}"]
        self._spawn(f"publisher {root}", *command, "--statedir", self.directory / f"pub.{root}", root, source)
        # Ours lists its paths to admitted subscribers only; the original knows no readiness.
        self._wait(port, "/readyz" if self.is_ours else "/api/list", timeout_s=900)
        relay = [sys.executable, "-m", "bench.link", str(advertised), str(port)]
        self._popen(f"link {root}", [*relay, str(self.link.round_trip_ms), str(self.link.mbit)])
        if self.is_ours:
            self._wait_for_root(root)
        else:
            body = json.dumps({"name": root, "http": f"localhost:{advertised}"}).encode()
            _request(self.broker, "/api/roots", "POST", body)

    def _wait_for_root(self, root: str) -> None:
        end = time.monotonic() + 60
        while root not in json.loads(_request(self.broker, "/api/roots")):
            assert time.monotonic() < end, f"{root} was not registered"
            time.sleep(0.1)

    def _spawn(self, name: str, program: str, *arguments: str | Path) -> None:
        self._popen(name, [str(self.bin / program), *map(str, arguments)])

    def _popen(self, name: str, command: list[str]) -> None:
        log = (self.directory / f"{name.replace(' ', '.')}.log").open("ab")
        env = {**environment(), "CATERVA2_SECRET": "only-for-measurements-on-loopback"}
        env["PYTHONPATH"] = str(Path(__file__).parent.parent) if "bench.link" in command else ""
        with log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory, env=env)

    def _wait(self, port: int, path: str, *, timeout_s: float = 300) -> None:
        end = time.monotonic() + timeout_s
        while True:
            try:
                _request(port, path)
                return
            except (OSError, AssertionError):
                assert time.monotonic() < end, f"{self.name}: nothing answers at port {port}"
                time.sleep(0.1)

    def post(self, path: str, *, timeout_s: float = 60) -> bytes:
        """Post to the subscriber."""
        return _request(self.subscriber, path, "POST", b"", timeout_s=timeout_s)

    def get(self, path: str, *, timeout_s: float = 1800) -> bytes:
        """Get from the subscriber."""
        return _request(self.subscriber, path, timeout_s=timeout_s)

    def cpu_s(self, name: str = "subscriber") -> float:
        """Return the CPU seconds that a process has used, children included."""
        fields = Path(f"/proc/{self.processes[name].pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(each) for each in fields[11:15]) / _TICKS

    def resident_mb(self, name: str = "subscriber") -> float:
        """Return the resident memory of a process in MB."""
        return int(Path(f"/proc/{self.processes[name].pid}/statm").read_text().split()[1]) * _PAGE / 1e6

    def stop(self, *names: str) -> None:
        """End processes, all by default."""
        for name in names or list(self.processes)[::-1]:
            process = self.processes.pop(name)
            process.terminate()
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def original_bin(directory: Path) -> Path | None:
    """Return where the original's programs are, installed from PyPI if they are not there yet; None without PyPI."""
    venv = directory / "original"
    if not (venv / "done").exists():
        print("installing the original from PyPI, once")
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        pip = [venv / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run([*pip, *ORIGINAL], check=True, stderr=subprocess.DEVNULL)
            (venv / "done").touch()
    return venv / "bin" if (venv / "done").exists() else None


def _request(port: int, path: str, method: str = "GET", body: bytes | None = None, *, timeout_s: float = 30) -> bytes:
    headers = {"Content-Type": "application/json"} if body else {}
    request = urllib.request.Request(f"http://localhost:{port}{path}", body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{path}: {error.code} {error.read()[:200]!r}") from None
