"""Requirement U7: names."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caterva2 import paths
from caterva2.errors import InvalidName


@pytest.mark.parametrize(
    "path",
    [
        *[
            "..",
            "a/../b",
            "/etc/passwd",
            "a\\b",
            "a\0b",
            "a\nb",
            "a\u202eb",
            "a\u200bb",
            " a",
            "a ",
            "a.",
            "con",
            "LPT1.txt",
        ],
        *[".cat2x", "x.tmp", "a" * 256, "/".join("a" * 40), "é" * 600, "", ".", "\ud800"],
    ],
)
def test_u7_dangerous_paths_are_refused(path: str) -> None:
    with pytest.raises(InvalidName):
        paths.check_path(path)


def test_u7_paths_are_made_canonical() -> None:
    assert paths.check_path("a//b/./c/") == "a/b/c"
    assert paths.check_path("e\u0301.b2nd") == "\u00e9.b2nd"
    assert paths.check_path("name with space, ünïcode #?%!.b2nd") == "name with space, ünïcode #?%!.b2nd"


@pytest.mark.parametrize("root", ["@publicx", "Foo", "", "-a", "a" * 64, "a/b", "a.b", "@"])
def test_u7_root_names_are_checked(root: str) -> None:
    with pytest.raises(InvalidName):
        paths.check_root(root)


def test_split_gives_root_and_path() -> None:
    assert paths.split("foo/dir/ds.b2nd") == ("foo", "dir/ds.b2nd")
    assert paths.split("@public") == ("@public", "")
    assert paths.split("foo/") == ("foo", "")


_pieces = st.sampled_from(
    [
        "a",
        "B9",
        ".",
        "..",
        "/",
        "//",
        "-",
        "+",
        "_",
        " ",
        ".tmp",
        ".TMP",
        "x.tmp",
        "con",
        "NUL",
        "com1",
        ".b2nd",
        "é",
        "~",
    ]
)


@given(st.lists(_pieces, max_size=12).map("".join))
def test_u7_plain_paths_are_judged_as_all_others_are(path: str) -> None:
    def outcome() -> str:
        try:
            return paths.check_path(path)
        except InvalidName:
            return "refused"

    found = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "_PLAIN_PATH", re.compile(r"(?!)"))
        assert outcome() == found


def test_u7_a_long_name_is_judged_in_no_time() -> None:
    for path in ("a" * 255 + "!", "/".join(["a" * 32] * 31) + "!", "-" * 1000):
        with contextlib.suppress(InvalidName):
            paths.check_path(path)
