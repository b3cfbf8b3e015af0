"""Progress of long transfers: a bar on a terminal or in a notebook, nothing elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ._transfer import Progress

PATIENCE_S = 1.0
"""Seconds that a transfer may take before a bar appears."""


@contextmanager
def bar(description: str, progress: Progress | bool | None) -> Iterator[Progress | None]:
    """Yield what is to be called with the progress of a transfer.

    Parameters
    ----------
    progress
        What the user gave: a function of their own, False for none, or None (True) for a bar where somebody
        can see one.
    """
    if callable(progress):
        yield progress
        return
    if progress is False or not _watched():
        yield None
        return
    shown = _Bar(description)
    try:
        yield shown
    finally:
        shown.close()


def _watched() -> bool:
    """Tell whether a person looks: at a terminal, or at a notebook."""
    try:
        import rich  # noqa: F401 - the extra `cli`
    except ImportError:
        return False
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class _Bar:
    """A bar of rich that appears when the transfer turns out to be long."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._since = time.monotonic()
        self._progress: Any = None
        self._task: Any = None

    def __call__(self, done: int, total: int | None) -> None:
        if self._progress is None:
            if time.monotonic() - self._since < PATIENCE_S:
                return
            self._appear()
        self._progress.update(self._task, completed=done, total=total)

    def _appear(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as Speed

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            Speed(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(self._description, total=None)
        self._progress.start()

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
