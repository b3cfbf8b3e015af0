"""Finding and browsing in summaries."""

from __future__ import annotations

import pytest

from caterva2.errors import NotAContainer, NotFound
from caterva2.wire import Kind
from caterva2_subscriber.search import browse, matching, page_of
from caterva2_subscriber.summary import Summary, summarize


def _array(path: str, shape: list[int], dtype: str = "float32", **attributes: object) -> Summary:
    info = {"shape": shape, "dtype": dtype, "schunk": {"vlmeta": attributes}}
    return summarize(path, Kind.ARRAY, "v1", 0.0, info, 100)


SUMMARIES = sorted(
    [
        _array("lab/beam/current.b2nd", [2000], units="mA"),
        _array("lab/images/flat.b2nd", [1030, 1065], "uint16"),
        _array("lab/images/table.b2nd", [50], "[('a', '<i4')]"),
        summarize("lab/README.md", Kind.FILE, "v1", None, {"vlmeta": {}}, 20),
        summarize("lab/sum.b2nd", Kind.ARRAY, "v1", None, {"shape": [5], "dtype": "int64", "expression": "a + 1"}, 40),
    ],
    key=lambda summary: summary.path,
)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("", 5),
        ("lab images", 2),
        ("1030x1065", 1),
        ("uint16 flat", 1),
        ("units=ma", 1),
        ("LAZY a + 1", 1),
        ("flat current", 0),
    ],
)
def test_every_word_must_be_found_in_path_type_shape_or_attributes(words: str, found: int) -> None:
    assert len(matching(SUMMARIES, words, "")) == found


def test_kinds_are_told_apart() -> None:
    def names(kind: str) -> list[str]:
        return [summary.path.rpartition("/")[2] for summary in matching(SUMMARIES, "", kind)]  # type: ignore[arg-type]

    assert names("1d") == ["current.b2nd", "sum.b2nd"]
    assert names("2d") == ["flat.b2nd"]
    assert names("table") == ["table.b2nd"]
    assert names("file") == ["README.md"]
    assert names("nd") == []


def test_folders_count_what_is_below_them() -> None:
    folders, entries = browse(SUMMARIES, "lab")
    assert [(folder.name, folder.count, folder.nbytes) for folder in folders] == [("beam", 1, 100), ("images", 2, 200)]
    assert [entry.path for entry in entries] == ["lab/README.md", "lab/sum.b2nd"]


def test_a_file_is_no_folder_and_nothing_is_nothing() -> None:
    with pytest.raises(NotAContainer):
        browse(SUMMARIES, "lab/README.md")
    with pytest.raises(NotFound):
        browse(SUMMARIES, "lab/other")


def test_names_that_sort_around_a_folder_are_not_taken_for_its_content() -> None:
    names = ["run-1/a", "run.txt", "run/a", "run/b/c", "run0/a", "run/d", "runs"]
    summaries = sorted((_array(f"lab/{name}", [1]) for name in names), key=lambda summary: summary.path)
    folders, entries = browse(summaries, "lab")
    assert [(folder.name, folder.count) for folder in folders] == [("run", 3), ("run-1", 1), ("run0", 1)]
    assert [entry.path for entry in entries] == ["lab/run.txt", "lab/runs"]
    folders, entries = browse(summaries, "lab/run")
    assert [folder.name for folder in folders] == ["b"]
    assert [entry.path for entry in entries] == ["lab/run/a", "lab/run/d"]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 100])
def test_pages_follow_each_other_without_a_gap(limit: int) -> None:
    summaries = [_array(f"lab/{number}", [1]) for number in range(6)]
    seen: list[Summary] = []
    after: str | None = ""
    pages = 0
    while after is not None:
        page, after = page_of(summaries, after, limit)
        seen += page
        pages += 1
    assert seen == summaries
    assert pages == -(-6 // limit)
    assert page_of(summaries, "lab/2", 2)[0] == summaries[3:5]
    assert page_of([], "", 5) == ([], None)
