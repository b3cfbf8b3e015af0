"""What a workload is called with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from ..data import SHAPE, Data
from ..figures import Row
from ..sites import Site


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    rounds: int
    """How often each site is measured, in turn."""
    seconds: float
    """Seconds of requests for one figure."""
    changes: int
    """Changes of each kind that are waited for."""
    patience_s: float
    """Seconds after which a change counts as not seen."""
    upload: int
    """Bytes of the file that is uploaded."""
    soak_s: float
    """Seconds of mixed load."""
    catalogue_s: float
    """Longest time that the original is given to take in a catalogue."""
    minutes: float
    """After these nothing more is begun."""


SHORT = Effort(rounds=2, seconds=1, changes=50, patience_s=3, upload=2**29, soak_s=60, catalogue_s=120, minutes=15)
LONG = Effort(rounds=5, seconds=4, changes=100, patience_s=75, upload=2**31, soak_s=600, catalogue_s=900, minutes=90)


@dataclass(frozen=True)
class Run:
    """One turn of a workload at one site."""

    site: Site
    data: Data
    turn: int
    effort: Effort

    def fetch(self, root: str, dataset: str, slice_: str | None = None) -> str:
        """Return the address of a slice, or of a whole dataset."""
        return address(self.site.path(root, dataset), slice_)

    def windows(self, dataset: str, count: int) -> list[str]:
        """Return addresses of 10x10 windows at random places of an array of `data.SHAPE`."""
        rng = random.Random(self.turn)
        starts = [
            (rng.randrange(SHAPE[0] - 10), rng.randrange(SHAPE[1] - 10), rng.randrange(SHAPE[2])) for _ in range(count)
        ]
        return [self.fetch("data", dataset, f"{a}:{a + 10}, {b}:{b + 10}, {c}") for a, b, c in starts]


def address(path: str, slice_: str | None = None) -> str:
    """Return the address of a slice of what the subscriber calls `path`, or of the whole."""
    return f"/api/fetch/{quote(path)}" + (f"?slice_={quote(slice_)}" if slice_ else "")


@dataclass(frozen=True)
class Workload:
    """What is measured, and where."""

    measure: Callable[[Run], Iterator[Row]]
    """Measures one site once; the runner alternates the sites."""
    roots: tuple[str, ...] = ("data", "hdf5")
    """Roots that are followed before it begins; workloads with the same ones share their sites."""
    links: tuple[str, ...] = ("loopback",)
    once: bool = False
    """Whether it is measured in the first round only."""
