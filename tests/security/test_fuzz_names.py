"""T3: names of every kind, asked of roots directly: whatever is opened lies inside."""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from caterva2.errors import DatasetNotFound, UnsafeContent
from caterva2_formats import opening
from caterva2_formats.directory import DirectoryRoot
from caterva2_formats.hdf5 import HDF5Root
from tests.security.mutants import effort

NAMES_PER_EFFORT = 25
"""Of these for each of the four ways to open something."""
SEGMENTS = [
    "..", ".", "", "...", "a", "sub", "d.b2nd", "there", "file", "loop", "d", "~", "~root", "etc", "passwd", "x.b2",
    "outside.txt", "%2e%2e", "..%2f", "\0", "..\0", "\u202e", "\uff0e\uff0e", "re\u0301sume\u0301", "A", "nul", " ",
    "a ", "x" * 300, ".cat2-state", "half.tmp", "..\\..", "C:", "\n", "\udcff", "proc", "self", "fd", "0", "root",
]  # fmt: skip


GOOD = ["a", "a.b2nd", "sub/a.b2nd", "sub/a/d", "sub/x", "sub/file", "there/outside.txt", "file", "r\u00e9sum\u00e9"]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file that nobody may reach."""
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    return outside


@pytest.fixture
def directory(tmp_path: Path, outside: Path) -> Path:
    """A directory with files, and links that lead out of it and round in a circle."""
    directory = tmp_path / "root"
    (directory / "sub" / "a").mkdir(parents=True)
    for name in ("a", "sub/a/d", "sub/x.b2", "r\u00e9sum\u00e9"):
        (directory / name).write_bytes(b"inside")
    (directory / "there").symlink_to(tmp_path)
    (directory / "file").symlink_to(outside)
    (directory / "sub" / "file").symlink_to("../a")
    (directory / "loop").symlink_to("loop")
    return directory


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", ["openat2", "segments"])
def test_t3_no_name_opens_anything_outside_a_root(
    directory: Path, outside: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "segments":
        monkeypatch.setattr(opening, "_has_openat2", lambda: False)
    elif not opening._has_openat2():
        pytest.skip("the kernel has no openat2")
    root = DirectoryRoot(directory)
    inside = str(directory.resolve())
    outcomes: Counter[str] = Counter()
    with opened_files() as opened:
        for name in names(effort(40) * NAMES_PER_EFFORT, seed=3):
            opened.clear()
            with suppress(DatasetNotFound, UnsafeContent), root.open(name) as source:
                assert os.path.realpath(f"/proc/self/fd/{source._file.fd}").startswith(f"{inside}/"), name
                outcomes["opened"] += 1
            outcomes["found"] += root.find(name) is not None
            for found in root.below(name):
                assert (directory / found.path).resolve().is_relative_to(inside), name
            for path in opened:
                # What is no whole path is one segment, below a directory that is open.
                if path.startswith("/"):
                    assert f"{os.path.realpath(path)}/".startswith(f"{inside}/"), (name, path)
                else:
                    assert "/" not in path, (name, path)
                    assert path not in ("", ".", ".."), (name, path)
    print(dict(outcomes))
    assert outcomes["opened"]
    assert outcomes["found"]


@pytest.mark.timeout(3600)
def test_t3_no_name_of_a_dataset_opens_anything_but_its_file(tmp_path: Path, outside: Path) -> None:
    with h5py.File(tmp_path / "root.h5", "w") as file:
        file["a"] = file["sub/a"] = np.arange(3)
        file["sub/there"] = h5py.ExternalLink(str(outside), "/")
        file["file"] = h5py.SoftLink("/sub/there")
        file["loop"] = h5py.SoftLink("/loop")
    root = HDF5Root(tmp_path / "root.h5")
    listed = {found.path for found in root.scan()}
    opened_names = set()
    with opened_files() as opened:
        for name in names(effort(40) * NAMES_PER_EFFORT * 2, seed=4):
            with suppress(DatasetNotFound), root.open(name):
                opened_names.add(name)
    root.close()
    assert opened_names
    assert opened_names <= listed
    assert {path for path in opened if path.startswith("/")} <= {str(tmp_path / "root.h5")}


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """Collect the paths that Python code opens meanwhile."""
    opened: list[str] = []
    active = True

    def note(event: str, args: tuple[Any, ...]) -> None:
        if active and event in ("open", "os.listdir", "os.scandir") and isinstance(args[0], str):
            opened.append(args[0])

    sys.addaudithook(note)
    try:
        yield opened
    finally:
        active = False


def names(count: int, *, seed: int) -> Iterator[str]:
    """Yield names made of segments that mean something, some of them with a character that does not belong there."""
    random_ = random.Random(seed)
    for _ in range(count):
        odd = "/".join(random_.choices(SEGMENTS, k=random_.choice((1, 1, 1, 2, 2, 3, 4, 8))))
        name = random_.choice((odd, odd, odd, random_.choice(GOOD)))
        if random_.random() < 0.3:
            position = random_.randrange(len(name) + 1)
            name = name[:position] + chr(random_.randrange(1, 0x3000)) + name[position:]
        yield "/" * (random_.random() < 0.1) + name
