"""``make demo``: one command, on a machine that has only Python."""

import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.processes import BIN, die_with_parent, environment

CHECKOUT = Path(__file__).parent.parent.parent
READY_TIMEOUT_S = 120


class Demo:
    """One run of the demo."""

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        self.started = time.monotonic()
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "demo", "--port", str(port), "--directory", str(directory)],
            cwd=CHECKOUT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=die_with_parent,
        )
        self.said = ""

    def read_until(self, text: str) -> str:
        """Return what the demo has said when it says `text`."""
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.said += line
            if text in line:
                return self.said
            assert time.monotonic() - self.started < READY_TIMEOUT_S, self.said
        raise AssertionError(f"the demo ended\n{self.said}")

    def stop(self) -> int:
        """Press Ctrl-C and return the exit code."""
        self.popen.send_signal(signal.SIGINT)
        self.said += self.popen.communicate(timeout=60)[0]
        return self.popen.returncode


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture
def demo(directory: Path) -> Iterator[Demo]:
    run = Demo(directory, free_port())
    yield run
    run.popen.kill()
    run.popen.communicate()


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_the_demo_says_what_to_do_and_its_commands_work(demo: Demo, tmp_path: Path) -> None:
    said = demo.read_until("Ctrl-C stops everything")
    assert "making tomography/phantom.b2nd" in said
    assert f"http://localhost:{demo.port}" in said
    commands = re.findall(r"^ +(cat2cli .*)$", said, re.MULTILINE)
    assert len(commands) == 5
    answers = []
    for command in commands:
        words = shlex.split(command)
        done = subprocess.run(
            [BIN / words[0], *words[1:]], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        answers.append(done.stdout)
    assert {"foo", "hdf5root", "demo"} <= {line.split()[0] for line in answers[0].splitlines()}
    assert "tomography/phantom.b2nd" in answers[1].splitlines()
    assert "[115.+115.j 116.+116.j 117.+117.j 118.+118.j 119.+119.j]" in answers[3]
    assert (tmp_path / "demo" / "images" / "nebula.png").read_bytes().startswith(b"\x89PNG")
    login = re.search(r"Log in +(\S+) +password (\S+)", said)
    assert login is not None
    cli = [BIN / "cat2cli", "--subscriber", f"http://localhost:{demo.port}"]
    done = subprocess.run(
        [*cli, "--username", login[1], "--password", login[2], "roots"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "@personal" in done.stdout, done.stderr
    assert demo.stop() == 0
    assert not any(is_open(port) for port in range(demo.port - 2, demo.port + 3))


def test_a_second_run_keeps_the_samples_and_the_user(demo: Demo) -> None:
    said = demo.read_until("Ctrl-C stops everything")
    assert "making" not in said
    demo.popen.terminate()
    assert demo.popen.wait(15) == 0
    assert not any(is_open(port) for port in range(demo.port - 2, demo.port + 3))


def test_a_taken_port_is_said_in_one_line(directory: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port - 1)):
        run = Demo(directory, port)
        said = run.popen.communicate(timeout=60)[0]
    assert run.popen.returncode == 1
    complaint = said.splitlines()[-1]
    assert f"port {port - 1} (publisher of foo) is taken" in complaint
    assert "make demo PORT=" in complaint
