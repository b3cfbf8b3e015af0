"""Real mounts for tests: small disks that fill up, and file systems that go away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .require import require


@contextmanager
def tmpfs(place: Path, size: str) -> Iterator[Path]:
    """Mount a file system of limited size in memory; the test is not run where that is not allowed."""
    place.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "none", str(place))
    try:
        yield place
    finally:
        unmount(place)


@contextmanager
def ext4(place: Path, image: Path, size: str) -> Iterator[None]:
    """Mount a new ext4 file system, whose device is the file `image`; not run where that is not allowed."""
    place.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(["truncate", "-s", size, image], capture_output=True, check=False)
    require(made.returncode == 0 and shutil.which("mkfs.ext4"), "there is no mkfs.ext4")
    subprocess.run(["mkfs.ext4", "-q", image], check=True, capture_output=True)
    _mount("-o", "loop", str(image), str(place))
    try:
        yield
    finally:
        unmount(place)


def cut_power(place: Path, image: Path, pids: Iterable[int]) -> None:
    """Kill processes, and mount at `place` what the device `image` holds at this moment.

    Whatever the processes did not sync is lost, as far as the kernel did not write it by itself; the journal of the
    file system is replayed.
    """
    pids = list(pids)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    copy = image.with_name(f"{image.name}.copy")
    subprocess.run(["cp", "--sparse=always", image, copy], check=True, capture_output=True)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    unmount(place)
    copy.replace(image)
    _mount("-o", "loop", str(image), str(place))


def resize(place: Path, size: str) -> None:
    """Give a tmpfs another size."""
    _mount("-o", f"remount,size={size}", str(place))


def bind(source: Path, place: Path) -> None:
    """Show a directory at another place too."""
    _mount("--bind", str(source), str(place))


def unmount(place: Path) -> None:
    """Take a mount away at once, whoever uses it; nothing happens if there is none."""
    subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)


def _mount(*arguments: str) -> None:
    mounted = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    require(mounted.returncode == 0, f"nothing can be mounted here: {mounted.stderr.strip()}")
