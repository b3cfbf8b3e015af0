"""Environments that hold a client of the original, as its users install it; nothing of it is ever read."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from tests.support.require import missing


def original_client(directory: Path, *requirements: str) -> Path:
    """Return the Python of an environment with these requirements, made below `directory` if it is not there.

    A test for which they cannot be installed (there is no package registry) ends here, loudly.
    """
    key = hashlib.sha256(" ".join([sys.version, *requirements]).encode()).hexdigest()[:12]
    home = directory / key
    python = home / "bin" / "python"
    if (home / "complete").exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True, capture_output=True)
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        missing(f"pip could not install {' '.join(requirements)}: {done.stderr[-300:]}")
    (home / "complete").touch()
    return python
