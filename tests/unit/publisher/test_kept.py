"""Chunks that are kept because they were compressed when read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from caterva2_publisher.kept import KeptChunks

SIZE = 10_000


class Maker:
    """Makes chunks and counts them."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def __call__(self, number: int, size: int = SIZE) -> Callable[[], bytes]:
        def make() -> bytes:
            self.made.append(number)
            return bytes([number]) * size

        return make


@pytest.fixture
def maker() -> Maker:
    return Maker()


def kept(place: Path, *, disk: int = 10 * SIZE + 1000, memory: int = 0) -> KeptChunks:
    return KeptChunks(place / "chunks", disk_bytes=disk, memory_bytes=memory)


@pytest.mark.parametrize(("disk", "memory"), [(0, 10 * SIZE), (10 * SIZE, 0)])
def test_a_chunk_is_made_once(tmp_path: Path, maker: Maker, disk: int, memory: int) -> None:
    chunks = kept(tmp_path, disk=disk, memory=memory)
    for _ in range(3):
        assert chunks.get("a", "v1", 0, maker(7)) == b"\7" * SIZE
    assert maker.made == [7]


def test_another_version_number_or_path_is_another_chunk(tmp_path: Path, maker: Maker) -> None:
    chunks = kept(tmp_path)
    names = [("a", "v1", 0), ("a", "v2", 0), ("a", "v1", 1), ("b", "v1", 0)]
    for number, name in enumerate(names):
        chunks.get(*name, maker(number))
    assert [chunks.get(*name, maker(99))[0] for name in names] == [0, 1, 2, 3]


def test_chunks_survive_a_restart_within_the_bound(tmp_path: Path, maker: Maker) -> None:
    first = kept(tmp_path)
    for number in range(30):
        first.get("a", "v1", number, maker(number))
    (tmp_path / "chunks" / "begun.123").write_bytes(b"half")
    second = kept(tmp_path)
    files = list((tmp_path / "chunks").iterdir())
    assert sum(file.stat().st_size for file in files) <= 10 * SIZE + 1000
    assert {file.suffix for file in files} == {".chunk"}
    second.get("a", "v1", 29, maker(99))
    assert 99 not in maker.made


def test_what_was_used_last_stays(tmp_path: Path, maker: Maker) -> None:
    chunks = kept(tmp_path)
    chunks.get("a", "v1", 0, maker(0))
    for number in range(1, 30):
        chunks.get("a", "v1", number, maker(number))
        chunks.get("a", "v1", 0, maker(0))
    assert maker.made.count(0) == 1


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * (SIZE + 16)])
def test_a_damaged_chunk_is_made_again(tmp_path: Path, maker: Maker, damage: bytes) -> None:
    kept(tmp_path).get("a", "v1", 0, maker(0))
    (file,) = (tmp_path / "chunks").iterdir()
    file.write_bytes(damage)
    assert kept(tmp_path).get("a", "v1", 0, maker(0)) == bytes(SIZE)
    assert maker.made == [0, 0]


def test_f9_no_room_means_made_again(tmp_path: Path, maker: Maker) -> None:
    (tmp_path / "chunks").write_text("a file is in the way")
    chunks = kept(tmp_path)
    for _ in range(2):
        assert chunks.get("a", "v1", 0, maker(0)) == bytes(SIZE)
    assert maker.made == [0, 0]


def test_repeated_values_are_not_kept(tmp_path: Path, maker: Maker) -> None:
    chunks = kept(tmp_path, memory=SIZE)
    chunks.get("a", "v1", 0, maker(0, size=32))
    assert not (tmp_path / "chunks").exists()
