"""Several subscribers of one site behind one address: one database, one directory of users' files, caches apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.processes import environment, run, wait_until
from tests.support.site import PASSWORD, USER, Site


@pytest.fixture
def replicas(tmp_path: Path, postgres_url: str) -> Iterator[Site]:
    """Two subscribers of one site."""
    shared = {"CATERVA2_DATABASE_URL": postgres_url, "CATERVA2_SPACES_DIRECTORY": str(tmp_path / "spaces")}
    with Site(tmp_path / "site", login=True, env=shared) as site:
        site.new_subscriber()
        site.ensure_running()
        added = run(["cat2adduser", USER, PASSWORD], env=environment(shared), cwd=tmp_path)
        assert added.returncode == 0, added.stderr
        yield site


def test_what_is_uploaded_at_one_subscriber_is_there_at_the_other(replicas: Site, tmp_path: Path) -> None:
    first, second = replicas.client(user=True), replicas.client(user=True, subscriber=1)
    (tmp_path / "notes.txt").write_text("for both")
    first.upload(tmp_path / "notes.txt", "@personal/notes.txt")
    assert second.get_list("@personal") == ["notes.txt"]
    assert second.download("@personal/notes.txt", tmp_path / "got.txt").read_text() == "for both"
    second.remove("@personal/notes.txt")
    assert first.get_list("@personal") == []


def test_a_session_counts_at_every_subscriber_and_ends_at_all_of_them(replicas: Site) -> None:
    first, second = (httpx.Client(base_url=each.url, trust_env=False) for each in replicas.subscribers)
    with first, second:
        login = first.post("/auth/jwt/login", data={"username": USER, "password": PASSWORD})
        cookie = {"Cookie": login.headers["set-cookie"].partition(";")[0]}
        assert second.get("/api/list/@personal", headers=cookie).json() == []
        assert first.post("/auth/jwt/logout", headers=cookie).is_success

        def ended() -> bool:
            return second.get("/api/list/@personal", headers=cookie).is_client_error

        wait_until(ended, timeout_s=30, what="the session ended at the other subscriber too")


def test_nothing_of_the_users_is_in_a_subscribers_own_directory(replicas: Site, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    replicas.client(user=True).upload(tmp_path / "a.txt", "@shared/a.txt")
    assert [path for path in (tmp_path / "spaces" / "shared").rglob("*") if path.is_file()]
    for subscriber in replicas.subscribers:
        assert not (subscriber.statedir / "shared").exists()
