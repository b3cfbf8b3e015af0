"""What crosses the link between a subscriber and a publisher, counted at the publisher."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.processes import Service, wait_until
from tests.support.site import PASSWORD, USER, Site

from .published import chunk_requests, counter, decode, fetch, info, make_array, noise, raw_fetch, subscribe


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Path]]:
    directory = tmp_path_factory.mktemp("link")
    data = directory / "data"
    make_array(data / "cold.b2nd", noise(200, 200), (50, 50))
    make_array(data / "window.b2nd", noise(1000, 1000), (100, 100))
    make_array(data / "large.b2nd", noise(600, 600), (600, 600), (50, 50))
    make_array(data / "edited.b2nd", noise(1000, 64), (1, 64))
    make_array(data / "zeros.b2nd", np.zeros((100, 100)), (10, 100))
    make_array(data / "plan.b2nd", noise(100, 100), (10, 100))
    make_array(data / "fresh.b2nd", noise(100, 100), (10, 100), note="kept")
    table = np.zeros(1000, dtype=[("a", "<i4"), ("b", "<f8")])
    table["a"], table["b"] = np.arange(1000), noise(1000)
    make_array(data / "table.b2nd", table, (100,))
    with Site(directory / "site", login=True) as site:
        site.start(foo=data)
        site.add_user(superuser=True)
        subscribe(site.subscriber, "foo", count=8)
        yield site, data


@pytest.fixture
def sub(running: tuple[Site, Path]) -> Service:
    return running[0].subscriber


@pytest.fixture
def pub(running: tuple[Site, Path]) -> Service:
    return running[0].publishers["foo"]


@pytest.fixture
def admin(running: tuple[Site, Path]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running[0].subscriber.url, trust_env=False, timeout=60) as http:
        http.post("/auth/jwt/login", data={"username": USER, "password": PASSWORD})
        yield http


async def test_f23_fifty_readers_of_one_cold_chunk_cost_one_fetch(sub: Service, pub: Service) -> None:
    before, chunks = chunk_requests(pub), counter(sub, "link_chunks_total")
    async with httpx.AsyncClient(base_url=sub.url, trust_env=False, timeout=60) as http:
        answers = await asyncio.gather(
            *(http.get("/api/fetch/foo/cold.b2nd", params={"slice_": f"0:50,{n % 25}:50"}) for n in range(50))
        )
    for n, answer in enumerate(answers):
        np.testing.assert_array_equal(decode(answer.content), noise(200, 200)[0:50, n % 25 : 50])
    assert chunk_requests(pub) - before == 1
    assert counter(sub, "link_chunks_total") - chunks == 1


def test_a_small_window_moves_one_chunk(sub: Service) -> None:
    before = counter(sub, "link_chunks_total")
    np.testing.assert_array_equal(fetch(sub, "foo/window.b2nd", "510:520,510:520"), noise(1000, 1000)[510:520, 510:520])
    assert counter(sub, "link_chunks_total") - before == 1


def test_many_cold_chunks_travel_in_one_request(sub: Service, pub: Service) -> None:
    before = chunk_requests(pub)
    np.testing.assert_array_equal(fetch(sub, "foo/window.b2nd", "0:400,:"), noise(1000, 1000)[:400])
    assert chunk_requests(pub) - before == 1


def test_one_edited_chunk_of_a_thousand_moves_one_chunk(running: tuple[Site, Path], sub: Service) -> None:
    _, data = running
    array = noise(1000, 64)
    np.testing.assert_array_equal(fetch(sub, "foo/edited.b2nd", "0:1000,:63"), array[:, :63])
    version = info(sub, "foo/edited.b2nd")["version"]
    array[500] += 1
    make_array(data / "edited.b2nd", array, (1, 64))
    wait_until(lambda: info(sub, "foo/edited.b2nd")["version"] != version, timeout_s=10, what="the edit is known")
    before = counter(sub, "link_chunks_total")
    np.testing.assert_array_equal(fetch(sub, "foo/edited.b2nd", "0:1000,:63"), array[:, :63])
    assert counter(sub, "link_chunks_total") - before == 1
    assert raw_fetch(sub, "foo/edited.b2nd", "0:1000,:63").headers["X-Cat2-Source"] == "cache"


def test_chunks_of_zeros_are_fetched_once_and_cost_nothing(sub: Service) -> None:
    before = counter(sub, "link_bytes_total")
    assert not fetch(sub, "foo/zeros.b2nd", "1:99,:").any()
    assert counter(sub, "link_bytes_total") - before == 10 * 32
    assert raw_fetch(sub, "foo/zeros.b2nd", "1:99,:").headers["X-Cat2-Source"] == "cache"


def test_a_plan_says_what_a_read_then_costs(sub: Service) -> None:
    fetch(sub, "foo/plan.b2nd", "0:20,5:9")
    plan = sub.get("/api/plan/foo/plan.b2nd", params={"slice_": "5:40,5:9"}).json()
    assert (plan["chunks"], plan["link_chunks"], plan["cache_chunks"]) == (4, 2, 2)
    assert (plan["shape"], plan["nbytes"]) == ([35, 4], 35 * 4 * 8)
    before = counter(sub, "link_bytes_total")
    fetch(sub, "foo/plan.b2nd", "5:40,5:9")
    assert counter(sub, "link_bytes_total") - before == pytest.approx(plan["link_bytes"], rel=0.05)
    assert sub.get("/api/plan/foo/plan.b2nd", params={"slice_": "5:40,5:9"}).json()["link_chunks"] == 0


def test_a_window_of_a_large_chunk_costs_a_block_and_the_plan_says_so(sub: Service) -> None:
    whole = noise(600, 600)
    plan = sub.get("/api/plan/foo/large.b2nd", params={"slice_": "110:120,510:520"}).json()
    assert plan["link_chunks"] == 1
    before = counter(sub, "link_bytes_total")
    answer = raw_fetch(sub, "foo/large.b2nd", "110:120,510:520")
    np.testing.assert_array_equal(decode(answer.content), whole[110:120, 510:520])
    assert answer.headers["X-Cat2-Source"] == "link"
    assert 0 <= float(answer.headers["X-Cat2-Verified-Age"]) < 30
    assert counter(sub, "link_bytes_total") - before == pytest.approx(plan["link_bytes"], rel=0.1)
    assert plan["link_bytes"] < whole.nbytes / 100
    assert raw_fetch(sub, "foo/large.b2nd", "111:119,511:519").headers["X-Cat2-Source"] == "cache"
    assert sub.get("/api/plan/foo/large.b2nd", params={"slice_": "110:120,510:520"}).json()["link_bytes"] == 0
    assert sub.get("/api/plan/foo/large.b2nd").json()["link_bytes"] > 0.8 * whole.nbytes, "all of it would come"


def test_answers_say_version_age_and_source_and_can_be_conditional(sub: Service) -> None:
    version = info(sub, "foo/fresh.b2nd")["version"]
    for slice_, source in (("3:33,:", "link"), ("3:33,:", "cache"), ("35:55,:", "mixed")):
        answer = raw_fetch(sub, "foo/fresh.b2nd", slice_)
        assert answer.headers["X-Cat2-Source"] == source
        assert answer.headers["X-Cat2-Version"] == version
        assert 0 <= float(answer.headers["X-Cat2-Verified-Age"]) < 30
        assert answer.headers["Cache-Control"] == "private, no-cache"
        again = sub.get(
            "/api/fetch/foo/fresh.b2nd", params={"slice_": slice_}, headers={"If-None-Match": answer.headers["ETag"]}
        )
        assert (again.status_code, again.content) == (304, b"")
    pinned = sub.get("/api/fetch/foo/fresh.b2nd", params={"slice_": "3:33,:", "v": version})
    assert "immutable" in pinned.headers["Cache-Control"]
    assert sub.get("/api/fetch/foo/fresh.b2nd", params={"v": "other"}).status_code == 412
    assert sub.get("/api/fetch/foo/fresh.b2nd", headers={"If-Match": '"other"'}).status_code == 412


def test_whole_files_come_as_stored_in_ranges_and_with_their_attributes(
    running: tuple[Site, Path], sub: Service
) -> None:
    stored = (running[1] / "fresh.b2nd").read_bytes()
    answer = raw_fetch(sub, "foo/fresh.b2nd")
    assert answer.content == stored
    assert answer.headers["Content-Disposition"] == 'attachment; filename="fresh.b2nd"'
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Length"] == str(len(stored))
    for asked, start, stop in (("0-9", 0, 10), ("1000-", 1000, None), ("-7", -7, None), ("5000-20000", 5000, 20001)):
        part = sub.get("/api/fetch/foo/fresh.b2nd", headers={"Range": f"bytes={asked}"})
        assert (part.status_code, part.content) == (206, stored[start:stop])
    outside = sub.get("/api/fetch/foo/fresh.b2nd", headers={"Range": f"bytes={len(stored)}-"})
    assert outside.status_code == 416
    whole = sub.get("/api/fetch/foo/fresh.b2nd", params={"slice_": "0:100,0:100"})
    assert whole.content == stored


def test_lists_of_indices_are_gathered_at_the_subscriber(sub: Service) -> None:
    array = noise(1000, 1000)
    for asked, key in (
        ([[999, 0, 0, 512], [3, 1]], np.ix_([999, 0, 0, 512], [3, 1])),
        ([5, [7, -1]], (5, [7, -1])),
        (["10:20:3", [4]], (slice(10, 20, 3), [4])),
        ([[], None], (slice(0, 0), slice(None))),
        ([[1, 2]], ([1, 2],)),
        (["::-400", [4]], (slice(None, None, -400), [4])),
    ):
        answer = sub.get("/api/fetch/foo/window.b2nd", params={"indices": json.dumps(asked)}, timeout=60)
        np.testing.assert_array_equal(decode(answer.content), array[key])
    for wrong in ("{}", "[", "[[1000]]", "[[true]]", "[[1.5]]", "[1, 2, 3]", '["1,2"]', '["x"]'):
        answer = sub.get("/api/fetch/foo/window.b2nd", params={"indices": wrong})
        assert answer.status_code == 400, wrong


def test_what_is_too_long_for_a_url_is_asked_for_in_a_body(sub: Service) -> None:
    array = noise(1000, 1000)

    def ask(path: str = "window", **body: Any) -> httpx.Response:
        url = f"{sub.url}/api/fetch/foo/{path}.b2nd"
        return httpx.post(url, json=body, timeout=60, trust_env=False)

    rows = np.random.default_rng(1).integers(0, 1000, 20_000)
    found = ask(indices=[rows.tolist(), [3, 1]])
    assert len(found.request.content) > 65_536
    np.testing.assert_array_equal(decode(found.content), array[np.ix_(rows, [3, 1])])
    np.testing.assert_array_equal(decode(ask(slice_="1:3, ::-400").content), array[1:3, ::-400])
    np.testing.assert_array_equal(decode(ask("table", field="a", slice_="10:20").content), np.arange(10, 20))
    assert (decode(ask("table", filter="a < 7").content)["a"] == np.arange(7)).all()
    assert ask().content == sub.get("/api/fetch/foo/window.b2nd").content, "nothing chosen is everything"
    assert ask(indices=[[0] * 1_000_001]).status_code == 413
    assert ask(indices=["0" * 17_000_000]).status_code == 413, "a body holds at most 16 MiB"
    assert ask(indices=[[2**70]]).status_code == 400
    assert ask(indexes=[[0]]).status_code == 422, "a word that is not known is refused"
    assert ask(indices=[[1000]]).status_code == 400
    assert ask("nope", indices=[[0]]).status_code == 404


def test_a_field_of_a_table_comes_as_an_array(sub: Service) -> None:
    np.testing.assert_array_equal(
        decode(sub.get("/api/fetch/foo/table.b2nd", params={"field": "b"}).content), noise(1000)
    )
    part = sub.get("/api/fetch/foo/table.b2nd", params={"field": "a", "slice_": "10:20"})
    np.testing.assert_array_equal(decode(part.content), np.arange(10, 20))
    assert sub.get("/api/fetch/foo/table.b2nd", params={"field": "c"}).status_code == 400
    assert sub.get("/api/fetch/foo/plan.b2nd", params={"field": "a"}).status_code == 400


def test_rows_of_a_table_are_filtered_at_the_subscriber(sub: Service) -> None:
    a, b = np.arange(1000), noise(1000)
    wanted = (a < 700) & (b > 0)

    def answer(**params: str) -> httpx.Response:
        return sub.get("/api/fetch/foo/table.b2nd", params={"filter": "(a < 700) & (b > 0)", **params})

    rows = decode(answer().content)
    np.testing.assert_array_equal(rows["a"], a[wanted])
    np.testing.assert_array_equal(rows["b"], b[wanted])
    np.testing.assert_array_equal(decode(answer(slice_="3:9").content), rows[3:9])
    np.testing.assert_array_equal(decode(answer(field="b", slice_="-1").content), rows["b"][-1])
    assert decode(answer(filter="a > 5000").content).shape == (0,)
    for wrong in ({"filter": "c > 1"}, {"filter": "a >"}, {"filter": "a"}, {"slice_": "9999"}, {"field": "z"}):
        assert answer(**wrong).status_code == 400, wrong


def test_the_cache_is_administered_by_administrators_alone(sub: Service, admin: httpx.Client) -> None:
    assert sub.get("/api/cache/status").status_code == 401
    assert admin.post("/api/cache/free/foo/zeros.b2nd").json()["freed"] > 0
    assert admin.post("/api/cache/prefetch/foo/zeros.b2nd", params={"slice_": "0:35"}).json()["chunks"] == 4
    assert admin.post("/api/cache/prefetch/foo/zeros.b2nd").json()["chunks"] == 6
    assert admin.post("/api/cache/prefetch/foo/zeros.b2nd").json()["chunks"] == 0
    assert admin.post("/api/cache/pin/foo/zeros.b2nd").json() == {"pins": ["foo/zeros.b2nd"]}
    assert admin.post("/api/cache/verify", params={"path": "foo/zeros.b2nd"}).json()["damaged"] == 0
    assert admin.post("/api/cache/unpin/foo/zeros.b2nd").json() == {"unpinned": True, "pins": []}
    status = admin.get("/api/cache/status").json()
    assert status["used"] <= status["size"]
    assert status["economy"]["roots"]["foo"]["link_bytes"] == counter(sub, "link_bytes_total", root="foo")
    assert status["economy"]["readers"]["user@example.com"]["link_bytes"] == 10 * 32
    assert status["economy"]["datasets"]["foo/zeros.b2nd"]["link_bytes"] > 0


def test_bad_input_is_a_sentence_never_a_500(sub: Service) -> None:
    for path, status in (
        ("fetch/foo/plan.b2nd?slice_=x", 400),
        ("fetch/foo/plan.b2nd?slice_=1,2,3", 400),
        ("fetch/foo/plan.b2nd?slice_=100", 400),
        ("fetch/foo/plan.b2nd?slice_=0:10:0", 400),
        ("fetch/foo/plan.b2nd?slice_=" + "1," * 600, 422),
        ("fetch/foo/none", 404),
        ("fetch/foo", 404),
        ("fetch/nope/x", 404),
        ("fetch/", 400),
        ("fetch/@personal/x", 404),
        ("info/foo/..%2f..%2fdb.sqlite", 400),
        ("info/foo/a%00b", 400),
        ("chunk/foo/plan.b2nd?nchunk=10", 404),
        ("chunk/foo/plan.b2nd?nchunk=-1", 404),
        ("chunk/foo/plan.b2nd", 422),
        ("chunks/foo/plan.b2nd?slice_=::x", 400),
        ("plan/foo/none", 404),
        ("list/nope", 404),
        ("list/@personal", 404),
        ("download/foo/none", 404),
    ):
        answer = sub.get(f"/api/{path}")
        assert answer.status_code == status, (path, answer.text)
        assert answer.json()["detail"]
