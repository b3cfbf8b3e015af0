"""Large answers share a bounded memory: all of them arrive, however little there is and whoever goes away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import numpy as np
from asgi_lifespan import LifespanManager

from caterva2_subscriber.app import create_app
from caterva2_subscriber.settings import SubscriberSettings

from .published import decode, make_array, noise


async def test_u2_no_answer_waits_for_ever_where_each_is_larger_than_all_memory(tmp_path: Path) -> None:
    public = tmp_path / "sub/public"
    array = noise(64, 128, 128)
    make_array(public / "big.b2nd", array, (8, 128, 128))
    table = np.zeros(600_000, [("a", "i4"), ("b", "f8")])
    table["a"] = np.arange(len(table))
    make_array(public / "table.b2nd", table, (100_000,))
    app = create_app(SubscriberSettings(statedir=tmp_path / "sub", login=False, memory=2**20))
    asked = [
        ("big.b2nd", {"slice_": "3:50"}, array[3:50]),
        ("big.b2nd", {"slice_": "8:40"}, array[8:40]),
        ("big.b2nd", {"indices": "[[40, 3, 17, 5, 60, 61, 1, 2, 4]]"}, array[[40, 3, 17, 5, 60, 61, 1, 2, 4]]),
        ("big.b2nd", {}, array),
        ("table.b2nd", {"field": "b"}, table["b"]),
        ("table.b2nd", {"filter": "a >= 200000"}, table[200_000:]),
    ]
    async with (
        LifespanManager(app, startup_timeout=60, shutdown_timeout=60) as manager,
        httpx.AsyncClient(transport=httpx.ASGITransport(manager.app), base_url="http://localhost", timeout=120) as http,
    ):

        async def read(number: int) -> None:
            name, query, expected = asked[number % len(asked)]
            answer = await http.get(f"/api/fetch/@public/{name}", params=query)
            assert answer.status_code == 200, answer.text
            np.testing.assert_array_equal(decode(answer.content), expected)

        readers = [asyncio.create_task(read(number)) for number in range(4 * len(asked))]
        await asyncio.sleep(0)
        gone = readers[::5]
        for reader in gone:
            reader.cancel()
        found = await asyncio.gather(*readers, return_exceptions=True)
        metrics = (await http.get("/metrics")).text
    assert [each for each in found if each is not None and not isinstance(each, asyncio.CancelledError)] == []
    assert found.count(None) == len(readers) - len(gone)
    assert "caterva2_answers_memory_bytes 0.0" in metrics
    assert "caterva2_answers_waiting 0.0" in metrics
