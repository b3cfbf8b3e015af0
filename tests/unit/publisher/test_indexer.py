"""Comparing real directories with a real index."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from caterva2.errors import DatasetNotFound, StorageFailed, Unavailable
from caterva2.events import Operation
from caterva2_formats.directory import DirectoryRoot
from caterva2_publisher import indexer as module
from caterva2_publisher.catalog import Catalog
from caterva2_publisher.indexer import Indexer, Sight
from caterva2_publisher.tree import Tree


class Site:
    """A directory with files and an index of it, that can be reopened as after a restart."""

    def __init__(self, place: Path, count: int) -> None:
        self.root = place / "root"
        self.statedir = place / "state"
        self.root.mkdir()
        for number in range(count):
            (self.root / f"{number:03}.txt").write_text(str(number))
        self.age()
        self.sights: list[Sight] = []
        self.catalog: Catalog | None = None
        self.start()
        self.indexer.reconcile()

    def age(self) -> None:
        """Let the files be at rest, as far as a tick of the clock goes."""
        time.sleep(0.02)

    def start(self, *, confirm_removals: bool = False) -> None:
        self.stop()
        self.catalog = Catalog.open(self.statedir, root="foo", source=str(self.root))
        self.indexer = Indexer(
            DirectoryRoot(self.root),
            Tree(self.root),
            self.catalog,
            settle_s=0.2,
            confirm_removals=confirm_removals,
            on_sight=self.sights.append,
        )

    def stop(self) -> None:
        if self.catalog is not None:
            self.catalog.close()

    def count(self) -> int:
        assert self.catalog is not None
        return self.catalog.totals().ndatasets


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, 30)
    yield site
    site.stop()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let second looks decide at once."""
    monkeypatch.setattr(module, "CONFIRM_S", 0.05)


def test_a_first_walk_finds_everything_and_a_second_nothing(site: Site) -> None:
    assert site.count() == 30
    assert site.indexer.reconcile().changes == 0


def test_a_walk_finds_what_no_hint_named(site: Site) -> None:
    (site.root / "000.txt").write_text("changed")
    (site.root / "001.txt").unlink()
    (site.root / "new.txt").write_text("new")
    site.age()
    assert site.indexer.reconcile().changes == 3
    assert site.count() == 30


def test_more_changes_than_many_are_one_event(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MANY_CHANGES", 5)
    assert site.catalog is not None
    site.catalog.sent(site.catalog.pending(100))
    for number in range(6):
        (site.root / f"{number:03}.txt").write_text("changed")
    site.age()
    site.indexer.reconcile()
    assert [event.operation for event in site.catalog.pending(100)] == [Operation.MANIFEST]


def test_f18_a_missing_root_is_offline_and_comes_back(site: Site) -> None:
    aside = site.root.rename(site.root.with_name("aside"))
    assert site.indexer.reconcile().changes == 0
    assert not site.indexer.sight.online
    site.indexer.look(["000.txt"])
    assert site.count() == 30
    aside.rename(site.root)
    site.indexer.reconcile()
    assert [sight.online for sight in site.sights] == [False, True]
    assert site.count() == 30


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("restart", [False, True])
def test_f18_an_empty_directory_in_its_place_removes_nothing_however_long(site: Site, *, restart: bool) -> None:
    site.root.rename(site.root.with_name("aside"))
    site.root.mkdir()
    if restart:
        site.start()
    for _ in range(4):
        assert site.indexer.reconcile().changes == 0
        time.sleep(0.03)
    assert (site.count(), site.indexer.sight.online) == (30, False)
    assert "--confirm-removals" in site.indexer.sight.reason
    site.root.rmdir()
    site.root.with_name("aside").rename(site.root)
    site.indexer.reconcile()
    assert (site.count(), site.indexer.sight.online) == (30, True)


def test_f18_an_operator_can_confirm_that_all_is_gone(site: Site) -> None:
    site.root.rename(site.root.with_name("aside"))
    site.root.mkdir()
    site.start(confirm_removals=True)
    assert site.indexer.reconcile().changes == 30
    assert (site.count(), site.indexer.sight.online) == (0, True)


@pytest.mark.usefixtures("soon")
def test_f18_most_of_a_root_is_removed_only_after_a_second_look(site: Site) -> None:
    for number in range(25):
        (site.root / f"{number:03}.txt").unlink()
    outcome = site.indexer.reconcile()
    assert (outcome.changes, site.count()) == (0, 30)
    assert outcome.reconcile_in_s is not None
    time.sleep(outcome.reconcile_in_s)
    assert site.indexer.reconcile().changes == 25
    assert site.count() == 5


def test_f18_a_second_look_that_sees_the_files_again_removes_nothing(site: Site) -> None:
    hidden = site.root.with_name("hidden")
    hidden.mkdir()
    for number in range(25):
        (site.root / f"{number:03}.txt").rename(hidden / f"{number:03}.txt")
    assert site.indexer.reconcile().changes == 0
    for file in hidden.iterdir():
        file.rename(site.root / file.name)
    site.age()
    site.indexer.reconcile()
    assert site.count() == 30
    assert site.indexer._doubt_since is None


def test_a_few_files_are_removed_at_once_even_if_they_were_all(tmp_path: Path) -> None:
    site = Site(tmp_path, 3)
    for file in site.root.iterdir():
        file.unlink()
    assert site.indexer.reconcile().changes == 3
    site.stop()


def test_an_unreadable_file_system_is_not_a_removal(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def device(self: Tree, path: str) -> int:
        return 4242  # as if the directory were on the file system below an unmounted one

    (site.root / "000.txt").unlink()
    monkeypatch.setattr(Tree, "device", device)
    assert site.indexer.reconcile().changes == 0
    assert site.count() == 30


def test_a_file_that_is_written_is_waited_for(site: Site) -> None:
    with (site.root / "growing.txt").open("w") as file:
        file.write("a")
        file.flush()
        site.age()
        outcome = site.indexer.look(["growing.txt"])
        assert (outcome.changes, list(outcome.again)) == (0, ["growing.txt"])
        with pytest.raises(Unavailable, match="being written"):
            site.indexer.present("growing.txt")
    site.age()
    assert site.indexer.look((), ["growing.txt"]).changes == 1


def test_present_is_the_present_version(site: Site) -> None:
    before = site.indexer.present("000.txt")
    (site.root / "000.txt").write_text("another")
    site.age()
    after = site.indexer.present("000.txt")
    assert (after.etag != before.etag, after.nbytes) == (True, 7)
    (site.root / "000.txt").unlink()
    with pytest.raises(DatasetNotFound):
        site.indexer.present("000.txt")
    with pytest.raises(DatasetNotFound):
        site.indexer.present("never.txt")


def test_present_is_the_last_known_version_while_the_root_is_away(site: Site) -> None:
    before = site.indexer.present("000.txt")
    site.root.rename(site.root.with_name("aside"))
    assert site.indexer.present("000.txt") == before


def test_f9_a_full_state_directory_loses_no_change(site: Site) -> None:
    assert site.catalog is not None
    (pages,) = site.catalog._writer.execute("PRAGMA page_count").fetchone()
    site.catalog._writer.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(200):
        (site.root / f"more-{number}-{'x' * 150}.txt").write_text("x")
    site.age()
    with pytest.raises(StorageFailed):
        site.indexer.reconcile()
    assert len(site.catalog.paths()) == site.count()
    site.catalog._writer.execute("PRAGMA max_page_count = 1000000")
    site.indexer.reconcile()
    assert site.count() == 230


def test_a_walk_stops_soon_when_told(site: Site) -> None:
    (site.root / "late.txt").write_text("late")
    site.indexer.stop()
    assert site.indexer.reconcile().changes == 0
