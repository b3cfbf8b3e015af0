"""Measure this project against the original: ``make bench``, or ``python -m bench --help``."""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from . import data as datasets
from . import report
from .figures import Figure
from .programs import RELEASES, Programs, installed, ours
from .sites import KINDS, NEAR, Link, Site
from .workloads import LONG, SHORT, WORKLOADS, Effort, Run, Workload
from .workloads.catalogue import LARGE
from .workloads.cold import COPIES

LINKS = {
    "loopback": NEAR,
    "far": Link("20 ms, 1 Gbit/s", 20, 1000),
    "thin": Link("20 ms, 100 Mbit/s", 20, 100),
    "large": Link("loopback, large catalogues and files"),
}
"""Where workloads are measured; the last takes long, and is what a lack of time leaves out."""
HERE = Path(__file__).parent


def main() -> int:
    """Run the workloads that the command line names and print tables."""
    options = _options()
    effort = LONG if options.long else SHORT
    published = datasets.make(options.directory, cold=effort.rounds * COPIES)
    for count in (2000, *LARGE):
        published.many(count)
    programs = _programs(options)
    if options.prepare:
        return 0
    began, tables, remarks = time.time(), [], []
    deadline = time.monotonic() + 60 * (options.minutes or effort.minutes)
    for link, names in _chosen(options):
        table = report.Table(LINKS[link].name, [each.name for each in programs])
        for roots, group in itertools.groupby(names, key=lambda name: WORKLOADS[name].roots):
            remarks += Group(LINKS[link], roots, list(group), programs, published, effort).measure(table, deadline)
        tables.append(table)
        print(table.render(), flush=True)
    said = report.machine(programs, began, rounds=effort.rounds)
    print("\n".join([said, *remarks]))
    if options.write:
        report.write(HERE.parent / "docs/performance.md", said, tables, remarks=remarks)
    return 1 if remarks else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("workload", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}; all by default")
    parser.add_argument("--link", action="append", choices=LINKS, help="distances to measure; all by default")
    parser.add_argument("--long", action="store_true", help="more rounds, longer ones, and ten minutes of mixed reads")
    parser.add_argument("--minutes", type=float, help="begin no workload after this time (15; 90 with --long)")
    parser.add_argument("--ours", action="store_true", help="do not measure the original")
    parser.add_argument("--without", action="append", choices=RELEASES, default=[], help="do not measure a release")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/performance.md")
    parser.add_argument("--prepare", action="store_true", help="only make the data and install the releases")
    parser.add_argument("--directory", type=Path, default=HERE / "_work", help="where data and programs are kept")
    options = parser.parse_args()
    options.directory = options.directory.resolve()
    unknown = set(options.workload) - WORKLOADS.keys()
    if unknown:
        parser.error(f"there is no workload {', '.join(sorted(unknown))}")
    return options


def _programs(options: argparse.Namespace) -> list[Programs]:
    wanted = [] if options.ours else [release for name, release in RELEASES.items() if name not in options.without]
    found = [installed(release, options.directory) for release in wanted]
    return [ours(), *(programs for programs in found if programs is not None)]


def _chosen(options: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """Yield links with the workloads that are measured over them."""
    for link in options.link or LINKS:
        names = [
            name
            for name, workload in WORKLOADS.items()
            # A workload that is asked for by name, with a link, is measured over that link whatever is usual.
            if (name in options.workload and options.link)
            or (link in workload.links and (not options.workload or name in options.workload))
        ]
        if names:
            yield link, names


class Group:
    """Workloads that share their sites."""

    def __init__(
        self,
        link: Link,
        roots: tuple[str, ...],
        names: list[str],
        programs: list[Programs],
        published: datasets.Data,
        effort: Effort,
    ) -> None:
        self._link = link
        self._roots = roots
        self._workloads: list[tuple[str, Workload]] = [(name, WORKLOADS[name]) for name in names]
        self._programs = programs
        self._data = published
        self._effort = effort
        self._directory = published.directory / f"state-{os.getpid()}-{'-'.join([names[0], str(link.mbit)])}"

    def measure(self, table: report.Table, deadline: float) -> list[str]:
        """Measure what can be begun before `deadline`, and return what went wrong. Everything that was started ends."""
        wrong = []
        if time.monotonic() > deadline:
            return [f"- Time was up before {', '.join(f'`{name}`' for name, _ in self._workloads)}."]
        try:
            with ExitStack() as stack:
                sites = [stack.enter_context(self._site(programs)) for programs in self._programs]
                for name, workload in self._workloads:
                    began = time.monotonic()
                    if began > deadline:
                        wrong.append(f"- Time was up before `{name}`.")
                        continue
                    for turn, site in itertools.product(range(1 if workload.once else self._effort.rounds), sites):
                        wrong += self._turn(name, workload, Run(site, self._data, turn, self._effort), table)
                    print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)
        return wrong

    def _site(self, programs: Programs) -> Site:
        directory = self._directory / programs.name
        sources = {
            "data": self._data.arrays,
            "hdf5": self._data.hdf5,
            "changes": directory / "changes",
        }
        if "changes" in self._roots:
            self._data.changing(sources["changes"])
        site = KINDS[programs.name](programs, directory, self._link)
        try:
            return site.start({root: sources[root] for root in self._roots})
        except BaseException:
            site.stop()
            raise

    def _turn(self, name: str, workload: Workload, run: Run, table: report.Table) -> list[str]:
        try:
            for row in workload.measure(run):
                table.add(run.site.name, row)
                said = f"{row.value:.2f} {row.unit}" if isinstance(row, Figure) else row.reason
                print(f"{run.site.name:9} {row.name}: {said}", file=sys.stderr)
        except (AssertionError, OSError, EOFError) as error:
            # A service that fails is a finding, not the end of the other workloads.
            wrong = f"- {run.site.name} failed in `{name}`: {type(error).__name__}: {str(error)[:200]}"
            print(wrong, file=sys.stderr)
            return [wrong]
        return []


if __name__ == "__main__":
    raise SystemExit(main())
