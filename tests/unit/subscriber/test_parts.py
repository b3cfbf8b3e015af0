"""Blocks in memory: bounded, and counted."""

from __future__ import annotations

from caterva2_subscriber.cache import VersionKey
from caterva2_subscriber.parts import MOST_PARTS, PartMemory

KEY = VersionKey("foo", "e", "a.b2nd", "1")


def test_blocks_are_kept_by_chunk_and_the_least_recently_used_go_first() -> None:
    memory = PartMemory(100)
    memory.put((KEY, 0), {1: bytes(40), 2: bytes(10)})
    memory.put((KEY, 1), {1: bytes(30)})
    assert set(memory.get((KEY, 0), (1, 2, 3))) == {1, 2}
    memory.put((KEY, 2), {0: bytes(40)})
    assert memory.get((KEY, 1), (1,)) == {}
    assert set(memory.get((KEY, 0), (1,))) == {1}
    assert memory.used == 90
    memory.put((KEY, 0), {2: bytes(10), 3: bytes(5)})
    assert memory.used == 95, "the same block counts once"
    memory.put((KEY, 3), {0: bytes(101)})
    assert memory.used == 0, "what is larger than the bound is not kept"


def test_a_part_of_another_version_or_chunk_is_none() -> None:
    memory = PartMemory(100)
    memory.put((KEY, 0), {1: b"x"})
    assert memory.get((KEY, 1), (1,)) == {}
    assert memory.get((VersionKey("foo", "e", "a.b2nd", "2"), 0), (1,)) == {}


def test_parts_are_asked_for_a_few_times_until_the_chunk_has_come() -> None:
    memory = PartMemory(100)
    for _ in range(MOST_PARTS):
        assert memory.may_ask((KEY, 0))
        memory.asked((KEY, 0))
    memory.put((KEY, 0), {1: b"x"})
    assert not memory.may_ask((KEY, 0))
    assert memory.may_ask((KEY, 1))
    memory.forget((KEY, 0))
    assert memory.may_ask((KEY, 0))
    assert (memory.get((KEY, 0), (1,)), memory.used) == ({}, 0)


def test_without_memory_there_are_no_parts() -> None:
    assert not PartMemory(0).may_ask((KEY, 0))
