"""Real mounts for tests: small disks that fill up, and file systems that go away."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
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
