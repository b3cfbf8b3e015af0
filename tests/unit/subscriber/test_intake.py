"""Manifests on their way into the catalogue: cut anywhere, of any size, from anybody."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caterva2.errors import Unavailable, UpstreamInvalid
from caterva2.events import DatasetEvent, Operation
from caterva2.wire import Root
from caterva2_subscriber.catalog import MANY_CHANGES, Catalog, Change
from caterva2_subscriber.tracking import intake as module
from caterva2_subscriber.tracking.intake import Intake

INFO: dict[str, Any] = {"shape": [3], "schunk": {"vlmeta": {"unit": "mÅ"}}}


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """A catalogue that follows root ``foo`` and has not heard of it yet."""
    catalog = Catalog(tmp_path / "catalogue.sqlite")
    follow(catalog)
    yield catalog
    catalog.close()


def follow(catalog: Catalog) -> None:
    catalog.know_roots([Root(name="foo", http="127.0.0.1:9")], complete=False)
    catalog.mark_subscribed("foo", True)


def entry(path: str, *, seq: int = 1, etag: str = "v1", **fields: Any) -> dict[str, Any]:
    return {
        "path": path,
        "etag": etag,
        "kind": "array",
        "nbytes": 24,
        "mtime": 1.5,
        "seq": seq,
        "info": INFO,
        "new": 1,
    } | fields


def manifest(*entries: dict[str, Any], seq: int = 9, count: int | None = None, **header: Any) -> bytes:
    first = {"root": "foo", "epoch": "e1", "seq": seq, "count": len(entries) if count is None else count} | header
    return b"".join(json.dumps(line).encode() + b"\n" for line in (first, *entries))


def take_in(catalog: Catalog, body: bytes, *, encoding: str = "zstd", piece: int = 1000) -> list[Change] | None:
    """Feed a manifest to the catalogue in pieces; return what is different now."""
    if encoding == "zstd":
        body = zstandard.compress(body)
    intake = Intake(catalog, "foo", encoding)
    try:
        for start in range(0, len(body), piece):
            intake.feed(body[start : start + piece])
        return intake.commit()[1]
    finally:
        intake.discard()


def versions(catalog: Catalog) -> dict[str, str]:
    return {entry.path: entry.etag for entry in catalog.entries("foo")}


@pytest.mark.parametrize("encoding", ["zstd", "identity", ""])
@pytest.mark.parametrize("piece", [1, 7, 513, 100_000])
def test_a_manifest_is_taken_in_however_it_arrives(
    catalog: Catalog, encoding: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROWS", 4)
    body = manifest(*(entry(f"sub/{n}.b2nd", seq=n) for n in range(11))).removesuffix(b"\n")
    assert take_in(catalog, body, encoding=encoding, piece=piece) == [Change("foo", Operation.MANIFEST, seq=9)]
    found = catalog.entries("foo")
    assert [(each.path, each.seq, each.info) for each in found] == sorted(
        ((f"sub/{n}.b2nd", n, INFO) for n in range(11)), key=lambda each: each[0]
    )
    assert (catalog.roots["foo"].epoch, catalog.roots["foo"].seq) == ("e1", 9)


def test_n7_only_differences_are_reported_and_written(catalog: Catalog) -> None:
    known = [entry(f"{n}.b2nd", seq=n) for n in range(4)]
    take_in(catalog, manifest(*known))
    new = [known[0], known[1], known[2] | {"seq": 10, "etag": "v2"}, entry("new.md", seq=11, kind="file")]
    changes = take_in(catalog, manifest(*new, seq=12))
    assert changes == [
        Change("foo", Operation.REMOVED, "3.b2nd", seq=12),
        Change("foo", Operation.CHANGED, "2.b2nd", "v2", 10),
        Change("foo", Operation.CHANGED, "new.md", "v1", 11, is_new=True),
    ]
    assert versions(catalog) == {"0.b2nd": "v1", "1.b2nd": "v1", "2.b2nd": "v2", "new.md": "v1"}
    assert take_in(catalog, manifest(*new, seq=12)) == []


def test_another_life_of_the_index_takes_over_what_is_the_same_silently(catalog: Catalog) -> None:
    take_in(catalog, manifest(entry("a.b2nd", seq=5), entry("b.b2nd", seq=6)))
    assert take_in(catalog, manifest(entry("a.b2nd", seq=1), entry("b.b2nd", seq=2), seq=2, epoch="e2")) == []
    assert [each.seq for each in catalog.entries("foo")] == [1, 2]
    assert take_in(catalog, manifest(entry("a.b2nd", seq=1), seq=3, epoch="e2")) == [
        Change("foo", Operation.REMOVED, "b.b2nd", seq=3)
    ]


def test_an_info_that_an_event_left_out_comes_with_the_manifest(catalog: Catalog) -> None:
    take_in(catalog, manifest(entry("a.b2nd")))
    event = DatasetEvent(root="foo", epoch="e1", seq=10, operation=Operation.CHANGED, path="a.b2nd", etag="v2")
    assert catalog.apply(event)
    take_in(catalog, manifest(entry("a.b2nd", seq=10, etag="v2"), seq=10))
    found = catalog.entry("foo", "a.b2nd")
    assert found is not None
    assert (found.etag, found.info) == ("v2", INFO)


def test_more_than_many_changes_are_reported_as_one(catalog: Catalog) -> None:
    take_in(catalog, manifest(entry("a.b2nd")))
    many = [entry(f"{n}.b2nd") for n in range(MANY_CHANGES + 1)]
    assert take_in(catalog, manifest(entry("a.b2nd"), *many, seq=10)) == [Change("foo", Operation.MANIFEST, seq=10)]
    assert len(catalog.paths("foo")) == MANY_CHANGES + 2


def test_n6_a_manifest_that_events_have_overtaken_changes_nothing(catalog: Catalog) -> None:
    take_in(catalog, manifest(entry("a.b2nd"), seq=9))
    event = DatasetEvent(root="foo", epoch="e1", seq=10, operation=Operation.CHANGED, path="a.b2nd", etag="v2")
    assert catalog.apply(event)
    assert take_in(catalog, manifest(entry("a.b2nd"), seq=9)) is None
    assert versions(catalog) == {"a.b2nd": "v2"}


def test_entries_that_were_forgotten_while_a_manifest_arrived_are_not_taken_for_known(catalog: Catalog) -> None:
    body = manifest(entry("a.b2nd"), entry("b.b2nd"))
    take_in(catalog, body)
    late = Intake(catalog, "foo", "")
    late.feed(body)
    late._stage()
    catalog.mark_subscribed("foo", False)
    follow(catalog)
    with pytest.raises(Unavailable):
        late.commit()
    late.discard()
    assert catalog.roots["foo"].epoch is None
    take_in(catalog, body)
    assert versions(catalog) == {"a.b2nd": "v1", "b.b2nd": "v1"}


BAD: dict[str, Any] = {
    "no path": {"path": None},
    "a number for a path": {"path": 7},
    "no etag": {"etag": None},
    "an unknown kind": {"kind": "table"},
    "a list for a kind": {"kind": ["array"]},
    "a negative size": {"nbytes": -1},
    "a size without end": {"nbytes": 2**63},
    "text for a size": {"nbytes": "24"},
    "a truth for a size": {"nbytes": True},
    "no time": {"mtime": None},
    "a number of a change without end": {"seq": 2**64},
    "text for an info": {"info": "{}"},
    "no info": {"info": None},
}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD.keys())
def test_u3_one_bad_entry_spoils_a_manifest(catalog: Catalog, fields: dict[str, Any]) -> None:
    take_in(catalog, manifest(entry("a.b2nd")))
    body = manifest(entry("a.b2nd", etag="v2"), entry("b.b2nd") | fields, seq=10)
    with pytest.raises(UpstreamInvalid, match="makes no sense"):
        take_in(catalog, body)
    assert versions(catalog) == {"a.b2nd": "v1"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n\n",
        b"[]\n",
        b"{}\n",
        manifest(root="bar"),
        manifest(count=-1),
        manifest(count=10**12),
        manifest(seq=-1),
        manifest(seq=2**63),
        manifest(entry("a.b2nd"), count=2),
        manifest(entry("a.b2nd"), entry("b.b2nd"), count=1),
        manifest(count=1) + b'{"path": \n',
        manifest(count=1) + b"[1]\n",
        manifest(count=1) + b"\xff\n",
        manifest(count=1) + b"[" * 5000 + b"\n",
        manifest(count=1) + json.dumps(entry("a.b2nd")).replace("1.5", "NaN").encode(),
        manifest(count=1) + b" " * (module.MAX_LINE_BYTES + 1),
    ],
)
@pytest.mark.parametrize("encoding", ["zstd", ""])
def test_what_is_no_manifest_changes_nothing(catalog: Catalog, body: bytes, encoding: str) -> None:
    take_in(catalog, manifest(entry("known.b2nd"), seq=1))
    with pytest.raises(UpstreamInvalid):
        take_in(catalog, body, encoding=encoding, piece=2**20)
    assert versions(catalog) == {"known.b2nd": "v1"}


@pytest.mark.parametrize(("body", "encoding"), [(b"not zstd", "zstd"), (manifest(), "gzip")])
def test_a_wrong_encoding_is_refused(catalog: Catalog, body: bytes, encoding: str) -> None:
    with pytest.raises(UpstreamInvalid):
        Intake(catalog, "foo", encoding).feed(body)


def test_u7_names_that_are_not_allowed_are_left_out(catalog: Catalog) -> None:
    names = ["../up", "/etc/passwd", "a//b", "con", "a\u202eb", "x.tmp", "a/./b", ""]
    take_in(catalog, manifest(*(entry(name) for name in names), entry("good.b2nd")))
    assert catalog.paths("foo") == ["good.b2nd"]


def test_a_publisher_that_sees_nothing_removes_nothing(catalog: Catalog) -> None:
    take_in(catalog, manifest(entry("a.b2nd")))
    with pytest.raises(Unavailable):
        take_in(catalog, manifest(seq=10, online=False))
    assert versions(catalog) == {"a.b2nd": "v1"}


def test_u4_a_manifest_that_unpacks_without_end_is_given_up_in_little_memory(catalog: Catalog) -> None:
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    bomb = b"".join([packer.compress(manifest(count=1)), *(packer.compress(bytes(2**20)) for _ in range(512))])
    bomb += packer.flush()
    intake = Intake(catalog, "foo", "zstd")
    tracemalloc.start()
    try:
        with pytest.raises(UpstreamInvalid):
            intake.feed(bomb)
        assert tracemalloc.get_traced_memory()[1] < 96 * 2**20
    finally:
        tracemalloc.stop()
        intake.discard()


@pytest.mark.parametrize(
    "fields",
    [{"etag": None}, {"etag": "v2", "nbytes": 2**63}, {"etag": "v2", "nbytes": -1}],
    ids=["no version", "a size without end", "a negative size"],
)
def test_an_event_that_cannot_be_stored_asks_for_the_manifest(catalog: Catalog, fields: dict[str, Any]) -> None:
    take_in(catalog, manifest(entry("a.b2nd")))
    event = DatasetEvent(root="foo", epoch="e1", seq=10, operation=Operation.CHANGED, path="a.b2nd", **fields)
    assert catalog.apply(event) is None
    assert versions(catalog) == {"a.b2nd": "v1"}


def test_an_info_with_numbers_without_end_is_asked_for_later(catalog: Catalog) -> None:
    take_in(catalog, manifest())
    info = {"shape": [10**30]}
    assert catalog.apply(
        DatasetEvent(root="foo", epoch="e1", seq=10, operation=Operation.CHANGED, path="a.b2nd", etag="v1", info=info)
    )
    found = catalog.entry("foo", "a.b2nd")
    assert found is not None
    assert found.info is None


STATES = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2), max_size=6)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(STATES, st.booleans()), min_size=1, max_size=5))
def test_n7_any_row_of_manifests_leaves_exactly_what_the_last_one_says(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[dict[str, int], bool]]
) -> None:
    """A publisher's index, which numbers changes and begins new lives, against the catalogue that follows it."""
    catalog = Catalog(tmp_path_factory.mktemp("any") / "catalogue.sqlite")
    try:
        follow(catalog)
        seq, epoch, index = 0, 0, dict[str, dict[str, Any]]()
        for state, reborn in steps:
            before = {path: each["etag"] for path, each in index.items()}
            if reborn:
                seq, epoch, index = 0, epoch + 1, {}
            for path in index.keys() - state.keys():
                seq += 1
                del index[path]
            for path, version in state.items():
                if path not in index or index[path]["etag"] != f"v{version}":
                    seq += 1
                    index[path] = entry(path, seq=seq, etag=f"v{version}")
            first = catalog.roots["foo"].epoch is None
            changes = take_in(catalog, manifest(*index.values(), seq=seq, epoch=f"e{epoch}"))
            assert versions(catalog) == {path: each["etag"] for path, each in index.items()}
            assert changes is not None
            if not first:
                after = versions(catalog)
                assert {change.path for change in changes} == {
                    path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
                }
    finally:
        catalog.close()
