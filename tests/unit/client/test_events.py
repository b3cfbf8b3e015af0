"""Following changes: decoding the stream, and going on after it breaks."""

import json

import httpx
import pytest

import caterva2
from caterva2 import _events
from caterva2._events import Event, EventDecoder


def encoded(kind: str, number: int, **data: str) -> bytes:
    return f"event: {kind}\nid: x-{number}\ndata: {json.dumps(data)}\n\n".encode()


STREAM = (
    b"retry: 50\r\n\r\n: ping\n\nid: x-0\n\n"
    + encoded("changed", 1, root="foo", path="a.b2nd", etag="v2")
    + encoded("root-offline", 2, root="bar", path="")
    + b"event: changed\ndata: not json\n\n"
    + encoded("removed", 3, root="foo", path="foo/b.b2nd")
)
EVENTS = [
    Event("changed", "foo", "foo/a.b2nd", "v2", "x-1", {"root": "foo", "path": "a.b2nd", "etag": "v2"}),
    Event("root-offline", "bar", None, None, "x-2", {"root": "bar", "path": ""}),
    Event("removed", "foo", "foo/foo/b.b2nd", None, "x-3", {"root": "foo", "path": "foo/b.b2nd"}),
]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_survive_any_cutting_into_pieces(size):
    decoder = EventDecoder()
    found = [event for i in range(0, len(STREAM), size) for event in decoder.feed(STREAM[i : i + size])]
    assert found == EVENTS
    assert decoder.last_id == "x-3"
    assert decoder.pause_s == 0.05


class Streams:
    """Answers with a stream that breaks, then with the rest; remembers what it was asked for."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.last_ids: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.last_ids.append(request.headers.get("last-event-id"))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(_events.time, "sleep", lambda seconds: None)


def test_a_broken_stream_goes_on_behind_the_last_event():
    half = len(STREAM) // 2
    streams = Streams(
        httpx.Response(200, content=STREAM[:half]),
        httpx.ConnectError("restarting"),
        httpx.Response(200, content=STREAM),
    )
    with caterva2.Client("http://sub.example", transport=httpx.MockTransport(streams)) as client:
        events = client.events()
        assert next(events) == EVENTS[0]
        assert next(events) == EVENTS[0]
    assert streams.last_ids == [None, "x-1", "x-1"]


def test_only_the_roots_that_are_wanted():
    streams = Streams(httpx.Response(200, content=STREAM))
    with caterva2.Client("http://sub.example", transport=httpx.MockTransport(streams)) as client:
        assert next(client.events("bar", last_id="x-0")) == EVENTS[1]
    assert streams.last_ids == ["x-0"]


@pytest.mark.parametrize("answer", [httpx.ConnectError("refused"), httpx.Response(404, json={"detail": "Not Found"})])
def test_a_first_connection_that_fails_is_an_error(answer):
    with (
        caterva2.Client("http://sub.example", transport=httpx.MockTransport(Streams(answer))) as client,
        pytest.raises(httpx.HTTPError),
    ):
        next(client.events())


async def test_the_asynchronous_client_follows_too():
    streams = Streams(httpx.Response(200, content=STREAM))
    async with caterva2.AsyncClient("http://sub.example", transport=httpx.MockTransport(streams)) as client:
        events = client.events("foo")
        assert [await anext(events), await anext(events)] == [EVENTS[0], EVENTS[2]]
        await events.aclose()
