"""What a publisher answers over HTTP."""

from __future__ import annotations

import gzip
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import zstandard

from caterva2 import errors, wire
from caterva2_formats.chunks import decompress
from caterva2_formats.pyramid import reduce_mean
from caterva2_publisher import context
from caterva2_publisher.pyramids import Pyramids
from tests.integration.publisher.conftest import InThread, blosc2, make_root, write_array
from tests.support.processes import wait_until


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("serving") / "root")


@pytest.fixture(scope="module")
def publisher(root: Path) -> Iterator[InThread]:
    service = InThread(root, root.parent / "pub")
    try:
        yield service.ready()
    finally:
        service.stop()


def frames(response: httpx.Response) -> list[wire.ChunkFrame]:
    decoder = wire.FrameDecoder()
    found = list(decoder.feed(response.content))
    decoder.close()
    return found


def post_chunks(publisher: InThread, path: str, body: dict, **headers: str) -> httpx.Response:
    return httpx.post(f"{publisher.url}/api/chunks/{path}", json=body, headers=headers, trust_env=False)


def test_the_original_endpoints(publisher: InThread, root: Path) -> None:
    assert {"README.md", "a.b2nd", "dir/b.b2nd"} <= set(publisher.list())
    info = publisher.get("/api/info/a.b2nd")
    assert info.json()["shape"] == [10, 100]
    assert info.json()["schunk"]["nchunks"] == 4
    etag = info.headers["etag"]
    for condition in (etag, f'"{etag}"'):
        assert publisher.get("/api/info/a.b2nd", headers={"if-none-match": condition}).status_code == 304
    stored = blosc2.open(str(root / "a.b2nd"), mode="r")  # its schunk must not outlive it
    for nchunk in range(4):
        chunk = publisher.get(f"/api/download/a.b2nd?nchunk={nchunk}")
        assert chunk.content == stored.schunk.get_chunk(nchunk)
        assert "content-type" not in chunk.headers


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/info/none.b2nd", 404, "dataset_not_found"),
        ("/api/info/dir", 404, "dataset_not_found"),
        ("/api/info/..%2f..%2fetc%2fpasswd", 400, "invalid_name"),
        ("/api/info/%2Fetc%2Fpasswd", 400, "invalid_name"),
        ("/api/info/a%00b", 400, "invalid_name"),
        ("/api/download/a.b2nd", 400, "bad_request"),
        ("/api/download/a.b2nd?nchunk=4", 404, "chunk_not_found"),
        ("/api/download/none.b2nd?nchunk=0", 404, "dataset_not_found"),
    ],
)
def test_bad_requests_get_a_sentence(publisher: InThread, path: str, status: int, code: str) -> None:
    answer = publisher.get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["detail"]


def test_chunks_and_skeleton_are_the_file_byte_for_byte(publisher: InThread, root: Path) -> None:
    from caterva2_formats.base import Skeleton

    etag = publisher.get("/api/info/a.b2nd").headers["etag"]
    answer = post_chunks(publisher, "a.b2nd", {"ranges": [[0, 4]], "skeleton": True}, **{"if-match": f'"{etag}"'})
    assert answer.headers["content-type"] == wire.CHUNKS_MEDIA_TYPE
    assert answer.headers["etag"] == f'"{etag}"'
    skeleton, *chunks = frames(answer)
    assert skeleton.index == wire.INDEX_SKELETON
    by_number = {frame.index: frame.data for frame in chunks}
    parts = Skeleton.from_bytes(skeleton.data).parts
    whole = b"".join(by_number[part] if isinstance(part, int) else part for part in parts)
    assert whole == (root / "a.b2nd").read_bytes()


def test_chunks_come_in_the_order_asked_for(publisher: InThread) -> None:
    answer = post_chunks(publisher, "a.b2nd", {"ranges": [[3, 4], [0, 2], [3, 4]]})
    assert [frame.index for frame in frames(answer)] == [3, 0, 1, 3]


def test_a_plain_file_is_chunks_of_its_bytes(publisher: InThread, root: Path) -> None:
    data = np.random.default_rng(1).integers(0, 50, 20_000_000, dtype=np.uint8).tobytes()
    (root / "notes.txt").write_bytes(data)
    answer = post_chunks(publisher, "README.md", {"ranges": [[0, 1]], "skeleton": True})
    assert [blosc2.decompress2(frame.data) for frame in frames(answer)] == [b"# Hello\n"]
    publisher.get("/api/info/notes.txt")
    answer = post_chunks(publisher, "notes.txt", {"ranges": [[0, 2]]})
    assert b"".join(blosc2.decompress2(frame.data) for frame in frames(answer)) == data


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "code"),
    [
        ("none.b2nd", {"ranges": [[0, 1]]}, {}, 404, "dataset_not_found"),
        ("a.b2nd", {"ranges": [[0, 5]]}, {}, 404, "chunk_not_found"),
        ("a.b2nd", {"ranges": [[3, 1]]}, {}, 404, "chunk_not_found"),
        ("a.b2nd", {"ranges": [[0, 1]]}, {"if-match": '"other"'}, 412, "version_changed"),
        ("a.b2nd", {"ranges": [[0, 1]] * 70_000}, {}, 413, "too_large"),
        ("a.b2nd", {"ranges": [[0, 10**12]]}, {}, 413, "too_large"),
    ],
)
def test_requests_for_chunks_that_cannot_be_answered(
    publisher: InThread, path: str, body: dict, headers: dict, status: int, code: str
) -> None:
    answer = post_chunks(publisher, path, body, **headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_body_that_is_not_a_request_is_422(publisher: InThread) -> None:
    assert post_chunks(publisher, "a.b2nd", {"ranges": "all"}).status_code == 422
    assert post_chunks(publisher, "a.b2nd", {"unknown": 1}).status_code == 422


def test_a_file_that_fails_its_checks_is_listed_and_refused(publisher: InThread, root: Path) -> None:
    (root / "bad.b2nd").write_bytes(b"\x9e\xa8b2frame\0" + b"\xff" * 200)
    publisher.get("/api/info/bad.b2nd")
    info = publisher.get("/api/info/bad.b2nd").json()
    assert info["error"] == "Unrecognized format"
    assert info["mtime"].endswith("Z")
    answer = post_chunks(publisher, "bad.b2nd", {"ranges": [[0, 1]]})
    assert (answer.status_code, answer.json()["code"]) == (422, "unsafe_content")


def test_the_manifest_is_the_index(publisher: InThread) -> None:
    header, entries = publisher.manifest()
    assert (header["root"], header["count"], header["online"]) == ("foo", len(entries), True)
    assert list(entries) == publisher.list()
    for path, entry in entries.items():
        info = publisher.get(f"/api/info/{path}")
        assert (entry["info"], entry["etag"]) == (info.json(), info.headers["etag"])
    kinds = {path: wire.ManifestEntry.model_validate(entry).kind for path, entry in entries.items()}
    assert (kinds["README.md"], kinds["dir/b.b2nd"]) == ("file", "array")
    assert header["seq"] == max(entry["seq"] for entry in entries.values())


def test_the_manifest_is_conditional_and_compressed(publisher: InThread) -> None:
    plain = publisher.get("/api/manifest", headers={"accept-encoding": "identity"})
    header = json.loads(plain.text.splitlines()[0])
    assert plain.headers["etag"] == f'"{header["epoch"]}:{header["seq"]}"'
    assert publisher.get("/api/manifest", headers={"if-none-match": plain.headers["etag"]}).status_code == 304
    for encoding, decode in (("gzip", gzip.decompress), ("zstd", _unpack)):
        with (
            httpx.Client(trust_env=False) as http,
            http.stream("GET", f"{publisher.url}/api/manifest", headers={"accept-encoding": encoding}) as answer,
        ):
            assert answer.headers["content-encoding"] == encoding
            assert decode(b"".join(answer.iter_raw())) == plain.content


def _unpack(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def test_served_chunks_are_counted(publisher: InThread) -> None:
    def served() -> float:
        found = re.search(r'caterva2_chunks_served_total\{kind="array"\} (\S+)', publisher.get("/metrics").text)
        return float(found[1]) if found else 0.0

    before = served()
    post_chunks(publisher, "a.b2nd", {"ranges": [[0, 3]]})
    assert served() == before + 3


def test_a_change_that_nobody_announced_yet_is_seen_by_who_asks(publisher: InThread, root: Path) -> None:
    before = publisher.get("/api/info/a.b2nd").headers["etag"]
    other = write_array(root.parent / "other.b2nd", np.zeros(7))
    other.replace(root / "a.b2nd")
    answer = post_chunks(publisher, "a.b2nd", {"ranges": [[0, 1]]}, **{"if-match": f'"{before}"'})
    assert answer.status_code == errors.VersionChanged.status
    info = publisher.get("/api/info/a.b2nd")
    if info.status_code == 503:  # within a tick of the clock
        info = publisher.get("/api/info/a.b2nd")
    assert info.json()["shape"] == [7]


def digests(publisher: InThread, path: str, query: str = "", **headers: str) -> httpx.Response:
    return publisher.get(f"/api/digests/{path}{query}", headers=headers)


def test_digests_tell_which_chunks_an_edit_left_alone(publisher: InThread, root: Path) -> None:
    array = np.arange(20_000).reshape(20, 1000)
    etags = []
    for edit in range(2):
        array[7] += edit
        write_array(root.parent / "edit.b2nd", array, chunks=(1, 1000)).replace(root / "edit.b2nd")
        wait_until(lambda: publisher.get("/api/info/edit.b2nd").status_code == 200, timeout_s=5, what="indexed")
        answer = digests(publisher, "edit.b2nd")
        etags.append((answer.headers["etag"], answer.json()["digests"]))
    (before, old), (after, new) = etags
    assert before != after
    assert [number for number in range(20) if old[number] != new[number]] == [7]
    frame = frames(post_chunks(publisher, "edit.b2nd", {"ranges": [[7, 8]]}))[0]
    assert frame.digest.hex() == new[7]
    assert digests(publisher, "edit.b2nd", **{"if-match": before}).status_code == 412


def test_digests_of_some_chunks_cost_only_these(publisher: InThread) -> None:
    found = digests(publisher, "dir/b.b2nd", "?chunks=1:3,4:5").json()["digests"]
    assert [digest is not None for digest in found] == [False, True, True, False, True]
    assert digests(publisher, "dir/b.b2nd").json()["digests"][1] == found[1]
    for query, status in (("?chunks=x", 400), ("?chunks=3:9", 404)):
        assert digests(publisher, "dir/b.b2nd", query).status_code == status


def test_tiles_are_chunks_of_the_levels_of_a_plane(publisher: InThread, root: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 100, (2, 1100, 700), dtype="<u4")
    write_array(root / "picture.b2nd", picture, chunks=(1, 200, 700))
    wait_until(lambda: publisher.get("/api/info/picture.b2nd").status_code == 200, timeout_s=5, what="indexed")
    url = "/api/pyramid/picture.b2nd?rows=1&columns=2&at=1"
    answer = publisher.get(f"{url}&level=1&tiles=1:2,0:1")
    assert answer.headers["etag"] == f'"{publisher.get("/api/info/picture.b2nd").headers["etag"]}"'
    tiles = {frame.index: np.frombuffer(decompress(frame.data), "<u4").reshape(512, 350) for frame in frames(answer)}
    assert list(tiles) == [1, 0]
    np.testing.assert_array_equal(tiles[0], reduce_mean(picture[1], 1)[:512])
    np.testing.assert_array_equal(tiles[1][:38], reduce_mean(picture[1], 1)[512:])
    for query, headers, status in (
        (f"{url}&level=1&tiles=0:2", {"if-match": '"other"'}, 412),
        (f"{url}&level=1&tiles=0:3", {}, 200),
        (f"{url}&level=1&tiles=2:3", {}, 404),
        (f"{url}&level=3&tiles=0:1", {}, 400),
        (f"{url}&level=1&tiles=0:9999", {}, 413),
        (f"{url}&level=1&tiles=x", {}, 400),
        (f"{url},x&level=1&tiles=0:1", {}, 400),
        ("/api/pyramid/picture.b2nd?rows=1", {}, 422),
        ("/api/pyramid/none.b2nd?rows=0&columns=1&level=1&tiles=0:1", {}, 404),
    ):
        assert publisher.get(query, headers=headers).status_code == status, query
    with pytest.raises(errors.ChunkNotFound):
        frames(publisher.get(f"{url}&level=1&tiles=0:3"))


def test_an_envelope_is_the_chunk_of_an_array_of_pairs(publisher: InThread, root: Path) -> None:
    values = np.random.default_rng(2).normal(size=(3, 10_000))
    write_array(root / "lines.b2nd", values, chunks=(1, 1000))
    wait_until(lambda: publisher.get("/api/info/lines.b2nd").status_code == 200, timeout_s=5, what="indexed")
    url = "/api/envelope/lines.b2nd?axis=1&at=2&start=100&count=9000&group=90"
    found = frames(publisher.get(url))
    assert [frame.index for frame in found] == [0]
    pairs = np.frombuffer(decompress(found[0].data), "f8").reshape(100, 2)
    groups = values[2, 100:9100].reshape(100, 90)
    np.testing.assert_array_equal(pairs, np.stack([groups.min(axis=1), groups.max(axis=1)], axis=1))
    assert publisher.get(f"{url}0000").status_code == 200
    assert publisher.get(f"{url}&step=2").status_code == 400
    assert publisher.get(url, headers={"if-match": '"other"'}).status_code == 412


@pytest.mark.parametrize(
    "query",
    [
        "/api/envelope/view.b2nd?axis=0&at=0&start=0&count=5000&group=50",
        "/api/pyramid/view.b2nd?rows=0&columns=1&level=2&tiles=0:1",
        "/api/pyramid/view.b2nd?rows=0&columns=1&level=4&tiles=0:1",
    ],
)
def test_u2_a_view_is_given_up_when_its_reader_goes_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    reading, stopped = threading.Event(), threading.Event()
    original = Pyramids._read

    def read(self: Pyramids, path: str, source: Any, selection: Any, stop: threading.Event) -> Any:
        reading.set()
        if stop.wait(60):
            stopped.set()
        return original(self, path, source, selection, stop)

    monkeypatch.setattr(Pyramids, "_read", read)
    monkeypatch.setattr(context, "_LINGER_S", 0.0)
    write_array(tmp_path / "data" / "view.b2nd", np.zeros((5000, 6000), "u1"), chunks=(500, 6000))
    service = InThread(tmp_path / "data", tmp_path / "pub")
    try:
        service.ready()
        address = service.url.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1]))) as connection:
            connection.sendall(f"GET {query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert reading.wait(30)
        assert stopped.wait(30), "the publisher hears that the reader has gone"
    finally:
        service.stop()
