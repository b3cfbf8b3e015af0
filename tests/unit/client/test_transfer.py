"""Downloads that are interrupted, changed meanwhile, or not what they seem; uploads that are watched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import blosc2
import httpx
import numpy as np
import pytest

import caterva2
from caterva2 import _transport

CONTENT = bytes(range(256)) * 40


class Cut(httpx.SyncByteStream):
    """A body that breaks off after a number of bytes."""

    def __init__(self, body: bytes, after: int) -> None:
        self.body, self.after = body, after

    def __iter__(self) -> Iterator[bytes]:
        yield self.body[: self.after]
        raise httpx.ReadError("connection lost")


class Server:
    """Sends `content` as a stored file; each of the first answers breaks off after so many bytes."""

    def __init__(self, content: bytes = CONTENT, *cuts: int, etag: str | None = '"v1"') -> None:
        self.content, self.cuts, self.etag = content, list(cuts), etag
        self.ranges: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        asked = request.headers.get("range")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        fresh = asked is None or request.headers.get("if-range") != self.etag
        body = self.content if fresh else self.content[start:]
        headers = {"content-length": str(len(body)), "accept-ranges": "bytes"}
        if self.etag:
            headers["etag"] = self.etag
        stream = Cut(body, self.cuts.pop(0)) if self.cuts else httpx.ByteStream(body)
        return httpx.Response(200 if fresh else 206, headers=headers, stream=stream)


def client_of(server: Server) -> caterva2.Client:
    return caterva2.Client("http://sub.example", transport=httpx.MockTransport(server))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transport.time, "sleep", lambda seconds: None)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_an_interrupted_download_goes_on_where_it_stopped(tmp_path):
    server = Server(CONTENT, 1000, 5)
    with client_of(server) as client:
        saved = client.download("foo/x.h5", tmp_path / "x.h5")
    assert saved.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-", "bytes=1005-"]
    assert names(tmp_path) == ["x.h5"]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(tmp_path):
    server = Server(CONTENT, 1000, *[0] * 20)
    with client_of(server) as client, pytest.raises(httpx.ReadError):
        client.download("foo/x.h5", tmp_path / "x.h5")
    assert names(tmp_path) == ["x.h5.part", "x.h5.part.json"]
    again = Server(CONTENT)
    with client_of(again) as client:
        assert client.download("foo/x.h5", tmp_path / "x.h5").read_bytes() == CONTENT
    assert again.ranges == ["bytes=1000-"]
    assert names(tmp_path) == ["x.h5"]


def test_a_download_of_something_that_changed_begins_again(tmp_path):
    with client_of(Server(CONTENT, 1000, *[0] * 20)) as client, pytest.raises(httpx.ReadError):
        client.download("foo/x.h5", tmp_path / "x.h5")
    changed = Server(CONTENT[::-1], etag='"v2"')
    with client_of(changed) as client:
        assert client.download("foo/x.h5", tmp_path / "x.h5").read_bytes() == CONTENT[::-1]


def test_what_was_begun_of_another_file_is_not_continued(tmp_path):
    with client_of(Server(CONTENT, 1000, *[0] * 20)) as client, pytest.raises(httpx.ReadError):
        client.download("foo/x.h5", tmp_path / "x.h5")
    other = Server(CONTENT)
    with client_of(other) as client:
        client.download("bar/x.h5", tmp_path / "x.h5")
    assert other.ranges == [None]


def test_a_computed_answer_that_breaks_off_leaves_nothing_behind(tmp_path):
    with client_of(Server(CONTENT, 10, etag=None)) as client, pytest.raises(httpx.ReadError):
        client.download("foo/x.b2nd", tmp_path / "x.b2nd")
    assert names(tmp_path) == []


def test_an_existing_file_stays_until_the_new_one_is_whole(tmp_path):
    (tmp_path / "x.h5").write_text("old")
    with client_of(Server(CONTENT, 1000, *[0] * 20)) as client, pytest.raises(httpx.ReadError):
        client.download("foo/x.h5", tmp_path / "x.h5")
    assert (tmp_path / "x.h5").read_text() == "old"


def test_progress_is_told(tmp_path):
    told: list[tuple[int, int | None]] = []
    with client_of(Server(CONTENT)) as client:
        client.download("foo/x.h5", tmp_path / "x.h5", progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(CONTENT), len(CONTENT))


class Receiver:
    """Takes uploads."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append((request.url.path, request.read()))
        return httpx.Response(200, json=request.url.path.removeprefix("/api/upload/"))


def test_files_bytes_and_arrays_are_sent(tmp_path):
    (tmp_path / "x.bin").write_bytes(CONTENT)
    receiver, told = Receiver(), []
    with caterva2.Client("http://sub.example", transport=httpx.MockTransport(receiver)) as client:
        sent = client.upload(
            tmp_path / "x.bin", "@public/x.bin", progress=lambda done, total: told.append((done, total))
        )
        client.upload(b"some bytes", "@public/b.txt")
        client.upload(local_dset=np.arange(5), remotepath="@public/a.b2nd")
        client.get("@public").upload(blosc2.arange(7), "sub/c.b2nd")
    assert sent == "@public/x.bin"
    assert CONTENT in receiver.bodies[0][1]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert b"some bytes" in receiver.bodies[1][1]
    assert b"b2frame" in receiver.bodies[2][1]
    assert [path for path, _ in receiver.bodies][2:] == ["/api/upload/@public/a.b2nd", "/api/upload/@public/sub/c.b2nd"]


@pytest.mark.parametrize(
    ("content", "target", "error"),
    [
        (np.arange(3), "@public/x.txt", ValueError),
        (None, "@public/x.txt", TypeError),
        (b"x", None, TypeError),
        ("no-such-file", "@public/x.txt", FileNotFoundError),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is(content, target, error):
    receiver = Receiver()
    with (
        caterva2.Client("http://sub.example", transport=httpx.MockTransport(receiver)) as client,
        pytest.raises(error),
    ):
        client.upload(content, target)
    assert receiver.bodies == []
