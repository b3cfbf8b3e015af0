"""Which new passwords are accepted (A1)."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caterva2.errors import BadRequest, WeakPassword
from caterva2_subscriber.auth.password_rules import HashedList, PasswordRules, open_list
from caterva2_subscriber.auth.settings import PasswordSettings

RULES = PasswordRules.of(PasswordSettings())


@pytest.mark.parametrize(
    "password",
    [
        "elevenchars",
        "x" * 129,
        "abababababab",
        "abcdabcdabcdab",
        "Password2026!",
        "password1234567",
        "Administrator1!",
        "qwertyuiopas",
        "1q2w3e4r5t6y",
        "987654321098",
        "abcdefghijkl",
        "ada.lovelace",
        "Ada.Lovelace@example.org",
    ],
)
def test_a1_passwords_that_are_easy_to_guess_are_refused(password: str) -> None:
    with pytest.raises(WeakPassword):
        RULES.check(password, "ada.lovelace@example.org")


@pytest.mark.parametrize(
    "password",
    ["correct horse battery", "tr0ub4dor&3-tr0", "caterva2-demo", "twelve chars", "とても長いパスワードです。"],
)
def test_a1_long_passwords_of_any_kind_are_accepted(password: str) -> None:
    RULES.check(password, "ada.lovelace@example.org")


def test_a1_the_shortest_length_is_a_setting() -> None:
    PasswordRules.of(PasswordSettings(min_length=8)).check("foobar11", "ada@example.org")


def test_a1_an_administrator_may_give_shorter_ones_as_scripts_for_the_original_do() -> None:
    RULES.check("foobar11", "ada@example.org", given=True)
    for password in ("foobar1", "password1", "abababab"):
        with pytest.raises(WeakPassword):
            RULES.check(password, "ada@example.org", given=True)


def test_a1_a_list_of_passwords_in_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("hunter2hunter2\n  \ncorrect horse battery\r\n")
    rules = PasswordRules.of(PasswordSettings(breached=path))
    for password in ("correct horse battery", "Correct Horse Battery"):
        with pytest.raises(WeakPassword, match="list"):
            rules.check(password, "")
    rules.check("correct horse battery staple", "")


@given(
    st.sets(st.text(st.characters(codec="utf-8"), max_size=20), max_size=60), st.sampled_from(["\n", ":17\n", ":3\r\n"])
)
def test_a1_every_password_of_a_sorted_list_of_hashes_is_found_and_no_other(words: set[str], end: str) -> None:
    listed = sorted(words)[::2]
    hashes = sorted(hashlib.sha1(word.encode()).hexdigest().upper() for word in listed)
    with _temporary("".join(digest + end for digest in hashes)) as path:
        found = HashedList(path)
        assert {word for word in words if found.holds(word)} == set(listed)


@contextlib.contextmanager
def _temporary(content: str) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content.encode())
        file.flush()
        yield Path(file.name)


def test_a1_hashes_are_recognised_and_a_list_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "hashes"
    path.write_text("0" * 40 + ":1\n")
    assert isinstance(open_list(path), HashedList)
    with pytest.raises(BadRequest, match="cannot be read"):
        PasswordRules.of(PasswordSettings(breached=tmp_path / "none"))
