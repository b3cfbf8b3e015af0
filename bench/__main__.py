"""Measure this project against the original: ``make bench``, or ``python -m bench --help``."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from . import data as datasets
from .sites import NEAR, Link, Site, original_bin
from .workloads import WORKLOADS, Figure

LINKS = {
    "loopback": NEAR,
    "far": Link("20 ms, 1 Gbit/s", 20, 1000),
    "thin": Link("20 ms, 100 Mbit/s", 20, 100),
}
HERE = Path(__file__).parent


def main() -> int:
    """Run the workloads that the command line names and print a table."""
    options = _options()
    published = datasets.make(options.directory / "data", cold=options.rounds)
    datasets.make_many(options.directory / "many", 2000)
    sections = []
    for name in options.link:
        link = LINKS[name]
        chosen = [w for w in options.workload or WORKLOADS if options.workload or name == "loopback" or w == "cold"]
        figures = _measure(link, chosen, published, options)
        sections.append(_table(link, figures))
        print(sections[-1])
    if options.write:
        page = HERE.parent / "docs/performance.md"
        head, mark, _ = page.read_text().partition("<!-- figures -->\n")
        page.write_text(f"{head}{mark}\n{_machine()}\n\n" + "\n".join(sections))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("workload", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}; all by default")
    parser.add_argument("--link", action="append", choices=LINKS, help="distances to measure; all by default")
    parser.add_argument("--rounds", type=int, default=3, help="how often each site is measured, in turn")
    parser.add_argument("--ours", action="store_true", help="do not measure the original")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/performance.md")
    parser.add_argument("--directory", type=Path, default=HERE / "_work", help="where data and programs are kept")
    options = parser.parse_args()
    options.link = options.link or list(LINKS)
    options.directory = options.directory.resolve()
    unknown = set(options.workload) - WORKLOADS.keys()
    if unknown:
        parser.error(f"there is no workload {', '.join(sorted(unknown))}")
    return options


def _measure(
    link: Link, workloads: list[str], published: datasets.Data, options: argparse.Namespace
) -> dict[str, dict[str, list[Figure]]]:
    figures: dict[str, dict[str, list[Figure]]] = defaultdict(lambda: defaultdict(list))
    roots = {"data": published.directory, "many": options.directory / "many"}
    if "catalogue" not in workloads:
        del roots["many"]
    with ExitStack() as stack:
        sites = []
        for name, programs in _programs(options):
            state = options.directory / f"state-{os.getpid()}-{link.round_trip_ms:.0f}-{link.mbit:.0f}" / name
            sites.append(stack.enter_context(Site(name, programs, state, link)).start(**roots))
        for workload in workloads:
            for turn in range(options.rounds):
                for site in sites:
                    for figure in WORKLOADS[workload](site, published, turn):
                        figures[figure.name][site.name].append(figure)
                        print(f"{site.name:9} {figure.name}: {figure.value:.2f} {figure.unit}", file=sys.stderr)
    return figures


def _programs(options: argparse.Namespace) -> list[tuple[str, Path]]:
    found = [("ours", Path(sys.executable).parent)]
    original = None if options.ours else original_bin(options.directory)
    if original is not None:
        found.append(("original", original))
    elif not options.ours:
        print("the original could not be installed from PyPI: only this project is measured", file=sys.stderr)
    return found


def _figure(value: float) -> str:
    """Return four digits, or all digits before the point."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _table(link: Link, figures: dict[str, dict[str, list[Figure]]]) -> str:
    lines = [f"### {link.name}", "", "| workload | original | ours | ratio |", "|---|---|---|---|"]
    for name, by_site in figures.items():
        ours = median(figure.value for figure in by_site["ours"])
        unit = by_site["ours"][0].unit
        if "original" not in by_site:
            lines.append(f"| {name} | | {_figure(ours)} {unit} | |")
            continue
        original = median(figure.value for figure in by_site["original"])
        better = by_site["ours"][0].more_is_better
        ratio = (ours / original if better else original / ours) if ours and original else 0
        lines.append(f"| {name} | {_figure(original)} {unit} | {_figure(ours)} {unit} | x{ratio:.1f} |")
    return "\n".join([*lines, ""])


def _machine() -> str:
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} when it ended."


if __name__ == "__main__":
    raise SystemExit(main())
