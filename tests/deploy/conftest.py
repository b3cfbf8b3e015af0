"""Tests of images, compose and chart: `make deploy-test` runs them, `make test` does not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.deploy.compose import REPOSITORY, TAG, project
from tests.deploy.engine import docker, running
from tests.support.require import require_all

collect_ignore_glob: list[str] = []

if find_spec("helm_python") is None:
    if require_all():
        raise pytest.UsageError("the tests of the chart need requirements-deploy.txt: run make deploy-test")
    collect_ignore_glob.append("test_chart*.py")


TIMEOUT_S = 1800
"""Building the images without any cache takes minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this directory the time they need."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


def pytest_report_header() -> str | None:
    """Say loudly that a part was left out."""
    if collect_ignore_glob:
        return "NOT RUN: the tests of the chart, because requirements-deploy.txt is not installed (make deploy-test)"
    return None


@pytest.fixture(scope="session")
def engine() -> Iterator[None]:
    """A Docker engine with the base images, for the whole session."""
    with running():
        yield


@pytest.fixture(scope="session")
def images(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Names of the images of this checkout, by role, built if need be."""
    with project("compose.yaml", tmp_path_factory.mktemp("build"), {}) as build:
        build.compose("build", timeout_s=1500)
    yield {role: f"caterva2-{role}:{TAG}" for role in ("broker", "publisher", "subscriber")}
    docker("builder", "prune", "--force", "--keep-storage=6GB", check=False, timeout_s=900)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the site publishes as `examples`: a copy of root-example."""
    copy = tmp_path_factory.mktemp("data") / "root"
    shutil.copytree(REPOSITORY / "root-example", copy)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return copy
