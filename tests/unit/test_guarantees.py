"""``docs/guarantees.md`` against the tests: every sentence is held by tests that exist, every fault is in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
FAULTS = [f"F{number}" for number in (*range(1, 17), 18, *range(21, 25))]
BUS = [f"N{number}" for number in range(1, 9)]
TARGETS = ["T1", "T2", "T3", "T4", "T5", "T6", "T7", "T10"]


@dataclass(frozen=True)
class Row:
    """One sentence: its ids, and the tests that it names as (file, function or an empty text for all of the file)."""

    ids: frozenset[str]
    sentence: str
    tests: tuple[tuple[str, str], ...]


_NAMED = re.compile(r"`(tests/[\w/.]+\.py)?(?:::(\w+))?(?:::(\w+))?`")


def _tests(cell: str) -> Iterator[tuple[str, str]]:
    file = ""
    for given, outer, inner in _NAMED.findall(cell):
        if not (given or outer):
            continue
        file = given or file
        yield file, inner or outer


def rows() -> list[Row]:
    """Return the rows of all tables of the document."""
    found = []
    for line in (CHECKOUT / "docs" / "guarantees.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|") or set(line) <= set("|- ") or "sentence" in cells:
            continue
        found.append(Row(frozenset(cells[0].split()), cells[1], tuple(_tests(cells[-1]))))
    return found


def test_there_are_sentences() -> None:
    assert len(rows()) > 60


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.sentence[:60])
def test_every_guarantee_names_tests_that_exist(row: Row) -> None:
    assert row.sentence
    assert row.tests, "no test holds this sentence"
    for file, function in row.tests:
        assert file, "the first test of a row needs its file"
        text = (CHECKOUT / file).read_text()
        wanted = rf"^\s*(async )?def {function}\(" if function else r"^\s*(async )?def test_\w+\(|^Test\w+ = .*TestCase"
        assert re.search(wanted, text, re.MULTILINE), f"{file}::{function}"


@pytest.mark.parametrize("name", [*FAULTS, *BUS, *TARGETS])
def test_every_fault_has_a_sentence_and_a_test_of_its_name(name: str) -> None:
    named = {function for row in rows() if name in row.ids for _, function in row.tests}
    assert named, f"no sentence about {name}"
    of_that_name = re.compile(rf"test_([a-z]+[0-9]+_)*{name.lower()}_")
    assert any(of_that_name.match(function) for function in named), f"no test of {name} is named by it: {named}"
