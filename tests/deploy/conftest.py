"""Tests of images, compose and chart: `make deploy-test` runs them, `make test` does not."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.support.require import require_all

collect_ignore_glob: list[str] = []

if find_spec("helm_python") is None:
    if require_all():
        raise pytest.UsageError("the tests of the chart need requirements-deploy.txt: run make deploy-test")
    collect_ignore_glob.append("test_chart*.py")


def pytest_report_header() -> str | None:
    """Say loudly that a part was left out."""
    if collect_ignore_glob:
        return "NOT RUN: the tests of the chart, because requirements-deploy.txt is not installed (make deploy-test)"
    return None
