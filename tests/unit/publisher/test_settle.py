"""When a file counts as whole."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from caterva2_formats.base import Found
from caterva2_formats.directory import DirectoryRoot
from caterva2_publisher import settle as module
from caterva2_publisher.settle import Settling, writer_of


def found(file: Path) -> Found:
    result = DirectoryRoot(file.parent).find(file.name)
    assert result is not None
    return result


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "data.txt"
    file.write_text("data")
    return file


def settling(file: Path, settle_s: float = 0.2) -> Settling:
    return Settling(settle_s, lambda path: [file])


def test_the_kernel_tells_of_writers(file: Path) -> None:
    assert writer_of(file) is False
    with file.open("a"):
        assert writer_of(file) is True
    with file.open("r"):
        assert writer_of(file) is False
    assert writer_of(file.with_name("none")) is None


def test_a_closed_file_is_whole_after_a_tick(file: Path) -> None:
    rule = settling(file, settle_s=100)
    first = rule.wait_s(found(file))
    assert 0 <= first <= module.TICK_S
    time.sleep(module.TICK_S)
    assert rule.wait_s(found(file)) == 0


def test_an_open_file_is_waited_for_until_it_is_closed(file: Path) -> None:
    rule = settling(file)
    with file.open("a") as writer:
        for _ in range(3):
            writer.write("more")
            writer.flush()
            time.sleep(0.02)
            assert 0 < rule.wait_s(found(file)) <= module.LOOK_AGAIN_S
    time.sleep(module.TICK_S)
    assert rule.wait_s(found(file)) == 0


def test_an_open_file_that_is_quiet_for_long_is_taken(file: Path) -> None:
    rule = settling(file, settle_s=0.01)
    with file.open("a"):
        time.sleep(0.01 * module.OPEN_FACTOR + 0.02)
        assert rule.wait_s(found(file)) == 0


def test_where_the_kernel_cannot_tell_the_file_must_be_quiet(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "writer_of", lambda place: None)
    rule = settling(file, settle_s=0.1)
    file.write_text("changed")
    time.sleep(0.02)
    assert 0 < rule.wait_s(found(file)) <= 0.1
    file.write_text("changed again")
    time.sleep(0.03)
    assert rule.wait_s(found(file)) > 0.05
    time.sleep(0.1)
    assert rule.wait_s(found(file)) == 0


def test_a_time_stamp_of_the_future_is_no_reason_to_wait_for_ever(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = found(file)
    ahead = Found(seen.path, seen.etag, seen.stamp.__class__(1, 2, 3, 10**19 // 2, 10**19 // 2))
    rule = settling(file)
    assert rule.wait_s(ahead) > 0
    time.sleep(0.03)
    assert rule.wait_s(ahead) == 0
