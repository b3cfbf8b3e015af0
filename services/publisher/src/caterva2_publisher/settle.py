"""When a file that changed can be taken for whole.

The rule, for each file that a look finds at a new version:

1. *Nobody has it open for writing*: it is whole. The kernel knows: it grants a read lease only then (`writer_of`). So a
   file is announced as soon as it is closed, or moved into the root.
2. *Somebody has it open for writing*: it is taken only when it did not change for ten times the settle time, so that a
   file which is held open for hours and grows now and then is still followed.
3. *The kernel cannot tell* (files of other users, network file systems, which also hide writers on other machines): it
   is taken when it did not change for the settle time.

In any case the newest time stamp must be older than a tick of the kernel's clock, so that no later write can leave
the file with the stamp of an announced version.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from caterva2_formats.base import Found, Stamp

TICK_S = 0.011
"""Longest tick of a kernel's clock (100 Hz), with a margin."""
OPEN_FACTOR = 10
"""A file that is open for writing must be quiet for this many settle times."""
LOOK_AGAIN_S = 0.25
"""Longest time between two looks at a file that is still written."""


def writer_of(file: Path) -> bool | None:
    """Tell whether any process has `file` open for writing; None if the kernel does not say."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # A writer who comes in these few microseconds waits for the lease to end; the signal that asks for its end
        # must be one that does nothing.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(fd)
    return False


class Settling:
    """Remembers since when files that changed are quiet. For one thread at a time.

    Parameters
    ----------
    settle_s
        Seconds without a change after which a file counts as whole when the kernel cannot tell.
    files
        Gives the places of the file system where the file of a listed path may be.
    """

    def __init__(self, settle_s: float, files: Callable[[str], Iterable[Path]]) -> None:
        self._settle_s = settle_s
        self._files = files
        self._since: dict[str, tuple[Stamp, float]] = {}

    def wait_s(self, found: Found) -> float:
        """Return the seconds after which to look again, or 0 if the file can be taken for whole."""
        now = time.monotonic()
        stamp, since = self._since.get(found.path, (None, now))
        if stamp != found.stamp:
            since = now
        # A file that was at rest long before anybody looked need not be watched for being at rest.
        quiet = max(now - since, time.time() - found.stamp.ctime_ns / 1e9)
        wait = self._wait_s(found, quiet, now - since)
        if wait > 0:
            self._since[found.path] = (found.stamp, since)
        else:
            self.forget(found.path)
        return wait

    def forget(self, path: str) -> None:
        """Drop what is remembered of a path that is gone, or known."""
        self._since.pop(path, None)

    def _wait_s(self, found: Found, quiet: float, watched: float) -> float:
        if quiet < TICK_S:
            return TICK_S - max(quiet, 0.0)
        if quiet >= self._settle_s * OPEN_FACTOR:
            return 0.0
        states = {writer_of(file) for file in self._files(found.path)}
        if True in states:
            return min(max(TICK_S, watched / 4), LOOK_AGAIN_S)
        if False in states:
            return 0.0
        return max(0.0, self._settle_s - quiet)
