"""Every requirement that the design numbers is held by a test that carries its number."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
NUMBERED = {
    "u": range(1, 12),  # untrusted bytes, expressions and names
    "a": range(1, 25),  # logins, services and hardening
    "n": range(1, 9),  # the bus
    "f": range(1, 25),  # faults
    "t": (1, 2, 3, 4, 6, 7, 10),  # figures that tests reach; the others are workloads of bench/ and of the deployment
}
WANTED = [f"{kind}{number}" for kind, numbers in NUMBERED.items() for number in numbers]


def ids_of_tests() -> set[str]:
    """Return the numbers that the names of tests carry: ``test_a5_a6_...`` holds A5 and A6."""
    found: set[str] = set()
    for file in (CHECKOUT / "tests").rglob("test_*.py"):
        for name in re.findall(r"def (test_\w+)\(", file.read_text()):
            for part in name.split("_")[1:]:
                if not re.fullmatch(r"[a-z]\d{1,2}", part):
                    break
                found.add(part)
    return found


def test_every_numbered_requirement_has_a_test_of_its_name() -> None:
    assert sorted(set(WANTED) - ids_of_tests()) == []


def test_the_check_itself_would_notice_one_that_is_missing() -> None:
    assert "u99" not in ids_of_tests()
    assert {"u1", "a9"} <= ids_of_tests()


@pytest.mark.parametrize(("package", "least"), [("authlib", (1, 6, 9)), ("joserfc", (1, 6, 0))])
def test_a8_no_version_with_known_holes_can_be_installed(package: str, least: tuple[int, ...]) -> None:
    project = tomllib.loads((CHECKOUT / "services" / "subscriber" / "pyproject.toml").read_text())["project"]
    (bound,) = [each for each in project["dependencies"] if each.startswith(f"{package}>=")]
    assert _numbers(bound.partition(">=")[2]) >= least[: len(_numbers(bound.partition(">=")[2]))]
    assert _numbers(version(package)) >= least


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def test_a20_everything_that_is_installed_is_pinned_to_one_version() -> None:
    lines = [line.strip() for line in (CHECKOUT / "constraints.txt").read_text().splitlines()]
    pinned = {_name(line): line for line in lines if line and not line.startswith("#")}
    assert all(re.fullmatch(r"[\w.-]+==[\w.!+]+(?: ?;.*)?", line) for line in pinned.values())
    assert len(pinned) == len([line for line in lines if line and not line.startswith("#")]), "each one once"
    needed: set[str] = set()
    for file in CHECKOUT.glob("*/*/pyproject.toml"):
        project = tomllib.loads(file.read_text())["project"]
        extras = [each for group in project.get("optional-dependencies", {}).values() for each in group]
        needed |= {_name(each) for each in [*project.get("dependencies", []), *extras]}
    for file in CHECKOUT.glob("requirements*.txt"):
        given = [line.partition("#")[0].strip() for line in file.read_text().splitlines()]
        needed |= {_name(line) for line in given if line and not line.startswith(("-", "#", "."))}
    ours = {name for name in needed if name.startswith("caterva2")}
    assert needed - ours - pinned.keys() == set()


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()
