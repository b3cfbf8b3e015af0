"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePosixPath

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Return the number of cores that this process may use: those it is bound to, or fewer by its cgroup's quota."""
    bound = len(os.sched_getaffinity(0))
    quota = cpu_quota(_CGROUPS, _OWN)
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def cpu_quota(cgroups: Path, own: Path) -> float | None:
    """Return how many cores' time a cgroup and those around it may use, as container engines limit it.

    Parameters
    ----------
    cgroups
        Where cgroups are mounted, of version 2 or 1.
    own
        The file that says which ones are ours (``/proc/self/cgroup``).

    Returns
    -------
    float or None
        None where there is no limit.
    """
    quotas = [quota for group in _groups(cgroups, own) if (quota := _quota(group)) is not None]
    return min(quotas, default=None)


def _groups(cgroups: Path, own: Path) -> list[Path]:
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounted = cgroups / "cpu" if controllers else cgroups
        # In a container the path may be that of the host, of which only our own part is mounted.
        inside = PurePosixPath(path.lstrip("/"))
        found += [mounted / group for group in (inside, *inside.parents) if ".." not in group.parts]
    return found


def _quota(group: Path) -> float | None:
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
