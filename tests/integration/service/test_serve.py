"""A service as a process: start, refusal to start, signals, sockets, logs."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.processes import environment, wait_until

PROGRAM = """
import asyncio, sys
from contextlib import asynccontextmanager
from typing import Annotated
from fastapi import APIRouter
from starlette.responses import StreamingResponse
from caterva2_service.app import service_app
from caterva2_service.log import get_logger
from caterva2_service.serve import StartupError, run
from caterva2_service.settings import Address, ServiceSettings, load_settings

class Settings(ServiceSettings):
    http: Address = Address("localhost", 8000)
    fails: str = ""

router = APIRouter()

@router.get("/slow")
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"

@router.get("/block")
async def block() -> str:
    import time
    time.sleep(60)
    return "done"

@router.get("/log")
async def log() -> str:
    get_logger("test").warning("something happened", path="a/b", text="two\\nlines")
    return "done"

@router.get("/broken-stream")
async def broken_stream() -> StreamingResponse:
    async def body():
        yield b"begin"
        raise RuntimeError("in the middle")
    return StreamingResponse(body())

settings = load_settings(Settings, prog="svc", section="test", description="Test.")

@asynccontextmanager
async def lifespan(app):
    if settings.fails == "said":
        raise StartupError("the data directory is on fire")
    if settings.fails == "unknown":
        raise RuntimeError("a bug")
    yield

sys.exit(run(lambda: service_app("Test", version="0", lifespan=lifespan, routers=[router]), settings))
"""


class Program:
    """The program above, running."""

    def __init__(self, directory: Path, http: str, **env: str) -> None:
        script = directory / "svc.py"
        script.write_text(PROGRAM)
        self.log = directory / f"{len(list(directory.glob('*.log')))}.log"
        with self.log.open("wb") as output:
            self.popen = subprocess.Popen(
                [sys.executable, str(script)],
                cwd=directory,
                stdout=output,
                stderr=output,
                env=environment({"CATERVA2_HTTP": http, "CATERVA2_STATEDIR": str(directory / "state"), **env}),
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait(self, timeout_s: float = 20) -> int:
        return self.popen.wait(timeout_s)


Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    programs: list[Program] = []

    def start_one(http: str, *, ready: bool = True, **env: str) -> Program:
        program = Program(tmp_path, http, **env)
        programs.append(program)
        if ready:
            wait_until(lambda: "listens at" in program.said, timeout_s=20, what="the program listens")
        return program

    yield start_one
    for program in programs:
        program.popen.kill()
        program.popen.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_service_at_once_and_without_complaint(start: Start, free_port: int, number: int) -> None:
    program = start(f"localhost:{free_port}")
    program.popen.send_signal(number)
    assert program.wait() == 0
    assert program.said.count("\n") == 1


def test_running_requests_are_finished_after_sigterm(start: Start, free_port: int) -> None:
    program = start(f"localhost:{free_port}")
    with socket.create_connection(("localhost", free_port)) as connection:
        connection.sendall(b"GET /slow?seconds=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        time.sleep(0.3)
        program.popen.terminate()
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b'"done"')
    assert program.wait() == 0


@pytest.mark.parametrize("path", ["/slow?seconds=60", "/block"])
def test_sigterm_ends_a_service_within_seconds_whatever_hangs(start: Start, free_port: int, path: str) -> None:
    program = start(f"localhost:{free_port}")
    with socket.create_connection(("localhost", free_port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        time.sleep(0.3)
        program.popen.terminate()
        # A hard limit of the requirement, not a measurement: the process must be gone.
        program.wait(8)


def test_a_taken_port_is_said_in_one_line_with_the_way_out(start: Start, free_port: int) -> None:
    start(f"localhost:{free_port}")
    second = start(f"localhost:{free_port}", ready=False, CATERVA2_STATEDIR="other")
    assert second.wait() == 1
    assert second.said.count("\n") == 1
    assert f"localhost:{free_port} is taken" in second.said
    assert "--http" in second.said


def test_f21_a_state_directory_belongs_to_one_process(start: Start, free_port: int) -> None:
    first = start(f"localhost:{free_port}")
    second = start("localhost:0", ready=False)
    assert second.wait() == 1
    assert "another process uses the state directory" in second.said
    first.popen.kill()
    first.wait()
    start(f"localhost:{free_port}")


def test_a_reason_not_to_start_is_one_line(start: Start) -> None:
    program = start("localhost:0", ready=False, CATERVA2_FAILS="said")
    assert program.wait() == 1
    assert program.said == "svc.py: the data directory is on fire\n"


def test_a_bug_at_the_start_leaves_a_trace_in_the_log(start: Start) -> None:
    program = start("localhost:0", ready=False, CATERVA2_FAILS="unknown")
    assert program.wait() == 1
    assert "RuntimeError: a bug" in program.said
    assert program.said.endswith("svc.py: a bug\n")


def test_a_unix_socket_can_be_served_and_is_taken_over_from_a_killed_process(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "run" / "svc.socket"
    transport = httpx.HTTPTransport(uds=str(path))
    first = start(str(path))
    with httpx.Client(transport=transport, base_url="http://localhost") as http:
        assert http.get("/healthz").status_code == 200
    first.popen.kill()
    first.wait()
    assert path.exists()
    second = start(str(path))
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost") as http:
        assert http.get("/healthz").status_code == 200
    second.popen.terminate()
    assert second.wait() == 0
    assert not path.exists()


def test_a_star_listens_on_ipv4_and_ipv6(start: Start, free_port: int) -> None:
    start(f"*:{free_port}")
    hosts = ["127.0.0.1"] + (["[::1]"] if socket.has_ipv6 and Path("/proc/net/if_inet6").exists() else [])
    for host in hosts:
        assert httpx.get(f"http://{host}:{free_port}/healthz", trust_env=False).status_code == 200


def test_logs_are_one_json_object_for_each_event(start: Start, free_port: int) -> None:
    program = start(f"localhost:{free_port}", CATERVA2_LOGLEVEL="info")
    url = f"http://localhost:{free_port}/log"
    httpx.get(url, headers={"X-Request-Id": "req-7"}, trust_env=False)
    wait_until(lambda: '"request"' in program.said, timeout_s=10, what="the request is logged")
    lines = [json.loads(line) for line in program.said.splitlines() if line.startswith("{")]
    happened = next(line for line in lines if line["event"] == "something happened")
    assert happened["request_id"] == "req-7"
    assert (happened["path"], happened["text"], happened["level"]) == ("a/b", "two\nlines", "warning")
    request = next(line for line in lines if line["event"] == "request")
    assert (request["request_id"], request["status"], request["path"]) == ("req-7", 200, "/log")


def test_f13_an_answer_that_breaks_off_is_seen_as_broken(start: Start, free_port: int) -> None:
    start(f"localhost:{free_port}")
    # Nothing may follow the last good byte: an error page in the data would be taken for data.
    received: list[bytes] = []
    with pytest.raises(httpx.RemoteProtocolError):
        _read_stream(f"http://localhost:{free_port}/broken-stream", received)
    assert b"".join(received) == b"begin"


def _read_stream(url: str, received: list[bytes]) -> None:
    with httpx.stream("GET", url, trust_env=False) as response:
        received.extend(response.iter_bytes())
