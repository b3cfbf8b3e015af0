"""Tables of what was measured."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import blosc2

from .figures import Figure, Row, Target
from .load import WRK
from .programs import Programs

MARK = "<!-- figures: written by `make bench WRITE=1`, everything below is replaced -->\n"


class Table:
    """The figures of one link, by row and by site."""

    def __init__(self, title: str, sites: list[str]) -> None:
        self.title = title
        self._sites = sites
        self._rows: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))

    def add(self, site: str, row: Row) -> None:
        """Add what a workload yielded."""
        self._rows[row.name][site].append(row)

    def render(self) -> str:
        """Return the table in Markdown."""
        others = [site for site in self._sites if site != "ours"]
        ratios = [f"ours to {site}" for site in others]
        heads = ["workload", *others, "ours", *ratios, "to reach"]
        lines = [f"### {self.title}", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for name, by_site in self._rows.items():
            cells = [_cell(by_site.get(site, [])) for site in [*others, "ours"]]
            found = {site: ratio(by_site.get("ours", []), by_site.get(site, [])) for site in others}
            shown = ["" if each is None else f"x{_number(each)}" for each in found.values()]
            lines.append(f"| {' | '.join([name, *cells, *shown, self._verdict(by_site, found.get('original'))])} |")
        return "\n".join([*lines, ""])

    def missed(self) -> list[str]:
        """Return the names of the rows whose target was missed."""
        return [
            name
            for name, by_site in self._rows.items()
            if _judge(by_site, ratio(by_site.get("ours", []), by_site.get("original", [])))[0] is False
        ]

    def _verdict(self, by_site: dict[str, list[Row]], better: float | None) -> str:
        reached, text = _judge(by_site, better)
        if reached is None:
            return text and f"{text}: nothing to compare with"
        return f"{text}: reached" if reached else f"{text}: **missed**"


def ratio(ours: list[Row], other: list[Row]) -> float | None:
    """Return how many times better ours is, None if one of them is not a number or is nothing."""
    mine, its = _median(ours), _median(other)
    if not mine or not its:
        return None
    first = next(row for row in ours if isinstance(row, Figure))
    return mine / its if first.more_is_better else its / mine


def _judge(by_site: dict[str, list[Row]], better: float | None) -> tuple[bool | None, str]:
    targets: list[Target] = [row.target for row in by_site.get("ours", []) if isinstance(row, Figure) and row.target]
    value = _median(by_site.get("ours", []))
    return targets[0].judge(value, better) if targets and value is not None else (None, "")


def _median(rows: list[Row]) -> float | None:
    values = [row.value for row in rows if isinstance(row, Figure)]
    return median(values) if values else None


def _cell(rows: list[Row]) -> str:
    value = _median(rows)
    if value is not None:
        return f"{_number(value)} {next(row.unit for row in rows if isinstance(row, Figure))}".strip()
    return next((row.reason for row in rows if not isinstance(row, Figure)), "")


def _number(value: float) -> str:
    """Return about three digits, or all digits before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def machine(programs: list[Programs], began: float, *, rounds: int) -> str:
    """Say where and how it was measured."""
    cpu = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "")
    memory = next((int(line.split()[1]) / 2**20 for line in _lines("/proc/meminfo") if "MemTotal" in line), 0)
    versions = [f"{each.name} {each.version('caterva2')} with blosc2 {each.version('blosc2')}" for each in programs[1:]]
    clients = f"wrk {_wrk_version()}" if WRK else "clients in Python, for wrk is not installed"
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(began))
    took = f"Medians of {rounds} rounds, {(time.time() - began) / 60:.0f} minutes in all"
    return (
        f"Measured {when} UTC on {os.cpu_count()} cores ({cpu}) with {memory:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}; ours with blosc2 {blosc2.__version__}; "
        f"{'; '.join([*versions, clients])}. {took}; load {os.getloadavg()[0]:.1f} when it ended."
    )


def write(page: Path, machine_: str, tables: list[Table], *, remarks: list[str]) -> None:
    """Replace the generated part of the page."""
    head, mark, _ = page.read_text().partition(MARK)
    assert mark, f"{page} has no line {MARK!r}"
    body = [machine_, *remarks, *(table.render() for table in tables)]
    page.write_text(head + mark + "\n" + "\n\n".join(body))


def _wrk_version() -> str:
    said = subprocess.run([str(WRK), "-v"], capture_output=True, text=True, check=False)
    return (said.stdout + said.stderr).split()[1]


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
