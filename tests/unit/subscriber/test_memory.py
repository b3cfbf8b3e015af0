"""Memory for large answers: in turn, given back whatever happens, and not kept by slow readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from caterva2_service.threads import Threads
from caterva2_subscriber.memory import Memory, Share

MB = 2**20


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[Memory]:
    threads = Threads(2)
    opened = Memory(10 * MB, tmp_path, threads, patience_s=0.01)
    yield opened
    opened.close()
    threads.close()


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_shares_are_granted_in_the_order_in_which_they_were_asked_for(memory: Memory) -> None:
    first = await memory.share(6 * MB)
    granted: list[str] = []

    async def want(name: str, nbytes: int) -> Share:
        share = await memory.share(nbytes)
        granted.append(name)
        return share

    # What would fit does not overtake what waits.
    tasks = [asyncio.create_task(want("large", 9 * MB)), asyncio.create_task(want("fits", 2 * MB))]
    await settle()
    assert (granted, memory.waiting, memory.used_bytes) == ([], 2, 6 * MB)
    first.close()
    await settle()
    assert granted == ["large"]
    (await tasks[0]).shrink(5 * MB)
    await settle()
    assert granted == ["large", "fits"]


async def test_what_is_larger_than_everything_gets_everything(memory: Memory) -> None:
    with await memory.share(100 * MB):
        assert memory.used_bytes == 10 * MB
    assert memory.used_bytes == 0


async def test_small_answers_and_those_of_other_publishers_do_not_wait(memory: Memory) -> None:
    shares = [await memory.share(10 * MB), await memory.share(5 * MB, "slow")]
    async with asyncio.timeout(10):
        shares += [await memory.share(MB), await memory.share(5 * MB, "other")]
    assert memory.used_bytes == 20 * MB
    for share in shares:
        share.close()
    assert memory.used_bytes == 0


async def test_who_goes_away_while_waiting_gives_the_place_to_the_next(memory: Memory) -> None:
    first = await memory.share(8 * MB)
    gone = asyncio.create_task(memory.share(10 * MB))
    next_ = asyncio.create_task(memory.share(2 * MB))
    await settle()
    gone.cancel()
    await settle()
    assert next_.done()
    # Gone in the moment in which it was granted: what nobody holds is given back.
    late = asyncio.create_task(memory.share(10 * MB))
    await settle()
    (await next_).close()
    first.close()
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    assert memory.used_bytes == 0
    assert memory.waiting == 0


async def test_an_answer_that_is_never_sent_gives_its_share_back(memory: Memory) -> None:
    sent = memory.send(await memory.share(8 * MB), iter([bytes(8 * MB)]))
    assert memory.used_bytes == 8 * MB
    del sent
    assert memory.used_bytes == 0


async def test_an_answer_that_waits_for_its_reader_makes_room_for_others(memory: Memory) -> None:
    content = bytes(range(256)) * (9 * MB // 256)
    pieces = [content[:7], memoryview(content)[7:]]
    async with aclosing(memory.send(await memory.share(9 * MB), iter(pieces))) as slow:
        taken = await anext(slow)
        async with asyncio.timeout(30):
            others = await memory.share(9 * MB)
        assert memory.used_bytes == 9 * MB
        async for piece in slow:
            assert len(piece) <= MB
            taken += piece
    assert taken == content
    others.close()
    assert memory.used_bytes == 0


async def test_f8_where_no_file_can_be_written_others_wait_and_nothing_is_lost(
    memory: Memory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.rmdir()
    content = [bytes([n]) * (3 * MB) for n in range(3)]
    slow = memory.send(await memory.share(9 * MB), iter(content))
    taken = await anext(slow)
    waiting = asyncio.create_task(memory.share(9 * MB))
    async with asyncio.timeout(30):
        while "no room for an answer" not in caplog.text:
            await asyncio.sleep(0.005)
    assert not waiting.done()
    taken += await drained(slow)
    assert taken == b"".join(content)
    (await waiting).close()


async def drained(answer: AsyncGenerator[bytes, None]) -> bytes:
    async with aclosing(answer):
        return b"".join([piece async for piece in answer])
