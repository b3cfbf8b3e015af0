"""Finding and paging in a root of 50,000 datasets, counted in work, not in time."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from caterva2.events import DatasetEvent, Operation
from caterva2.wire import ManifestHeader, Root
from caterva2_subscriber.catalog import Catalog, Listed

from .conftest import Site

MANY = 50_000
INFO = {"shape": [100, 100], "dtype": "float64", "schunk": {"nbytes": 80_000, "vlmeta": {"units": "mA"}}}


def fill(catalog: Catalog) -> None:
    """Put many datasets into the catalogue of root ``big``, a hundred in each folder."""
    catalog.know_roots([Root(name="big", http="127.0.0.1:9")], complete=False)
    catalog.mark_subscribed("big", True)
    staged = catalog.stage(ManifestHeader(root="big", epoch="e", seq=MANY, count=MANY))
    info = json.dumps(INFO)
    for begin in range(0, MANY, 5000):
        numbers = range(begin, begin + 5000)
        staged.add([Listed(path(n), f"v{n}", "array", 80_000, float(n), n, info) for n in numbers])
    staged.commit()
    staged.discard()


def path(number: int) -> str:
    return f"run{number // 100:03}/scan{number:05}.b2nd"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the catalogue was asked for one entry, and for a page of them."""
    counts: Counter[str] = Counter()
    for name in ("entry", "entries"):
        original = getattr(Catalog, name)

        def counting(self: Catalog, *args: Any, _name: str = name, _original: Any = original, **kwargs: Any) -> Any:
            counts[_name] += 1
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(Catalog, name, counting)
    return counts


async def test_fifty_thousand_datasets_are_read_once_and_then_kept_in_step(site: Site, reads: Counter[str]) -> None:
    await asyncio.to_thread(fill, site.context.catalog)
    async with site.client(timeout=120) as client:

        async def search(**parameters: Any) -> Any:
            answer = await client.get("/api/search", params={"root": "big", **parameters})
            assert answer.status_code == 200, answer.text
            return answer.json()

        found = await search(q="scan01234")
        assert [entry["path"] for entry in found["entries"]] == ["big/run012/scan01234.b2nd"]
        assert reads["entries"] <= MANY // 2000 + 1
        reads.clear()

        seen: list[str] = []
        after = ""
        while after is not None:
            page = await search(after=after, limit=10_000)
            assert page["total"] == MANY
            seen += [entry["path"] for entry in page["entries"]]
            after = page["next"]
        assert seen == [f"big/{path(number)}" for number in range(MANY)]
        assert (await search(q="units=ma 100x100 run499"))["total"] == 100
        browsed = (await client.get("/api/browse/big")).json()
        assert [len(browsed["folders"]), browsed["folders"][0]["count"]] == [500, 100]
        assert not reads, "nothing changed, so that nothing has to be read again"

        changes = site.context.catalog.apply(
            DatasetEvent(
                root="big", epoch="e", seq=MANY + 1, operation=Operation.CHANGED, path=path(7), etag="new", info=INFO
            )
        )
        assert changes is not None
        site.context.tracking.changes.publish(changes)
        async with asyncio.timeout(30):
            while (await search(q="scan00007"))["entries"][0]["etag"] != "new":
                await asyncio.sleep(0.01)
        assert reads == {"entry": 1}, "one change costs one entry"
