"""The index and its outbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from caterva2.errors import Conflict, StorageFailed
from caterva2.events import Operation
from caterva2.wire import Kind, ManifestEntry
from caterva2_formats.base import Found, Stamp
from caterva2_publisher import catalog as module
from caterva2_publisher.catalog import Catalog, Changed, Removed, Totals

INFO = orjson.dumps({"shape": [3], "mtime": None})


def changed(path: str, etag: str = "v1", *, info: bytes = INFO) -> Changed:
    return Changed(Found(path, etag, Stamp(7, 1, 10, 2_000_000_000, 2_000_000_000)), 7, Kind.ARRAY, 24, info)


def reopen(statedir: Path, root: str = "foo", source: str = "/data") -> Catalog:
    return Catalog.open(statedir, root=root, source=source)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    opened = reopen(tmp_path / "state")
    yield opened
    opened.close()


def test_n5_a_change_gets_the_next_number_and_waits_in_the_outbox(catalog: Catalog) -> None:
    catalog.apply([changed("a.b2nd"), changed("b.b2nd")])
    catalog.apply([changed("a.b2nd", "v2"), Removed("b.b2nd")])
    events = catalog.pending(10)
    assert [(e.seq, e.operation, e.path, e.etag) for e in events] == [
        (1, Operation.CHANGED, "a.b2nd", "v1"),
        (2, Operation.CHANGED, "b.b2nd", "v1"),
        (3, Operation.CHANGED, "a.b2nd", "v2"),
        (4, Operation.REMOVED, "b.b2nd", None),
    ]
    assert catalog.identity.seq == 4
    assert events[0].info == orjson.loads(INFO)


def test_what_is_known_already_is_no_change(catalog: Catalog) -> None:
    catalog.apply([changed("a.b2nd")])
    assert catalog.apply([changed("a.b2nd"), Removed("never-there")]) == []
    assert catalog.identity.seq == 1


def test_n5_a_path_that_changes_often_in_one_batch_ends_as_it_was_last(catalog: Catalog) -> None:
    often = [changed("a.b2nd"), Removed("a.b2nd"), changed("b.b2nd"), changed("b.b2nd", "v2"), changed("a.b2nd", "v3")]
    assert catalog.apply([*often, Removed("b.b2nd"), Removed("b.b2nd")]) == [*often, Removed("b.b2nd")]
    entry = catalog.get("a.b2nd")
    assert entry is not None
    assert (entry.etag, entry.seq, catalog.paths(), catalog.identity.seq) == ("v3", 5, ["a.b2nd"], 6)
    assert [(event.seq, event.path, event.etag) for event in catalog.pending(10)] == [
        (1, "a.b2nd", "v1"),
        (2, "a.b2nd", None),
        (3, "b.b2nd", "v1"),
        (4, "b.b2nd", "v2"),
        (5, "a.b2nd", "v3"),
        (6, "b.b2nd", None),
    ]


def test_the_size_of_a_root_is_that_of_its_present_entries(catalog: Catalog) -> None:
    assert catalog.totals() == Totals(0, 0)
    catalog.apply([changed("a.b2nd"), changed("b.b2nd")], announce_each=False)
    assert catalog.totals() == Totals(2, 48)
    catalog.apply([Removed("a.b2nd")])
    assert catalog.totals() == catalog.totals() == Totals(1, 24)


def test_n5_events_stay_until_they_are_sent_over_restarts(tmp_path: Path) -> None:
    first = reopen(tmp_path)
    first.apply([changed("a.b2nd"), changed("b.b2nd")])
    first.sent(first.pending(1))
    identity = first.identity
    first.close()
    second = reopen(tmp_path)
    assert [event.path for event in second.pending(10)] == ["b.b2nd"]
    assert second.identity == identity
    second.close()


def test_many_changes_are_announced_as_one_and_stand_for_what_waits(catalog: Catalog) -> None:
    catalog.apply([changed("waits.b2nd")])
    catalog.apply([changed(f"{i}.b2nd") for i in range(20)], announce_each=False)
    (event,) = catalog.pending(10)
    assert (event.operation, event.seq, event.path) == (Operation.MANIFEST, 22, "")


def test_an_outbox_that_cannot_be_sent_stays_small(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OUTBOX", 5)
    for number in range(20):
        catalog.apply([changed("a.b2nd", f"v{number}")])
    assert catalog.depth() <= 6
    assert catalog.pending(10)[0].operation == Operation.MANIFEST


def test_an_info_that_does_not_fit_into_a_message_is_left_to_the_publisher(catalog: Catalog) -> None:
    catalog.apply([changed("a.b2nd", info=orjson.dumps({"vlmeta": {"long": "x" * 70_000}}))])
    assert catalog.pending(1)[0].info is None


def test_a_snapshot_is_one_state_whatever_happens_meanwhile(catalog: Catalog) -> None:
    catalog.apply([changed("b.b2nd"), changed("a.b2nd")])
    with catalog.snapshot(online=True) as (header, entries):
        catalog.apply([Removed("a.b2nd"), changed("c.b2nd")])
        lines = [ManifestEntry.model_validate_json(entry.manifest_line()) for entry in entries]
    assert (header.seq, header.count) == (2, 2)
    assert [(line.path, line.seq, line.mtime) for line in lines] == [("a.b2nd", 2, 2.0), ("b.b2nd", 1, 2.0)]
    assert lines[0].info == orjson.loads(INFO)


def test_a_comparison_finds_what_is_new_changed_and_missing(catalog: Catalog) -> None:
    catalog.apply([changed("same"), changed("other"), changed("gone")])
    with catalog.compare() as comparison:
        other, new = changed("other", "v2").found, changed("new").found
        assert comparison.changed([changed("same").found, other]) == [other]
        assert comparison.changed([new]) == [new]
        assert comparison.missing() == [("gone", 7)]


def test_below_takes_the_path_and_what_is_in_it_but_no_namesakes(catalog: Catalog) -> None:
    catalog.apply([changed(path) for path in ("d", "d/a", "d/sub/b", "d.b2nd", "d0", "e")])
    assert sorted(path for path, _ in catalog.below("d")) == ["d", "d/a", "d/sub/b"]


def test_f21_a_state_directory_has_one_publisher(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="another publisher uses the state directory"):
        reopen(tmp_path / "state")


@pytest.mark.parametrize(("root", "source"), [("bar", "/data"), ("foo", "/other")])
def test_another_root_begins_a_new_epoch(tmp_path: Path, root: str, source: str) -> None:
    first = reopen(tmp_path)
    first.apply([changed("a.b2nd")])
    before = first.identity
    first.close()
    second = reopen(tmp_path, root, source)
    assert second.identity.publisher == before.publisher
    assert second.identity.epoch != before.epoch
    assert (second.identity.seq, second.paths(), second.depth()) == (0, [], 0)
    second.close()


def test_a_broken_index_is_kept_aside_and_a_new_epoch_begins(tmp_path: Path) -> None:
    (tmp_path / module.FILE).write_bytes(b"this is not a database" * 400)
    opened = reopen(tmp_path)
    assert opened.identity.seq == 0
    assert [file.name for file in tmp_path.glob("index.sqlite.broken-*")]
    opened.close()


def test_a_full_disk_changes_nothing_and_is_said(catalog: Catalog, tmp_path: Path) -> None:
    catalog.apply([changed("a.b2nd")])
    (pages,) = catalog._writer.execute("PRAGMA page_count").fetchone()
    catalog._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFailed, match="full"):
        catalog.apply([changed(f"{i}.b2nd", info=b"x" * 5000) for i in range(50)])
    assert (catalog.identity.seq, catalog.paths()) == (1, ["a.b2nd"])
    catalog._writer.execute("PRAGMA max_page_count = 1000000")
    assert len(catalog.apply([changed("b.b2nd")])) == 1


def test_a_state_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="cannot be used"):
        reopen(tmp_path / "file" / "state")


def test_an_index_of_a_newer_publisher_is_left_alone(tmp_path: Path) -> None:
    reopen(tmp_path).close()
    with sqlite3.connect(tmp_path / module.FILE) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StorageFailed, match="newer"):
        reopen(tmp_path)
