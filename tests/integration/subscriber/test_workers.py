"""What people write is evaluated by confined processes (U2, U9): expressions, conditions, orders."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from asgi_lifespan import LifespanManager
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from caterva2.errors import InvalidExpression, InvalidField, TooLarge
from caterva2_formats.sandbox import Limits, Sandbox
from caterva2_service.disconnecting import CancelOnDisconnect
from caterva2_service.threads import Threads
from caterva2_subscriber.app import create_app
from caterva2_subscriber.compute.blocks import TARGET_BYTES
from caterva2_subscriber.compute.workers import Workers
from caterva2_subscriber.settings import SubscriberSettings
from caterva2_subscriber.spaces import opening
from caterva2_subscriber.views.rows import order_of

from .conftest import SECRET


def question(expression: str, shape: tuple[int, ...], dtype: str = "float64") -> dict[str, Any]:
    """Ask for all of an expression over `a`."""
    return {
        "expression": expression,
        "operands": {"a": [list(shape), dtype]},
        "reduce": None,
        "region": [[0, n] for n in shape],
    }


def forks() -> set[int]:
    """Return the processes that evaluate: children of the helper of a sandbox."""
    found: set[int] = set()
    for helper in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {child.pid for child in helper.children()}
    return found


def helpers() -> set[psutil.Process]:
    """Return the processes from which those that evaluate are forked, one for each sandbox that is in use."""
    found: set[psutil.Process] = set()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "caterva2_formats.sandbox_worker" in child.cmdline():
                found.add(child)
    return found


@pytest.fixture
def workers(sandbox: Sandbox) -> Iterator[Workers]:
    opened = Workers(sandbox, size=1, limits=Limits(deadline_s=60.0, memory_bytes=2**30))
    yield opened
    opened.close()


@pytest.fixture
def threads() -> Iterator[Threads]:
    opened = Threads(2)
    yield opened
    opened.close()


async def test_u2_an_expression_is_evaluated_in_another_process_that_stays_warm(workers: Workers) -> None:
    a = np.linspace(0, 1, 10)
    before = forks()
    for _ in range(3):
        found = await workers.evaluate(question("sqrt(a) * 2", a.shape), [a], a.nbytes)
        np.testing.assert_array_equal(np.frombuffer(found), np.sqrt(a) * 2)
    assert len(forks() - before) == 1


async def test_u2_too_much_memory_is_said_and_the_next_expression_works(workers: Workers) -> None:
    n = 64 * 2**20
    greedy = {**question("arange(1) + 1", ()), "operands": {}, "region": [[0, 1]]}
    big = {**greedy, "expression": f"arange({n}) * 1.5 + arange({n}) / 3", "region": [[0, n]]}
    with pytest.raises(TooLarge):
        await workers.evaluate(big, [], 8 * n)
    assert np.frombuffer(await workers.evaluate(greedy, [], 8), np.int64).tolist() == [1]


async def test_u2_what_takes_too_long_is_ended(sandbox: Sandbox) -> None:
    workers = Workers(sandbox, size=1, limits=Limits(deadline_s=0.5, memory_bytes=2**30))
    a = np.zeros(2**23)
    slow = " + ".join(["sin(a) ** 0.3"] * 30)
    before = forks()
    with pytest.raises(TooLarge):
        await workers.evaluate(question(slow, a.shape), [a], a.nbytes)
    async with asyncio.timeout(60):
        while forks() - before:
            await asyncio.sleep(0.05)
    workers.close()


async def test_u2_an_evaluation_that_nobody_waits_for_is_ended(workers: Workers) -> None:
    a = np.zeros(2**23)
    slow = " + ".join(["sin(a) ** 0.3"] * 30)
    before = forks()
    task = asyncio.create_task(workers.evaluate(question(slow, a.shape), [a], a.nbytes))
    async with asyncio.timeout(60):
        while not forks() - before:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while forks() - before:
            await asyncio.sleep(0.05)
    assert len(await workers.evaluate(question("a", (1,)), [np.zeros(1)], 8)) == 8, "its place is free again"


async def test_u2_values_that_are_not_allowed_cost_no_process(workers: Workers) -> None:
    a = np.arange(3)
    with pytest.raises(InvalidExpression):
        await workers.evaluate(question("a ** -1", a.shape, "int64"), [a], a.nbytes)
    first = forks()
    assert await workers.evaluate(question("a + 1", a.shape, "int64"), [a], a.nbytes)
    assert forks() <= first


# --- rows of tables ---------------------------------------------------------------------
TABLE = np.array(
    [(1, 0.5, b"x", (1, 2)), (2, -1.0, b"y", (3, 4)), (3, 0.5, b"z", (5, 6))],
    [("n", "<i4"), ("v", ">f8"), ("c", "S4"), ("p", "<i2", (2,))],
)


async def test_u2_rows_are_filtered_and_sorted_without_losing_their_places(workers: Workers, threads: Threads) -> None:
    before = forks()

    async def order(condition: str | None, sort: str | None) -> list[int]:
        return (await order_of(TABLE, condition, sort, workers, threads)).tolist()

    assert await order(None, None) == [0, 1, 2]
    assert forks() == before, "nothing is evaluated"
    assert await order(None, "v") == [1, 0, 2]
    assert await order(None, "-v") == [0, 2, 1]
    assert await order("v > 0", "-n") == [2, 0]
    assert await order("startswith(c, b'y')", None) == [1]
    assert await order("v > 99", "n") == []
    assert len(forks() - before) == 1, "everything is evaluated in one process that stays"
    for condition, sort in ((None, "energy"), ("energy > 3", None), ("p > 1", None), (None, "p"), ("n", None)):
        with pytest.raises(InvalidField):
            await order(condition, sort)


async def test_u2_large_tables_are_filtered_piece_by_piece(workers: Workers, threads: Threads) -> None:
    table = np.zeros(3 * TARGET_BYTES // 16, [("a", "<i8"), ("b", "<i8")])
    table["a"] = np.random.default_rng(0).integers(0, 1000, len(table))
    np.testing.assert_array_equal(
        await order_of(table, "a < 3", None, workers, threads), np.flatnonzero(table["a"] < 3)
    )
    chosen = np.flatnonzero(table["a"] < 3)
    expected = chosen[np.argsort(table["a"][chosen], kind="stable")]
    np.testing.assert_array_equal(await order_of(table, "a < 3", "a", workers, threads), expected)


async def test_u2_sorting_that_takes_too_long_is_ended(sandbox: Sandbox, threads: Threads) -> None:
    workers = Workers(sandbox, size=1, limits=Limits(deadline_s=0.05, memory_bytes=2**30))
    table = np.frombuffer(np.random.default_rng(0).bytes(24 * 2**21), [("a", "S24")])
    with pytest.raises(TooLarge):
        await order_of(table, None, "a", workers, threads)
    workers.close()


# --- processes that die ---------------------------------------------------------------------
async def test_u9_the_next_expression_works_when_the_helper_was_killed() -> None:
    sandbox = Sandbox()
    before = helpers()
    workers = Workers(sandbox, size=1, limits=Limits(deadline_s=60.0))
    a = np.arange(3.0)
    try:
        await asyncio.to_thread(workers.warm_up)
        (helper,) = helpers() - before
        assert not helper.children(), "warm, and nothing is forked before it is needed"
        assert np.frombuffer(await workers.evaluate(question("a + 1", a.shape), [a], a.nbytes)).tolist() == [1, 2, 3]
        evaluating = helper.children()
        helper.kill()
        helper.wait()
        await asyncio.to_thread(psutil.wait_procs, evaluating, 30)
        assert np.frombuffer(await workers.evaluate(question("a + 2", a.shape), [a], a.nbytes)).tolist() == [2, 3, 4]
    finally:
        workers.close()
        sandbox.close()


async def test_u9_a_site_keeps_the_helper_ready_and_says_how_files_are_confined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(opening, "WARM_AFTER_S", 0.0)
    monkeypatch.setattr(opening, "CHECK_S", 0.05)
    caplog.set_level("INFO")
    before = helpers()
    app = create_app(SubscriberSettings(statedir=tmp_path, secret=SECRET, register=True))

    async def new_helper(known: set[psutil.Process]) -> psutil.Process:
        async with asyncio.timeout(60):
            while not helpers() - known:
                await asyncio.sleep(0.05)
        return (helpers() - known).pop()

    async with LifespanManager(app, startup_timeout=60, shutdown_timeout=60):
        helper = await new_helper(before)
        async with asyncio.timeout(60):
            while "foreign files are confined" not in caplog.text:
                await asyncio.sleep(0.05)
        helper.kill()
        await new_helper({*before, helper})


# --- readers who go away ---------------------------------------------------------------------
async def answered(app: Any, method: str, messages: AsyncIterator[Message]) -> list[Message]:
    """Answer a request whose client says `messages`; return what was sent."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": method, "path": "/"}
    await CancelOnDisconnect(app)(scope, messages.__anext__, send)
    return sent


async def client_that_leaves(leaving: asyncio.Event) -> AsyncIterator[Message]:
    yield {"type": "http.request", "body": b"", "more_body": False}
    await leaving.wait()
    yield {"type": "http.disconnect"}


async def test_u2_work_for_a_reader_who_is_gone_is_cancelled() -> None:
    leaving, ended = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        leaving.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(ClientDisconnect):
        await answered(app, "GET", client_that_leaves(leaving))
    assert ended.is_set()


async def test_u2_answers_that_have_begun_and_changes_are_finished() -> None:
    leaving = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if scope["method"] == "GET":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        leaving.set()
        assert (await receive())["type"] == "http.disconnect"
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"done"})

    for method in ("GET", "POST"):
        assert (await answered(app, method, client_that_leaves(leaving)))[-1]["body"] == b"done"


async def test_a_service_that_stops_is_not_taken_for_a_reader_who_left() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(answered(app, "GET", client_that_leaves(asyncio.Event())))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
