"""Work that several callers wait for."""

from __future__ import annotations

import asyncio

import pytest

from caterva2_service.joining import Joined


class Work:
    """Work that ends when it is told to, and counts how often it was begun and ended early."""

    def __init__(self) -> None:
        self.begun = self.ended_early = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> str:
        self.begun += 1
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.ended_early += 1
            raise
        return "done"


async def started(joined: Joined[str], work: Work, count: int) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(joined.run("key", work)) for _ in range(count)]
    while not work.begun:
        await asyncio.sleep(0)
    return tasks


async def test_all_who_wait_get_what_was_done_once() -> None:
    joined, work = Joined[str](), Work()
    tasks = await started(joined, work, 3)
    work.may_end.set()
    assert await asyncio.gather(*tasks) == ["done"] * 3
    assert work.begun == 1
    assert await joined.run("key", work) == "done"
    assert work.begun == 2, "nothing is kept"


async def test_work_ends_when_the_last_who_waited_has_gone() -> None:
    joined, work = Joined[str](), Work()
    tasks = await started(joined, work, 2)
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    await asyncio.sleep(0.01)
    assert not work.ended_early
    tasks[1].cancel()
    while not work.ended_early:
        await asyncio.sleep(0.001)


async def test_whoever_comes_back_in_time_finds_the_work_under_way() -> None:
    joined, work = Joined[str](linger_s=600), Work()
    (task,) = await started(joined, work, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    work.may_end.set()
    assert await joined.run("key", work) == "done"
    assert (work.begun, work.ended_early) == (1, 0)


async def test_closing_ends_what_nobody_waits_for_any_more() -> None:
    joined, work = Joined[str](linger_s=600), Work()
    (task,) = await started(joined, work, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await joined.close()
    assert work.ended_early == 1


async def test_errors_reach_those_who_wait() -> None:
    async def fails() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await Joined[str]().run("key", fails)
