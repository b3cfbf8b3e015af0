"""Settings and command line of ``cat2pub``."""

from __future__ import annotations

from pathlib import Path

import pytest

from caterva2_publisher.settings import PublisherSettings
from caterva2_service.settings import load_settings


def load(*argv: str) -> PublisherSettings:
    return load_settings(PublisherSettings, argv, prog="cat2pub", section="publisher", description="")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults_are_those_of_the_original() -> None:
    settings = load("foo")
    assert (settings.name, str(settings.root), str(settings.statedir)) == ("foo", "data", "_caterva2/pub")
    assert (str(settings.http), str(settings.broker), settings.address) == (
        "localhost:8001",
        "localhost:8000",
        "localhost:8001",
    )


def test_sections_by_identifier_and_the_broker_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "caterva2.toml").write_text(
        '[broker]\nhttp = "bro:1"\n[publisher]\nname = "plain"\n'
        '[publisher.lab]\nname = "lab"\nroot = "/data/lab"\nhttp = "*:9001"\nsettle = 1.5\naccess = "group:lab"\n'
    )
    settings = load("--id", "lab")
    assert (settings.name, str(settings.root), str(settings.broker)) == ("lab", "/data/lab", "bro:1")
    assert (settings.settle, settings.access, str(settings.statedir)) == (1.5, "group:lab", "_caterva2/pub.lab")
    assert settings.address.endswith(":9001")
    assert not settings.address.startswith("*")
    assert load().name == "plain"
    assert load("--id", "lab", "other", "--advertise", "pub.example:80").address == "pub.example:80"


def test_a_socket_is_told_by_its_absolute_path(tmp_path: Path) -> None:
    assert load("foo", "--http", "run/pub.sock").address == str(tmp_path / "run/pub.sock")


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        ((), "name"),
        (("Foo",), "cannot name a root"),
        (("@public",), "cannot be published"),
        (("foo", "--access", "everybody"), "is not public, users or group"),
        (("foo", "--broker", "bro:x"), "port"),
    ],
)
def test_wrong_settings_are_one_line(argv: tuple[str, ...], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        load(*argv)
    said = capsys.readouterr().err
    assert stopped.value.code == 1
    assert word in said
    assert said.count("\n") == 1
