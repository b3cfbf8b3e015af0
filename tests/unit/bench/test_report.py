"""Tables of the bench say what was measured, and judge it."""

from pathlib import Path

import pytest

from bench.figures import Figure, Unable, at_most, times
from bench.report import MARK, Table, write

SITES = ["ours", "original", "newest"]


def cells(table: Table, name: str) -> list[str]:
    (line,) = [line for line in table.render().splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_ratios_say_how_many_times_ours_is_better_whichever_way_that_is() -> None:
    table = Table("loopback", SITES)
    for value in (5, 1, 3):
        table.add("ours", Figure("latency", value, "ms"))
    table.add("original", Figure("latency", 30, "ms"))
    table.add("newest", Figure("latency", 1.5, "ms"))
    table.add("ours", Figure("rate", 400, "req/s", more_is_better=True))
    table.add("original", Figure("rate", 100, "req/s", more_is_better=True))
    assert cells(table, "latency") == ["latency", "30 ms", "1.5 ms", "3 ms", "x10", "x0.5", ""]
    assert cells(table, "rate") == ["rate", "100 req/s", "", "400 req/s", "x4", "", ""]


def test_targets_are_reached_or_missed_or_cannot_be_told() -> None:
    table = Table("loopback", SITES)
    for name, mine, target in (("quick", 1, times(10)), ("slow", 2, times(10)), ("small", 299, at_most(300))):
        table.add("ours", Figure(name, mine, "", target))
        table.add("original", Figure(name, 10, ""))
    table.add("ours", Figure("alone", 1, "", times(10)))
    table.add("original", Unable("alone", "does not know it"))
    assert cells(table, "quick")[-1] == "x10: reached"
    assert cells(table, "slow")[-1] == "x10: **missed**"
    assert cells(table, "small")[-1] == "at most 300: reached"
    assert cells(table, "alone")[1] == "does not know it"
    assert cells(table, "alone")[-1] == "x10: nothing to compare with"
    assert table.missed() == ["slow"]


def test_writing_replaces_figures_and_keeps_what_people_wrote(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"# Performance\n\nBy hand.\n\n{MARK}\nold figures\n")
    table = Table("loopback", SITES)
    table.add("ours", Figure("latency", 3, "ms"))
    write(page, "A machine.", [table], remarks=["- the original failed"])
    written = page.read_text()
    assert written.startswith("# Performance\n\nBy hand.\n")
    assert "old figures" not in written
    assert all(part in written for part in ("A machine.", "- the original failed", "### loopback", "| latency |"))


def test_a_page_without_a_place_for_figures_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("# Performance\n")
    with pytest.raises(AssertionError, match="has no line"):
        write(page, "A machine.", [], remarks=[])
    assert page.read_text() == "# Performance\n"
