"""What runs in the background of a service, and how it ends."""

from __future__ import annotations

import asyncio

from caterva2_service.background import end


async def test_a_task_that_loses_a_cancellation_is_ended_all_the_same() -> None:
    lost: list[int] = []

    async def follow() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if lost:
                    raise
                lost.append(1)

    tasks = [asyncio.create_task(follow()), asyncio.create_task(asyncio.sleep(0))]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await end(tasks)
    assert (lost, [task.done() for task in tasks]) == ([1], [True, True])
    await end([])
