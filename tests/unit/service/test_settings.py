"""Settings: precedence, sections, and one clear line for whatever is wrong (reference behaviour 4)."""

from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict

from caterva2_service.settings import Address, Option, ServiceSettings, load_settings


class Cache(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: int = 1
    tiers: tuple[str, ...] = ()


class Settings(ServiceSettings):
    default_statedir: ClassVar[str] = "_caterva2/pub"
    foreign_keys: ClassVar[frozenset[str]] = frozenset({"url"})

    http: Annotated[Address, Option("where to listen")] = Address("localhost", 8001)
    name: Annotated[str | None, Option("name of the root", positional=True)] = None
    broker: Annotated[Address, Option("the broker", toml="broker.http")] = Address("localhost", 8000)
    login: Annotated[bool, Option("whether people log in")] = True
    cache: Cache = Cache()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(*argv: str) -> Settings:
    return load_settings(Settings, argv, prog="cat2test", section="publisher", description="Test.")


def configure(text: str) -> None:
    Path("caterva2.toml").write_text(text)


def complaint(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Return the one line with which a start is refused."""
    with pytest.raises(SystemExit) as end:
        load(*argv)
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("cat2test: ")
    assert said.count("\n") == 1
    return said


def test_the_command_line_wins_over_environment_file_and_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().http == Address("localhost", 8001)
    configure('[publisher]\nhttp = "localhost:1"\n')
    assert load().http.port == 1
    monkeypatch.setenv("CATERVA2_HTTP", "localhost:2")
    assert load().http.port == 2
    assert load("--http", "localhost:3").http.port == 3


def test_an_identifier_selects_section_and_state_directory() -> None:
    configure('[publisher]\nname = "plain"\n[publisher.foo]\nname = "bar"\n')
    assert (load().name, load().statedir) == ("plain", Path("_caterva2/pub"))
    chosen = load("--id", "foo")
    assert (chosen.name, chosen.statedir) == ("bar", Path("_caterva2/pub.foo"))
    assert load("--id", "other").name is None


def test_the_broker_is_found_in_its_own_section() -> None:
    configure('[broker]\nhttp = "bro.example.org:80"\nstatedir = "x"\n')
    assert load().broker.host == "bro.example.org"
    configure('[broker]\nhttp = "bro.example.org:80"\n[publisher]\nbroker = "other:81"\n')
    assert load().broker.host == "other"


def test_nested_settings_come_from_their_section_and_their_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    configure('[cache]\nsize = 2\ntiers = ["a"]\n[nats]\nurl = "nats://one:4222"\n')
    assert load().cache == Cache(size=2, tiers=("a",))
    assert load().nats.url == "nats://one:4222"
    monkeypatch.setenv("CATERVA2_CACHE_SIZE", "3")
    monkeypatch.setenv("CATERVA2_CACHE_TIERS", "x, y")
    assert load().cache == Cache(size=3, tiers=("x", "y"))


def test_options_may_be_abbreviated_and_switched_off() -> None:
    given = load("--logl", "INFO", "--no-login", "foo")
    assert (given.loglevel, given.login, given.name) == ("info", False, "foo")


def test_a_dotenv_file_is_read_below_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("CATERVA2_LOGLEVEL=debug\nCATERVA2_HTTP=localhost:5\n")
    monkeypatch.setenv("CATERVA2_HTTP", "localhost:6")
    given = load()
    assert (given.loglevel, given.http.port) == ("debug", 6)


def test_a19_a_password_comes_from_a_file_and_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("secret").write_text("hush\n")
    monkeypatch.setenv("CATERVA2_NATS_PASSWORD_FILE", "secret")
    assert load().nats.secret() == "hush"
    monkeypatch.delenv("CATERVA2_NATS_PASSWORD_FILE")
    monkeypatch.setenv("CATERVA2_NATS_PASSWORD", "hush")
    assert load().nats.secret() == "hush"
    assert "hush" not in repr(load())


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ('[publisher]\nhtpp = "x"', "[publisher] has no setting 'htpp'; did you mean 'http'?"),
        ("[cache]\nsizze = 1", "[cache] has no setting 'sizze'; did you mean 'size'?"),
        ('[publisher]\nhttp = "localhost:x"', "the port must be a number"),
        ("[publisher\n", "caterva2.toml: "),
        ("publisher = 3", "'publisher' must be a section"),
        ('[cache]\nsize = "big"', "cache.size: "),
        ('[publisher]\nloglevel = "loud"', "'loud' is not one of debug"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line(
    file: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(file)
    assert expected in complaint(capsys)


@pytest.mark.parametrize("given", ["a.b", "..", "a/b"])
def test_an_identifier_that_would_leave_the_state_directory_is_refused(
    given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "not a valid identifier" in complaint(capsys, "--id", given)


def test_a_configuration_file_that_was_named_must_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no such file" in complaint(capsys, "--conf", "nowhere.toml")


def test_an_unknown_option_is_an_error_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        load("--htpp", "x")
    assert end.value.code == 2
    assert "unrecognized" in capsys.readouterr().err


def test_keys_that_other_programs_read_are_no_error() -> None:
    configure('[publisher]\nurl = "http://localhost:8002"\n')
    assert load().http.port == 8001
