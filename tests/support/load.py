"""Writers and readers that go on while services are killed, and the comparison at the end."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

import caterva2

from .content import read_array, wait_for_list, write_array
from .processes import wait_until

PAUSE_S = 0.03


class _Thread:
    """A loop in a thread; what it raises is raised where it is joined."""

    def __init__(self, step: Callable[[], None]) -> None:
        self._step = step
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._stop.set()
        self._thread.join(120)
        assert not self._thread.is_alive(), "a thread of the load hangs"
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop.wait(PAUSE_S):
                self._step()
        except BaseException as error:
            self._error = error


class Load:
    """Changes a directory and reads it through a subscriber, until the block ends.

    Every array holds one number everywhere, and the numbers written to a path only grow. So a reader can tell a mix of
    versions, bytes that nobody wrote, and a step back in time.

    Parameters
    ----------
    prefix
        API path of `folder`.
    """

    def __init__(self, folder: Path, client: caterva2.Client, prefix: str, *, seed: int = 0, names: int = 12) -> None:
        self.folder = folder
        self.client = client
        self.prefix = prefix
        self.changes = 0
        self.reads = 0
        self.refusals = 0
        """Reads that were not answered, while something was down."""
        self._random = random.Random(seed)
        self._names = [f"{'sub/' * (n % 3)}d{n}.b2nd" for n in range(names)]
        self._written: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._threads = [_Thread(self._change), _Thread(self._read)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for thread in self._threads:
            thread.join()

    def _change(self) -> None:
        name = self._random.choice(self._names)
        path = self.folder / name
        self.changes += 1
        if path.exists() and self._random.random() < 0.15:
            path.unlink()
            return
        # Said before it is written: a reader may be faster than this thread.
        self._written[name] = self.changes
        write_array(path, self.changes)

    def _read(self) -> None:
        name = random.choice(self._names)
        data = read_array(self.client, f"{self.prefix}/{name}")
        if data is None:
            self.refusals += 1
            return
        self.reads += 1
        values = set(np.unique(data).tolist())
        assert len(values) == 1, f"{name} is a mix of versions {sorted(values)}"
        (value,) = values
        assert 0 < value <= self._written.get(name, 0), f"{name} is {value}, which nobody wrote"
        assert value >= self._seen.get(name, 0), f"{name} went back from {self._seen[name]} to {value}"
        self._seen[name] = value

    def check_equal(self, *, timeout_s: float = 60) -> None:
        """Wait until the subscriber lists what is there, and compare every byte. Call it after the block."""
        paths = {str(path.relative_to(self.folder)) for path in self.folder.rglob("*.b2nd")}
        wait_for_list(self.client, self.prefix, paths, timeout_s=timeout_s)
        for name in sorted(paths):
            expected = (self.folder / name).read_bytes()
            wait_until(
                lambda name=name, expected=expected: self._downloaded(name) == expected,  # type: ignore[misc]
                timeout_s=timeout_s,
                what=f"{name} is downloaded as it is at the publisher",
            )

    def _downloaded(self, name: str) -> bytes:
        target = self.folder.parent / f"downloaded-{os.getpid()}-{time.monotonic_ns()}.b2nd"
        try:
            return self.client.download(f"{self.prefix}/{name}", str(target)).read_bytes()
        finally:
            target.unlink(missing_ok=True)
