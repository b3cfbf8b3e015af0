from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from caterva2_service.settings import load_settings
from caterva2_subscriber.settings import SubscriberSettings, parse_size


def load(*argv: str) -> SubscriberSettings:
    return load_settings(SubscriberSettings, argv, prog="cat2sub", section="subscriber", description="test")


@pytest.mark.parametrize(
    ("text", "nbytes"), [("10G", 10 * 2**30), ("1.5M", 3 * 2**19), ("512", 512), ("2 KiB", 2048), ("1T", 2**40)]
)
def test_sizes_use_powers_of_1024(text: str, nbytes: int) -> None:
    assert parse_size(text) == nbytes


@pytest.mark.parametrize("text", ["", "ten", "-1G", "1X", "1e3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_the_sections_of_the_original_keep_their_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "caterva2.toml").write_text(
        '[broker]\nhttp = "localhost:9000"\n'
        '[subscriber]\nhttp = "localhost:9002"\nquota = "10G"\nurl = "http://else:1"\n'
        '[subscriber.b]\nhttp = "localhost:9003"\nregister = true\n'
        '[cache]\nsize = "1G"\nshares = {foo = "100M"}\n'
    )
    plain = load()
    assert (plain.broker and plain.broker.port, plain.http.port, plain.quota) == (9000, 9002, 10 * 2**30)
    assert (plain.statedir, plain.cache.size, plain.cache.shares) == (
        Path("_caterva2/sub"),
        2**30,
        {"foo": 100 * 2**20},
    )
    other = load("--id", "b")
    assert (other.http.port, other.statedir, other.register) == (9003, Path("_caterva2/sub.b"), True)
    assert load("--http", "localhost:1").http.port == 1


def test_a_cache_setting_of_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "caterva2.toml").write_text('[cache]\nsize = "1G"\n')
    monkeypatch.setenv("CATERVA2_CACHE_SIZE", "2G")
    assert load().cache.size == 2 * 2**30


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("[subscriber]\nregistr = true\n", "did you mean 'register'"),
        ('[cache]\nsize = "many"\n', "is not a size"),
        ("[cache]\nsizes = 1\n", "did you mean 'size'"),
        ("[subscriber]\nlogin = false\nregister = true\n", "register = true needs login = true"),
    ],
)
def test_a_wrong_or_unknown_setting_stops_the_start_with_one_line(
    body: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "caterva2.toml").write_text(body)
    with pytest.raises(SystemExit) as stopped:
        load()
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        SubscriberSettings().demo = True  # type: ignore[misc]
