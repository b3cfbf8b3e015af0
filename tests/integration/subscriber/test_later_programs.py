"""``cat2-server`` and ``cat2-admin``: the programs of later releases, with their options, files and outputs."""

from __future__ import annotations

import sys
import tomllib
from importlib import import_module
from pathlib import Path

import httpx
import pytest

from caterva2_service.settings import Address
from caterva2_subscriber import later
from tests.support.ports import free_port
from tests.support.processes import Process, wait_until

PYPROJECT = Path(__file__).parents[3] / "services" / "subscriber" / "pyproject.toml"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()


def settings(*argv: str) -> later.ServerSettings:
    return later._settings(argv, later.SERVER, "")


def test_a_section_server_is_read_with_its_keys(tmp_path: Path) -> None:
    plain = settings()
    assert (str(plain.http), plain.statedir, plain.broker) == ("localhost:8000", Path("_caterva2/state"), None)
    (tmp_path / "home" / ".caterva2-server.toml").write_text('[server]\nlisten = "localhost:9001"\n')
    assert settings().http == Address("localhost", 9001)
    (tmp_path / "caterva2-server.toml").write_text(
        '[server]\nlisten = "localhost:9000"\nurlbase = "https://data.example.org"\nquota = "10G"\n'
        'maxusers = 5\nlogin = true\nregister = true\nstatedir = "state"\nloglevel = "info"\n'
    )
    found = settings()
    assert (found.http.port, found.urlbase, found.quota) == (9000, "https://data.example.org", 10 * 2**30)
    assert (found.maxusers, found.register, found.statedir) == (5, True, Path("state"))
    assert settings("--listen", "localhost:9002").http.port == 9002


def test_a_wrong_key_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "caterva2-server.toml").write_text("[server]\nmaxuser = 5\n")
    with pytest.raises(SystemExit) as end:
        settings()
    assert end.value.code == 1
    assert "did you mean 'maxusers'" in capsys.readouterr().err


def test_programs_of_the_package_are_there() -> None:
    scripts = tomllib.loads(PYPROJECT.read_text())["project"]["scripts"]
    assert {"cat2sub", "cat2adduser", "cat2-server", "cat2-admin"} == scripts.keys()
    for entry in scripts.values():
        module, _, function = entry.partition(":")
        assert callable(getattr(import_module(module), function))


def test_a_server_answers_the_user_whom_admin_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    (tmp_path / "caterva2-server.toml").write_text(f'[server]\nlisten = "localhost:{port}"\nstatedir = "state"\n')
    assert later.admin_main(["adduser", "ada@example.com", "a-long-password", "-S"]) == 0
    assert capsys.readouterr().out == "User 'ada@example.com' added successfully.\nPassword: a-long-password\n"
    assert later.admin_main(["adduser", "ada@example.com", "another-password"]) == 1
    assert capsys.readouterr().err.startswith("cat2-admin: ")
    (tmp_path / "serve.py").write_text("from caterva2_subscriber.later import server_main\nserver_main()\n")
    env = {"CATERVA2_SECRET": "only-for-tests-" * 4, "HOME": str(tmp_path / "home")}
    server = Process([Path(sys.executable).name, "serve.py"], log_path=tmp_path / "log", cwd=tmp_path, env=env)
    with server.start(), httpx.Client(base_url=f"http://localhost:{port}", trust_env=False) as client:

        def ready() -> bool:
            assert server.running, server.output
            try:
                return client.get("/readyz").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(ready, timeout_s=60, what="the server is ready")
        login = {"username": "ada@example.com", "password": "a-long-password"}
        assert client.post("/auth/jwt/login", data=login).status_code == 204
        assert "@public" in client.get("/api/roots").json()
