"""The power is cut under a load of changes and reads: what was confirmed is there afterwards (T5)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from caterva2.events import STREAM
from tests.support import mounts
from tests.support.content import wait_subscribed, write_array
from tests.support.load import Load
from tests.support.nats import embedded
from tests.support.processes import wait_until
from tests.support.site import Site

RECOVERY_S = 90


def test_a_power_cut_takes_what_was_not_synced_and_nothing_else(tmp_path: Path) -> None:
    disk, image = tmp_path / "disk", tmp_path / "image"
    with mounts.ext4(disk, image, "64M"):
        with (disk / "synced").open("wb") as file:
            file.write(b"x" * 1000)
            file.flush()
            os.fsync(file.fileno())
        (disk / "not synced").write_bytes(b"x" * 1000)
        mounts.cut_power(disk, image, [])
        assert (disk / "synced").read_bytes() == b"x" * 1000
        lost = disk / "not synced"
        assert not lost.exists() or lost.stat().st_size == 0, "the tests of power cuts would show nothing"


@pytest.mark.timeout(900)
def test_t5_a_power_cut_loses_nothing_that_was_confirmed(tmp_path: Path) -> None:
    _cut_again_and_again(tmp_path, 2)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_t5_twenty_power_cuts_lose_nothing_that_was_confirmed(tmp_path: Path) -> None:
    _cut_again_and_again(tmp_path, 20)


def _cut_again_and_again(tmp_path: Path, cuts: int) -> None:
    """Let outbox, NATS, catalogue and cache be on one disk whose power is cut; the data of the root is elsewhere."""
    source, disk, image = tmp_path / "source", tmp_path / "disk", tmp_path / "image"
    write_array(source / "first.b2nd", 0)
    with mounts.ext4(disk, image, "400M"), Site(disk / "site") as site:
        site.start(foo=source)
        client = site.client()
        wait_subscribed(client, "foo")
        with Load(source / "load", client, "foo/load") as load:
            for cut in range(1, cuts + 1):
                wanted = load.changes + 40
                wait_until(lambda wanted=wanted: load.changes > wanted, timeout_s=60, what="changes before the cut")
                stored, header = asyncio.run(_stored(site)), site.manifest_header("foo")
                mounts.cut_power(disk, image, [*(service.pid for service in site.services), site.nats_pid()])
                for service in site.services:
                    service.kill()
                site.ensure_running()
                assert asyncio.run(_stored(site)) >= stored, "NATS lost what it had confirmed"
                after = site.manifest_header("foo")
                assert after["epoch"] == header["epoch"], "the publisher lost its index"
                assert after["seq"] >= header["seq"], "the publisher lost changes that it had shown"
                print(f"cut {cut}: {load.changes} changes, {load.reads} reads, {load.refusals} refused")
        load.check_equal(timeout_s=RECOVERY_S)
        assert load.reads > 0


async def _stored(site: Site) -> int:
    """Return the number of the last event that NATS holds."""
    async with embedded(site.broker.statedir) as js:
        return int((await js.stream_info(STREAM)).state.last_seq)
