"""Confinement (U9): what a process can no longer do. Each attempt runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.require import missing

SETUP = """
import os, socket, sys, ctypes, signal, time
from caterva2_formats.confinement import confine, leave_network
fd = os.open(sys.argv[1], os.O_RDONLY)
measures = confine([fd], memory_bytes=64 * 2**20, cpu_s=1)
"""


def attempt(tmp_path: Path, code: str, *, setup: str = SETUP) -> subprocess.CompletedProcess[str]:
    """Run code in a confined process that may read one file."""
    (tmp_path / "allowed.txt").write_text("allowed")
    (tmp_path / "other.txt").write_text("other")
    return subprocess.run(
        [sys.executable, "-c", setup + textwrap.dedent(code), str(tmp_path / "allowed.txt"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def measures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    done = attempt(tmp_path_factory.mktemp("measures"), "print(*measures)")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def needs(measures: list[str], *names: str) -> None:
    """Skip, loudly, where the kernel has none of the measures that the test is about."""
    if not set(names) & set(measures):
        missing(f"the kernel has none of {', '.join(names)}")


def test_u9_the_one_file_can_be_read(tmp_path: Path) -> None:
    done = attempt(tmp_path, "print(open(f'/proc/self/fd/{fd}').read(), os.pread(fd, 3, 0))")
    assert done.stdout == "allowed b'all'\n", done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/passwd')",
        "open(sys.argv[2] + '/other.txt')",
        "os.listdir('/')",
        "open(sys.argv[2] + '/new', 'w')",
        "os.open(sys.argv[1], os.O_WRONLY)",
        "os.open(f'/proc/self/fd/{fd}', os.O_RDWR)",
        "os.mkdir(sys.argv[2] + '/new')",
        "os.unlink(sys.argv[1])",
        "os.rename(sys.argv[1], sys.argv[2] + '/new')",
        "os.symlink('/etc', sys.argv[2] + '/new')",
        "os.truncate(sys.argv[1], 0)",
        "os.chmod(sys.argv[1], 0o777)",
    ],
)
def test_u9_no_other_file_can_be_touched(tmp_path: Path, measures: list[str], code: str) -> None:
    needs(measures, "landlock")
    done = attempt(tmp_path, code)
    assert done.returncode == 1
    assert "PermissionError" in done.stderr
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "allowed.txt": "allowed",
        "other.txt": "other",
    }


@pytest.mark.parametrize(
    "code",
    [
        "os.execv(sys.executable, ['python'])",
        "os.fork()",
        "if os.system('true'): raise OSError('no program')",
        "os.popen('true').read()",
        "__import__('subprocess').run(['true'])",
        "os.kill(os.getppid(), 0)",
        "socket.socket()",
        "socket.socket(socket.AF_UNIX)",
        "socket.socketpair()",
        "__import__('_thread').start_new_thread(print, ())",
    ],
)
def test_u9_no_program_thread_signal_or_socket(tmp_path: Path, measures: list[str], code: str) -> None:
    needs(measures, "seccomp")
    done = attempt(tmp_path, code)
    assert done.returncode != 0
    assert "Error" in done.stderr


def test_u9_memory_is_limited(tmp_path: Path) -> None:
    done = attempt(tmp_path, "bytearray(100 * 2**20)")
    assert "MemoryError" in done.stderr
    assert attempt(tmp_path, "bytearray(30 * 2**20)").returncode == 0


def test_u9_processor_time_is_limited(tmp_path: Path) -> None:
    done = attempt(tmp_path, "while True: pass")
    assert done.returncode < 0


def test_u9_there_is_no_network(tmp_path: Path) -> None:
    code = """
    if not leave_network():
        print("cannot")
        sys.exit()
    channel = socket.socket()
    try:
        channel.connect(("127.0.0.1", 9))
    except OSError as error:
        print(error.strerror)
    """
    done = attempt(tmp_path, code, setup="import socket, sys\nfrom caterva2_formats.confinement import leave_network\n")
    if done.stdout == "cannot\n":
        missing("this process may not make network namespaces")
    assert done.stdout == "Network is unreachable\n", done.stderr
