"""Cores by the quota of a cgroup, as its files say it in both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from caterva2_service import cores
from caterva2_service.cores import cpu_quota, usable_cores


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "own"


def write(group: Path, **files: str) -> None:
    group.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (group / name.replace("__", ".")).write_text(content)


@pytest.mark.parametrize(("text", "quota"), [("150000 100000\n", 1.5), ("max 100000\n", None), ("nonsense", None)])
def test_the_quota_of_a_container(tmp_path: Path, own: Path, text: str, quota: float | None) -> None:
    own.write_text("0::/\n")
    write(tmp_path, cpu__max=text)
    assert cpu_quota(tmp_path, own) == quota


def test_the_smallest_quota_of_a_cgroup_and_those_around_it_counts(tmp_path: Path, own: Path) -> None:
    own.write_text("0::/system.slice/sub.service\n")
    write(tmp_path / "system.slice", cpu__max="200000 100000\n")
    write(tmp_path / "system.slice/sub.service", cpu__max="800000 100000\n")
    assert cpu_quota(tmp_path, own) == 2


def test_the_quota_where_the_path_is_that_of_the_host(tmp_path: Path, own: Path) -> None:
    own.write_text("0::/../../docker/3f2a\n")
    write(tmp_path, cpu__max="50000 100000\n")
    assert cpu_quota(tmp_path, own) == 0.5


def test_the_quota_in_version_1(tmp_path: Path, own: Path) -> None:
    own.write_text("5:memory:/a\n2:cpu,cpuacct:/a\n0::/\n")
    write(tmp_path / "cpu/a", cpu__cfs_quota_us="300000\n", cpu__cfs_period_us="100000\n")
    write(tmp_path / "cpu", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert cpu_quota(tmp_path, own) == 3


def test_no_quota_where_there_are_no_cgroups(tmp_path: Path, own: Path) -> None:
    assert cpu_quota(tmp_path, own) is None


@pytest.mark.parametrize(("text", "count"), [("50000 100000", 1), ("110000 100000", 2), ("900000 100000", 3)])
def test_cores_are_those_of_the_quota_and_no_more_than_there_are(
    tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch, text: str, count: int
) -> None:
    own.write_text("0::/\n")
    write(tmp_path, cpu__max=text)
    monkeypatch.setattr(cores, "_CGROUPS", tmp_path)
    monkeypatch.setattr(cores, "_OWN", own)
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert usable_cores() == count
