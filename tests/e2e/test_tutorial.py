"""The tutorial of the original, as its documentation writes it, in a shell with default settings.

Ports are the only difference: the file ``caterva2.toml`` moves the services to free ones, so that tests can run beside
a demo. The programs are given no other option than the tutorial gives them.
"""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.ports import free_port
from tests.support.processes import Process, environment, wait_until

CHECKOUT = Path(__file__).parent.parent.parent


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with ``root-example`` and a configuration file."""
    shutil.copytree(CHECKOUT / "root-example", tmp_path / "root-example")
    broker, publisher, subscriber = (free_port() for _ in range(3))
    (tmp_path / "caterva2.toml").write_text(f"""
[broker]
http = "localhost:{broker}"

[publisher]
http = "localhost:{publisher}"

[subscriber]
http = "localhost:{subscriber}"
url = "http://localhost:{subscriber}"
""")
    return tmp_path


@pytest.fixture
def shell(home: Path) -> Iterator["Shell"]:
    shell = Shell(home)
    yield shell
    for process in shell.processes:
        process.kill()


class Shell:
    """What a person types."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.processes: list[Process] = []

    def start(self, line: str, **env: str) -> Process:
        """Type ``line &``."""
        program, *arguments = line.split()
        log = self.home / f"{len(self.processes)}-{program}.log"
        process = Process([program, *arguments], log_path=log, cwd=self.home, env=env).start()
        self.processes.append(process)
        return process

    def __call__(self, line: str) -> str:
        """Type ``line`` and return what is printed."""
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.home, env=environment(), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}" + self.logs()
        return done.stdout

    def logs(self) -> str:
        return "".join(f"\n----- {process.log_path.name}\n{process.output}" for process in self.processes)

    def wait_for(self, line: str, text: str) -> None:
        """Type ``line`` until it prints `text`."""

        def printed() -> bool:
            done = subprocess.run(
                ["bash", "-c", line], cwd=self.home, env=environment(), capture_output=True, text=True
            )
            return text in done.stdout

        wait_until(printed, timeout_s=30, every_s=0.3, what=f"{line} prints {text}{self.logs()}")


def test_the_tutorial_of_the_original_works_as_written(shell: Shell) -> None:
    shell.start("cat2bro")
    shell.start("cat2pub foo root-example")
    shell.start("cat2sub", CATERVA2_SECRET="c2sikrit")
    shell.wait_for("cat2cli roots", "foo")
    assert shell("cat2cli subscribe foo") == "Ok\n"
    shell.wait_for("cat2cli list foo", "ds-hello.b2frame")
    assert "dir2/ds-4d.b2nd" in shell("cat2cli list foo").splitlines()
    info = shell("cat2cli info foo/dir2/ds-4d.b2nd")
    assert info.startswith("Getting info for foo/dir2/ds-4d.b2nd\n")
    assert "'shape': [2, 3, 4, 5]" in info
    assert shell("cat2cli show foo/ds-hello.b2frame[:12]") == "Hello world!\n"
    assert (
        shell("cat2cli show foo/dir2/ds-4d.b2nd[1,2,3]") == "[115.+115.j 116.+116.j 117.+117.j 118.+118.j 119.+119.j]\n"
    )
    shell("cat2cli download foo/dir2/ds-4d.b2nd")
    original = (shell.home / "root-example/dir2/ds-4d.b2nd").read_bytes()
    assert (shell.home / "foo/dir2/ds-4d.b2nd").read_bytes() == original

    with h5py.File(shell.home / "some-file.h5", "w") as file:
        file["group/numbers"] = np.arange(12).reshape(3, 4)
    shell.start("cat2pub bar some-file.h5")
    shell.wait_for("cat2cli roots", "bar")
    assert shell("cat2cli subscribe bar") == "Ok\n"
    shell.wait_for("cat2cli list bar", "group/numbers.b2nd")
    assert shell("cat2cli show bar/group/numbers.b2nd[1]") == "[4 5 6 7]\n"

    for process in shell.processes:
        process.send(signal.SIGTERM)
    assert [process.wait(8) for process in shell.processes] == [0, 0, 0, 0], shell.logs()


def test_a_subscriber_alone_works_without_a_broker(shell: Shell) -> None:
    conf = shell.home / "caterva2.toml"
    sections = conf.read_text().partition("[subscriber]")
    conf.write_text(sections[1] + sections[2])
    shell.start("cat2sub", CATERVA2_SECRET="c2sikrit")
    shell.wait_for("cat2cli roots", "@public (subscribed)")
    shell("cat2adduser user@example.com foobar11foobar")
    shell("cat2cli --user user@example.com --pass foobar11foobar upload root-example/ds-1d.b2nd @public/ds-1d.b2nd")
    assert shell("cat2cli list @public") == "ds-1d.b2nd\n"
    assert shell("cat2cli show @public/ds-1d.b2nd[:3]") == "[0 1 2]\n"
