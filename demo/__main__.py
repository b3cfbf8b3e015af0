"""``python -m demo``: a whole site on this machine, on sample data, until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from .make_demo_samples import make_demo_samples
from .make_hdf5_example import make_hdf5_example

CHECKOUT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
DEFAULT_PORT = 8002
USER, PASSWORD = "demo@example.com", "caterva2-demo"
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 6.0
ROOTS = ("foo", "hdf5root", "demo")

_PR_SET_PDEATHSIG = 1


class CannotRun(Exception):
    """The demo cannot go on; the text is the line that says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where everything is.

    Parameters
    ----------
    directory
        Keeps samples, state of the services and their logs, so that the next run starts in seconds.
    port
        Port of the subscriber; the other services use those around it.
    """

    directory: Path
    port: int

    @property
    def ports(self) -> dict[str, int]:
        """Port of each service, by its name."""
        names = ("broker", "publisher of foo", "subscriber", "publisher of hdf5root", "publisher of demo")
        return {name: self.port - 2 + number for number, name in enumerate(names)}

    @property
    def sources(self) -> dict[str, Path]:
        """What is published, by the name of its root."""
        samples = self.directory / "samples"
        return {"foo": CHECKOUT / "root-example", "hdf5root": samples / "example.h5", "demo": samples / "demo"}

    @property
    def url(self) -> str:
        """Address for people."""
        return f"http://localhost:{self.port}"


@dataclass(slots=True)
class Service:
    """One service as a process."""

    name: str
    port: int
    command: Sequence[str]
    log: Path
    popen: subprocess.Popen[bytes] | None = None

    def start(self, environment: Mapping[str, str], cwd: Path) -> None:
        """Start it; what it says goes to its log."""
        with self.log.open("wb") as output:
            self.popen = subprocess.Popen(  # noqa: S603 - our own programs
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env=dict(environment),
                start_new_session=True,  # Ctrl-C is for the demo, which stops the services in their order
                preexec_fn=_die_with_demo,
            )

    def check(self) -> None:
        """Raise CannotRun if it has ended."""
        if self.popen is not None and self.popen.poll() is not None:
            last = self.log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise CannotRun(f"the {self.name} ended: {last[0]} (log: {self.log})")

    def is_ready(self) -> bool:
        """Tell whether it and everything that it needs work."""
        try:
            answer = httpx.get(f"http://localhost:{self.port}/readyz", trust_env=False, timeout=2)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 and answer.json()["status"] == "ready"


@dataclass(slots=True)
class Progress:
    """Lines that say what is going on and how long it took."""

    started: float = field(default_factory=time.monotonic)

    def say(self, line: str) -> None:
        """Print a line with the seconds since the start."""
        print(f"  [{time.monotonic() - self.started:4.1f} s] {line}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo until it is told to stop; return the exit code."""
    plan = _plan(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress = Progress()
    print("Caterva2 demo: a broker, three publishers and a subscriber on this machine", flush=True)
    try:
        _check_ports(plan)
        _make_samples(plan, progress)
        with _running(plan, progress) as services:
            _add_user(plan)
            _wait_for_roots(plan, services)
            progress.say("ready")
            print(_welcome(plan), flush=True)
            while True:
                time.sleep(0.5)
                for service in services:
                    service.check()
    except CannotRun as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", flush=True)
        return 0


def _plan(argv: Sequence[str] | None) -> Plan:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help=f"port of the subscriber (default: {DEFAULT_PORT})"
    )
    parser.add_argument(
        "--directory", type=Path, default=Path("_caterva2/demo"), help="where samples and state are kept"
    )
    arguments = parser.parse_args(argv)
    if not 3 <= arguments.port <= 65533:
        parser.error("the port must be between 3 and 65533: the services around it need ports too")
    return Plan(arguments.directory.resolve(), arguments.port)


def _check_ports(plan: Plan) -> None:
    for name, port in plan.ports.items():
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                sock.settimeout(1)
                if sock.connect_ex((host, port)) == 0:
                    raise CannotRun(
                        f"port {port} ({name}) is taken by another program; choose other ports: make demo PORT=9002"
                    )


def _make_samples(plan: Plan, progress: Progress) -> None:
    plan.directory.mkdir(parents=True, exist_ok=True)
    hdf5 = plan.sources["hdf5root"]
    if not hdf5.exists():
        progress.say("making example.h5")
        hdf5.parent.mkdir(parents=True, exist_ok=True)
        partial = hdf5.with_name(".example.h5.tmp")
        partial.unlink(missing_ok=True)
        make_hdf5_example(partial)
        partial.rename(hdf5)
    make_demo_samples(plan.sources["demo"], progress.say)


# --- processes ---------------------------------------------------------------------
@contextlib.contextmanager
def _running(plan: Plan, progress: Progress) -> Iterator[list[Service]]:
    services = _services(plan)
    environment = _environment(plan)
    try:
        for service in services:
            service.start(environment, plan.directory)
        progress.say("starting the services")
        _wait_ready(services, progress)
        yield services
    finally:
        _stop(services)


def _services(plan: Plan) -> list[Service]:
    ports = plan.ports
    broker = f"localhost:{ports['broker']}"

    def service(name: str, program: str, state: str, *arguments: str) -> Service:
        http = f"localhost:{ports[name]}"
        command = [str(BIN / program), "--http", http, "--statedir", str(plan.directory / state), *arguments]
        return Service(name, ports[name], command, plan.directory / f"{state}.log")

    publishers = [
        service(f"publisher of {root}", "cat2pub", f"pub.{root}", "--broker", broker, root, str(plan.sources[root]))
        for root in ROOTS
    ]
    subscriber = service("subscriber", "cat2sub", "sub", "--broker", broker, "--urlbase", plan.url)
    return [service("broker", "cat2bro", "bro"), *publishers, subscriber]


def _environment(plan: Plan) -> dict[str, str]:
    # Settings of the person's own services must not leak into the demo.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CATERVA2_")}
    return {**kept, "CATERVA2_SECRET": _secret(plan), "CATERVA2_FOLLOW": ",".join(ROOTS)}


def _secret(plan: Plan) -> str:
    path = plan.directory / "secret"
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
    return path.read_text()


def _die_with_demo() -> None:
    """Let the kernel end a service when the demo itself is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_ready(services: Sequence[Service], progress: Progress) -> None:
    waiting = list(services)
    end = time.monotonic() + READY_TIMEOUT_S
    while waiting:
        for service in list(waiting):
            service.check()
            if service.is_ready():
                waiting.remove(service)
                progress.say(f"{service.name} is ready")
        if time.monotonic() > end:
            raise CannotRun(f"the {waiting[0].name} is not ready after {READY_TIMEOUT_S:.0f} s (log: {waiting[0].log})")
        time.sleep(0.05)


def _stop(services: Sequence[Service]) -> None:
    """Stop all services, the subscriber first, and wait for them; a second Ctrl-C does not leave any behind."""
    running = [service.popen for service in reversed(services) if service.popen is not None]
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for popen in running:
        popen.terminate()
    end = time.monotonic() + STOP_TIMEOUT_S
    for popen in running:
        try:
            popen.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()
    signal.signal(signal.SIGINT, former)


# --- people ---------------------------------------------------------------------
def _add_user(plan: Plan) -> None:
    done_before = plan.directory / "sub" / "demo-user"
    if done_before.exists():
        return
    command = [str(BIN / "cat2adduser"), "--statedir", str(plan.directory / "sub"), "-S", USER, PASSWORD]
    done = subprocess.run(  # noqa: S603 - our own program
        command, capture_output=True, text=True, cwd=plan.directory, env=_environment(plan), check=False
    )
    if done.returncode != 0:
        raise CannotRun(f"the demo user cannot be made: {(done.stderr or done.stdout).strip()}")
    done_before.touch()


def _wait_for_roots(plan: Plan, services: Sequence[Service]) -> None:
    end = time.monotonic() + READY_TIMEOUT_S
    missing: list[str] = list(ROOTS)
    with httpx.Client(base_url=plan.url, trust_env=False, timeout=10) as http:
        while missing:
            missing = [root for root in missing if not _is_followed(http, root)]
            for service in services:
                service.check()
            if time.monotonic() > end:
                raise CannotRun(f"root {missing[0]} did not reach the subscriber (log: {services[-1].log})")
            time.sleep(0.1)


def _is_followed(http: httpx.Client, root: str) -> bool:
    answer = http.post(f"/api/subscribe/{root}")
    return answer.status_code == 200 and bool(http.get(f"/api/list/{root}").json())


def _welcome(plan: Plan) -> str:
    cli = "cat2cli" if plan.port == DEFAULT_PORT else f"cat2cli --subscriber {plan.url}"
    return f"""
  Open     {plan.url}
  Log in   {USER}  password {PASSWORD}

  Five commands to try, in another shell (first: source {_shown(BIN / "activate")}):
    {cli} roots
    {cli} list demo
    {cli} info demo/tomography/phantom.b2nd
    {cli} show 'foo/dir2/ds-4d.b2nd[1,2,3]'
    {cli} download demo/images/nebula.png

  Ctrl-C stops everything. Samples, state and logs stay in {_shown(plan.directory)}.
"""


def _shown(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


if __name__ == "__main__":
    sys.exit(main())
