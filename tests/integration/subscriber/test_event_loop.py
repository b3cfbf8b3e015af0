"""The event loop goes on while large slices are read: small requests are answered beside them."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import httpx
import numpy as np
from asgi_lifespan import LifespanManager

from caterva2_subscriber.app import create_app
from caterva2_subscriber.settings import SubscriberSettings

from .published import decode, make_array, noise


async def test_large_slices_are_worked_on_outside_of_the_event_loop(tmp_path: Path) -> None:
    array = noise(300, 100, 100)
    make_array(tmp_path / "sub/public/big.b2nd", array, (50, 50, 50))
    app = create_app(SubscriberSettings(statedir=tmp_path / "sub", login=False))
    ticks: list[float] = []
    codec_threads: set[str] = set()

    async def tick() -> None:
        while True:
            ticks.append(time.thread_time())
            await asyncio.sleep(0.001)

    loop_thread = threading.current_thread().name
    async with (
        LifespanManager(app, startup_timeout=60) as manager,
        httpx.AsyncClient(transport=httpx.ASGITransport(manager.app), base_url="http://localhost", timeout=60) as http,
    ):
        import caterva2_subscriber.reading as reading

        read_part = reading.read_part

        def watched(*arguments: object, **named: object) -> None:
            codec_threads.add(threading.current_thread().name)
            read_part(*arguments, **named)  # type: ignore[arg-type]

        reading.read_part = watched
        ticking = asyncio.create_task(tick())
        try:
            answers = await asyncio.gather(
                *(http.get("/api/fetch/@public/big.b2nd", params={"slice_": f"{n}:{n + 150}"}) for n in range(1, 5))
            )
        finally:
            ticking.cancel()
            reading.read_part = read_part
    for n, answer in enumerate(answers, 1):
        np.testing.assert_array_equal(decode(answer.content), array[n : n + 150])
    assert codec_threads
    assert loop_thread not in codec_threads
    # Between two ticks everything that was ready ran: what a machine is busy with beside us is no part of it.
    bursts_ms = np.diff(ticks) * 1000
    print(f"longest burst {bursts_ms.max():.1f} ms of CPU, 99 % below {np.percentile(bursts_ms, 99):.1f} ms")
    assert len(ticks) > 5
    # Two for the garbage collector, which does not ask.
    assert np.count_nonzero(bursts_ms > 20) <= 2
