"""Sites side by side: ours, and two releases of the original as black boxes. Each shares roots over a link."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from tests.support.ports import free_port
from tests.support.processes import die_with_parent, environment

from .programs import Programs

USER, PASSWORD = "bench@example.com", "only-for-measurements"
SECRET = "only-for-measurements-on-loopback"
NEWEST_DATASETS = 10_000
"""Datasets that the newest release lists of a peer."""


@dataclass(frozen=True)
class Link:
    """Distance between publisher and subscriber."""

    name: str
    round_trip_ms: float = 0
    mbit: float = 10_000


NEAR = Link("loopback")


@dataclass(frozen=True)
class Traffic:
    """What has passed the link of a root."""

    requests: dict[str, int]
    """Requests of the subscriber by the first two parts of their paths."""
    nbytes: int
    """Bytes towards the subscriber."""

    def __sub__(self, earlier: Traffic) -> Traffic:
        requests = {path: count - earlier.requests.get(path, 0) for path, count in self.requests.items()}
        return Traffic({path: count for path, count in requests.items() if count}, self.nbytes - earlier.nbytes)

    @property
    def fetches(self) -> int:
        """Requests for data."""
        kinds = ("/api/chunk", "/api/chunks", "/api/fetch", "/api/download")
        return sum(count for path, count in self.requests.items() if path in kinds)


@dataclass(frozen=True)
class Held:
    """What a service holds open, each counted."""

    files: int
    threads: int
    locks: int


@dataclass
class Site:
    """A broker, publishers behind a link, and a subscriber. This is our own; the others differ in a few things."""

    programs: Programs
    directory: Path
    link: Link = NEAR
    broker: int = field(default_factory=free_port)
    subscriber: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    sources: dict[str, Path] = field(default_factory=dict)
    _ports: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    subscribes = True
    """Whether roots are followed when somebody says so."""
    catalogue_limit = 10**9
    """Datasets of a root that are listed at most."""
    is_ours = True

    @property
    def name(self) -> str:
        """The name of what is measured."""
        return self.programs.name

    @property
    def url(self) -> str:
        """Base of the subscriber's addresses."""
        return f"http://localhost:{self.subscriber}"

    def path(self, root: str, dataset: str = "") -> str:
        """Return how the subscriber calls a dataset of a root."""
        return f"{root}/{dataset}" if dataset else root

    def member(self, root: str, dataset: str) -> str:
        """Return how the subscriber calls a dataset of an HDF5 file that is published as `root`."""
        return self.path(root, f"{dataset}.b2nd")

    # --- starting and ending ---------------------------------------------------------------------
    def start(self, roots: dict[str, Path]) -> Self:
        """Start every service and follow `roots`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._start_broker()
        for root, source in roots.items():
            self.publish(root, source)
        self.add_user()
        self.start_subscriber()
        for root in roots:
            self.subscribe(root)
        return self

    def _start_broker(self) -> None:
        self._spawn("broker", "cat2bro", "--http", f"localhost:{self.broker}", "--statedir", self.directory / "bro")
        self._wait(self.broker, "/api/roots")

    def start_subscriber(self) -> None:
        """Start the subscriber."""
        http_, state = f"localhost:{self.subscriber}", self.directory / "sub"
        self._spawn(
            "subscriber", "cat2sub", "--broker", f"localhost:{self.broker}", "--http", http_, "--statedir", state
        )
        self._wait(self.subscriber, "/api/roots")

    def add_user(self) -> None:
        """Make a user who may upload."""
        self._spawn("adduser", "cat2adduser", "--statedir", self.directory / "sub", USER, PASSWORD)
        if self.processes.pop("adduser").wait(120):
            raise AssertionError(f"no user could be made: {(self.directory / 'adduser.log').read_text()[-500:]}")

    def publish(self, root: str, source: Path, *, timeout_s: float = 900) -> float:
        """Start a publisher, and return the seconds until it knows everything below `source`."""
        self.sources[root] = source
        port, advertised, counts = self._ports.setdefault(root, (free_port(), free_port(), free_port()))
        began = time.perf_counter()
        self._spawn_publisher(root, source, port, advertised)
        self._wait_for_publisher(port, timeout_s)
        seconds = time.perf_counter() - began
        if f"link {root}" not in self.processes:
            relay = [sys.executable, "-m", "bench.link", *map(str, (advertised, port, counts))]
            self._popen(f"link {root}", [*relay, str(self.link.round_trip_ms), str(self.link.mbit)])
            self._wait_for_port(counts)
        self._register(root, advertised)
        return seconds

    def _spawn_publisher(self, root: str, source: Path, port: int, advertised: int) -> None:
        addresses = ["--broker", f"localhost:{self.broker}", "--http", f"localhost:{port}"]
        addresses += ["--advertise", f"localhost:{advertised}"]
        state = self.directory / f"pub.{root}"
        self._spawn(f"publisher {root}", "cat2pub", *addresses, "--statedir", state, root, source)

    def _wait_for_publisher(self, port: int, timeout_s: float) -> None:
        self._wait(port, "/readyz", timeout_s=timeout_s)

    def _register(self, root: str, advertised: int) -> None:
        end = time.monotonic() + 60
        while root not in json.loads(_request(self.broker, "/api/roots")):
            assert time.monotonic() < end, f"{root} was not registered"
            time.sleep(0.02)

    def subscribe(self, root: str, *, timeout_s: float = 900) -> None:
        """Follow a root."""
        self.post(f"/api/subscribe/{root}", timeout_s=timeout_s)

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

    def kill(self, name: str) -> None:
        """End a process as a crash would."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _spawn(self, name: str, program: str, *arguments: str | Path) -> None:
        self._popen(name, [str(self.programs.bin / program), *map(str, arguments)])

    def _popen(self, name: str, command: list[str], cwd: Path | None = None) -> None:
        env = {**environment(), "CATERVA2_SECRET": SECRET}
        env["PYTHONPATH"] = str(Path(__file__).parent.parent) if "bench.link" in command else ""
        with (self.directory / f"{name.replace(' ', '.')}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=cwd or self.directory, env=env, preexec_fn=die_with_parent
            )

    def _wait(self, port: int, path: str, *, timeout_s: float = 300) -> None:
        end = time.monotonic() + timeout_s
        while True:
            try:
                _request(port, path)
                return
            except (OSError, AssertionError):
                assert time.monotonic() < end, f"{self.name}: nothing answers at port {port}"
                time.sleep(0.02)

    def _wait_for_port(self, port: int) -> None:
        end = time.monotonic() + 60
        while True:
            try:
                _counts(port)
                return
            except OSError:
                assert time.monotonic() < end, "the link does not start"
                time.sleep(0.02)

    # --- asking ---------------------------------------------------------------------
    def post(self, path: str, *, timeout_s: float = 60) -> bytes:
        """Post to the subscriber."""
        return _request(self.subscriber, path, "POST", b"", timeout_s=timeout_s)

    def get(self, path: str, *, timeout_s: float = 1800) -> bytes:
        """Get from the subscriber."""
        return _request(self.subscriber, path, timeout_s=timeout_s)

    def listed(self, root: str) -> int:
        """Return how many datasets of a root the subscriber lists."""
        try:
            return len(json.loads(self.get(f"/api/list/{self.path(root)}")))
        except AssertionError:
            return 0

    def login(self) -> str:
        """Return the cookie of the user."""
        connection = http.client.HTTPConnection("localhost", self.subscriber, timeout=60)
        form = f"username={USER.replace('@', '%40')}&password={PASSWORD}"
        connection.request("POST", "/auth/jwt/login", form, {"Content-Type": "application/x-www-form-urlencoded"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return (answer.getheader("Set-Cookie") or "").partition(";")[0]

    # --- what it costs ---------------------------------------------------------------------
    def traffic(self, root: str) -> Traffic:
        """Return what has passed the link of a root so far."""
        return _counts(self._ports[root][2])

    def cpu_s(self, name: str = "subscriber") -> float:
        """Return the CPU seconds that a process and its children have used."""
        return float(sum(sum(each.cpu_times()[:4]) for each in self._tree(name)))

    def resident_mb(self, name: str = "subscriber") -> float:
        """Return the resident memory of a process and its children in MB; what they share counts once."""
        parent, *children = self._tree(name)
        own = sum(child.memory_full_info().uss for child in children)
        return float(parent.memory_info().rss + own) / 1e6

    def peak_mb(self, name: str = "subscriber") -> float:
        """Return the most memory that a process ever had in MB, without children."""
        status = Path(f"/proc/{self.processes[name].pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6

    def held(self, name: str = "subscriber") -> Held:
        """Return what a process and its children hold open."""
        tree = self._tree(name)
        # Locks of open file descriptions are listed with the descriptors that hold them.
        infos = [info for each in tree for info in Path(f"/proc/{each.pid}/fdinfo").iterdir()]
        return Held(
            files=sum(each.num_fds() for each in tree),
            threads=sum(each.num_threads() for each in tree),
            locks=sum(_text(info).count("\nlock:") for info in infos),
        )

    def _tree(self, name: str) -> list[psutil.Process]:
        parent = psutil.Process(self.processes[name].pid)
        return [parent, *parent.children(recursive=True)]


class OriginalSite(Site):
    """The last release that publishes and subscribes."""

    is_ours = False

    def _spawn_publisher(self, root: str, source: Path, port: int, advertised: int) -> None:
        # It cannot be told to give another address than its own: `_register` does. Nor does it know readiness.
        command = ["cat2pub", "--broker", f"localhost:{self.broker}", "--http", f"localhost:{port}"]
        self._spawn(f"publisher {root}", *command, "--statedir", self.directory / f"pub.{root}", root, source)

    def _wait_for_publisher(self, port: int, timeout_s: float) -> None:
        self._wait(port, "/api/list", timeout_s=timeout_s)

    def _register(self, root: str, advertised: int) -> None:
        body = json.dumps({"name": root, "http": f"localhost:{advertised}"}).encode()
        _request(self.broker, "/api/roots", "POST", body)


class NewestSite(Site):
    """The newest release: a server for each root, and one more that mounts them as its peers."""

    is_ours = False
    subscribes = False
    _mounted: set[str]
    catalogue_limit = NEWEST_DATASETS

    def path(self, root: str, dataset: str = "") -> str:
        return f"@{root}/{dataset}" if dataset else f"@{root}"

    def member(self, root: str, dataset: str) -> str:
        return self.path(root, f"{self.sources[root].name}/{dataset}")

    def _start_broker(self) -> None:
        """There is none."""

    def add_user(self) -> None:
        """Nobody logs in."""

    def _spawn_publisher(self, root: str, source: Path, port: int, advertised: int) -> None:
        home = self.directory / f"pub.{root}"
        public = home / "state" / "public"
        if not public.exists():
            public.parent.mkdir(parents=True)
            if source.is_dir():
                public.symlink_to(source)
            else:
                public.mkdir()
                os.link(source, public / source.name)
        self._serve(f"publisher {root}", home, port)

    def _wait_for_publisher(self, port: int, timeout_s: float) -> None:
        self._wait(port, "/api/list/@public", timeout_s=timeout_s)

    def _register(self, root: str, advertised: int) -> None:
        """A peer is named by the configuration of who mounts it."""

    def start_subscriber(self) -> None:
        peers = {root: ports[1] for root, ports in self._ports.items()}
        self._mounted = set(peers)
        self._serve("subscriber", self.directory / "sub", self.subscriber, peers)
        self._wait(self.subscriber, "/api/roots")

    def subscribe(self, root: str, *, timeout_s: float = 900) -> None:
        if root not in self._mounted:
            self.stop("subscriber")
            self.start_subscriber()
        end = time.monotonic() + timeout_s
        while not self.listed(root):
            assert time.monotonic() < end, f"{root} is not mounted"
            time.sleep(0.1)

    def _serve(self, name: str, home: Path, port: int, peers: dict[str, int] | None = None) -> None:
        home.mkdir(parents=True, exist_ok=True)
        mounts = [
            f'[[server.peer]]\nname = "{peer}"\nurlbase = "http://localhost:{at}"' for peer, at in (peers or {}).items()
        ]
        settings = "\n".join(["[server]", "login = false", 'peer_cache_quota = "10G"', *mounts, ""])
        (home / "caterva2-server.toml").write_text(settings)
        command = [str(self.programs.bin / "cat2-server"), "--listen", f"localhost:{port}", "--statedir", "state"]
        self._popen(name, command, cwd=home)


KINDS: dict[str, type[Site]] = {"ours": Site, "original": OriginalSite, "newest": NewestSite}


def _request(port: int, path: str, method: str = "GET", body: bytes | None = None, *, timeout_s: float = 30) -> bytes:
    headers = {"Content-Type": "application/json"} if body else {}
    request = urllib.request.Request(f"http://localhost:{port}{path}", body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{path}: {error.code} {error.read()[:200]!r}") from None
    except TimeoutError:
        raise AssertionError(f"{path}: no answer within {timeout_s:.0f} s") from None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # closed meanwhile
        return ""


def _counts(port: int) -> Traffic:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        content = b"".join(iter(lambda: connection.recv(65536), b""))
    return Traffic(**json.loads(content))
