"""What workloads yield, and what is to be reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Target:
    """What is to be reached (section 5 of the design of performance)."""

    kind: Literal["times", "at most", "at least"]
    """Times better than the original, or a value that is not to be left."""
    value: float

    def judge(self, ours: float, better_than_original: float | None) -> tuple[bool | None, str]:
        """Tell whether it is reached, None if that cannot be said, and put the target into words."""
        if self.kind == "times":
            text = f"x{self.value:g}"
            return (None if better_than_original is None else better_than_original >= self.value), text
        text = f"{self.kind} {self.value:,g}"
        return (ours <= self.value if self.kind == "at most" else ours >= self.value), text


def times(value: float) -> Target:
    """Return the target to be so many times better than the original."""
    return Target("times", value)


def at_most(value: float) -> Target:
    """Return the target not to exceed a value, in the unit of the figure."""
    return Target("at most", value)


def at_least(value: float) -> Target:
    """Return the target to reach a value, in the unit of the figure."""
    return Target("at least", value)


@dataclass(frozen=True)
class Figure:
    """One number of a workload; smaller is better unless `more_is_better`."""

    name: str
    value: float
    unit: str
    target: Target | None = None
    more_is_better: bool = False


@dataclass(frozen=True)
class Unable:
    """What a site cannot do, or was not asked to do, in words."""

    name: str
    reason: str


Row = Figure | Unable
