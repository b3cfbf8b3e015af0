"""Clocks that are wrong: nothing that was published is lost or served wrongly, and the reason is said (F14)."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.support.content import wait_subscribed, write_array
from tests.support.processes import Service, wait_until
from tests.support.site import Site

SKEW_S = 600
CLOCK = """
import os, time
_shift, _time, _time_ns = float(os.environ["TESTS_CLOCK_SHIFT_S"]), time.time, time.time_ns
time.time = lambda: _time() + _shift
time.time_ns = lambda: _time_ns() + int(_shift * 1e9)
"""


def set_clock(service: Service, directory: Path, shift_s: float) -> None:
    """Start a service again whose clock is wrong by so many seconds."""
    directory.mkdir(exist_ok=True)
    (directory / "sitecustomize.py").write_text(CLOCK)
    service.env |= {"PYTHONPATH": str(directory), "TESTS_CLOCK_SHIFT_S": str(shift_s)}
    service.restart().wait_ready()


def read(service: Service, path: str) -> httpx.Response:
    return service.get(f"/api/fetch/{path}", timeout=60)


@pytest.mark.timeout(400)
def test_f14_a_clock_that_is_wrong_is_said_and_harms_no_data(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("cached", "changes", "cold"):
        write_array(source / f"{name}.b2nd", 1)
    with Site(tmp_path / "site").start(foo=source) as site:
        sub = site.subscriber
        wait_subscribed(site.client(), "foo")
        for name in ("cached", "changes"):
            assert read(sub, f"foo/{name}.b2nd").status_code == 200
        write_array(source / "changes.b2nd", 2)
        for shift_s in (SKEW_S, -SKEW_S):
            set_clock(sub, tmp_path / "clock", shift_s)
            assert read(sub, "foo/cached.b2nd").status_code == 200
            refused = read(sub, "foo/cold.b2nd")
            assert refused.status_code in (502, 503, 504), refused.text
            assert "clock" in refused.text, refused.text

        set_clock(sub, tmp_path / "clock", 0)
        wait_until(lambda: read(sub, "foo/cold.b2nd").status_code == 200, timeout_s=60, what="the right clock heals")
        wait_until(lambda: _value(site, "changes") == 2, timeout_s=60, what="the change that was made meanwhile")


def _value(site: Site, name: str) -> int:
    return int(site.client().fetch(f"foo/{name}.b2nd").max())
