"""A20: the images are made of what their locks name, with hashes, and the locks are up to date."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]
LOCKS = sorted((REPOSITORY / "docker" / "locks").glob("*.txt"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "docker" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pins(text: str) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", text)}


@pytest.mark.parametrize("role", ["broker", "publisher", "subscriber"])
def test_a20_a_lock_has_what_the_packages_ask_for(role: str) -> None:
    locked = pins((REPOSITORY / "docker" / "locks" / f"{role}.txt").read_text())
    for line in load("make_locks").requirements(role).splitlines():
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"python_version": "3.13"}):
            version = locked.get(canonicalize_name(wanted.name))
            assert version is not None, f"{line}: run make lock"
            assert wanted.specifier.contains(version), f"{line}, not {version}: run make lock"


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a20_a_lock_names_the_tested_versions_and_hashes_of_all(path: Path) -> None:
    constraints = pins((REPOSITORY / "constraints.txt").read_text())
    text = path.read_text()
    locked = pins(text)
    assert len(locked) > 5
    assert {name: version for name, version in locked.items() if constraints.get(name, version) != version} == {}
    entries = re.split(r"(?m)^(?=[\w.-]+==)", text)[1:]
    assert len(entries) == len(locked)
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_a20_what_could_not_be_audited_is_not_called_safe() -> None:
    skipped = {"name": "a", "skip_reason": "Dependency not found on PyPI and could not be audited: a (1)"}
    safe = {"name": "b", "version": "1", "vulns": []}
    vulnerable = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1"}, {"id": "PYSEC-2"}]}
    audit = load("audit")
    assert audit.judge([skipped, skipped]) == ([], 0)
    assert audit.judge([skipped, safe, vulnerable]) == (["c 2: PYSEC-1, PYSEC-2"], 2)


def test_third_party_requirements_leave_our_own_packages_out() -> None:
    program = [sys.executable, REPOSITORY / "docker" / "third_party.py", "libs/caterva2-service"]
    lines = subprocess.run(program, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.splitlines()
    assert any(line.startswith("fastapi") for line in lines)
    assert not any(line.startswith("caterva2") for line in lines)
