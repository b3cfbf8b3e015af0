"""A whole site by compose.yaml: what its users see, what its containers may do, and what happens when parts die."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import blosc2
import httpx
import numpy as np
import pytest

import caterva2
from tests.deploy.compose import REPOSITORY, Project, project
from tests.deploy.engine import docker
from tests.support.ports import free_port
from tests.support.processes import wait_until

OURS = {"broker", "publisher-examples", "publisher-hdf5", "subscriber"}
SERVICES = OURS | {"nats", "postgres"}
"""What runs; `migration` and the preparation of volumes have ended."""


@pytest.fixture(scope="module")
def port() -> int:
    """The only port that the site publishes."""
    return free_port()


@pytest.fixture(scope="module")
def site(images: dict[str, str], data: Path, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The site, up and healthy."""
    settings = {
        "CATERVA2_PORT": str(port),
        "CATERVA2_URLBASE": f"http://127.0.0.1:{port}",
        "CATERVA2_ROOT": str(data),
        "CATERVA2_PROXY_NETWORK": "172.31.252.0/28",
    }
    with project("compose.yaml", tmp_path_factory.mktemp("site"), settings) as made:
        made.compose("up", "--detach", "--wait", timeout_s=600)
        yield made


@pytest.fixture
def client(site: Project, port: int) -> Iterator[caterva2.Client]:
    """A client of the site, from outside."""
    with caterva2.Client(f"http://127.0.0.1:{port}") as made:
        yield made


def listed(client: caterva2.Client, root: str) -> list[str]:
    client.subscribe(root)
    return client.get_list(root)


def test_every_dataset_of_both_publishers_is_read_as_it_is_on_disk(client: caterva2.Client, data: Path) -> None:
    wait_until(lambda: {"examples", "hdf5"} <= set(client.get_roots()), timeout_s=180, what="both roots known")
    expected = sorted(path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file())
    wait_until(lambda: sorted(listed(client, "examples")) == expected, timeout_s=180, what="the catalogue complete")
    for path in data.rglob("*.b2nd"):
        mine = blosc2.open(str(path), mode="r")[()]
        np.testing.assert_array_equal(client.fetch(f"examples/{path.relative_to(data).as_posix()}"), mine)
    wait_until(lambda: listed(client, "hdf5"), timeout_s=180, what="the HDF5 root listed")


def test_a_change_on_the_publishers_disk_reaches_readers(client: caterva2.Client, data: Path) -> None:
    client.subscribe("examples")
    path = data / "new.b2nd"
    blosc2.asarray(np.arange(100), urlpath=str(path), mode="w")
    path.chmod(0o644)
    wait_until(lambda: "new.b2nd" in client.get_list("examples"), timeout_s=180, what="a new dataset listed")
    np.testing.assert_array_equal(client.fetch("examples/new.b2nd"), np.arange(100))
    replacement = data.parent / "replacement.b2nd"
    blosc2.asarray(np.arange(100) * 2, urlpath=str(replacement), mode="w")
    replacement.chmod(0o644)
    replacement.rename(path)
    wait_until(
        lambda: client.fetch("examples/new.b2nd")[1] == 2, timeout_s=180, what="the new version of a dataset read"
    )
    path.unlink()
    wait_until(lambda: "new.b2nd" not in client.get_list("examples"), timeout_s=180, what="a removed dataset gone")


def test_only_the_subscriber_is_reachable_and_only_from_this_machine(site: Project, port: int) -> None:
    published = {
        (service, binding["HostIp"], int(binding["HostPort"]))
        for service, container in site.containers().items()
        for bindings in container["NetworkSettings"]["Ports"].values()
        for binding in bindings or []
    }
    assert published == {("subscriber", "127.0.0.1", port)}
    for service in SERVICES - {"subscriber"}:
        networks = site.containers()[service]["NetworkSettings"]["Networks"]
        assert [name.rpartition("_")[2] for name in networks] == ["private"], service


def test_a21_no_container_runs_as_root_or_may_become_it(site: Project) -> None:
    containers = site.containers()
    assert set(containers) == SERVICES
    for service, container in containers.items():
        host = container["HostConfig"]
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert not host["CapAdd"], service
        assert not host["Privileged"], service
        assert "no-new-privileges:true" in host["SecurityOpt"], service
        assert host["Memory"] > 0, service
        uids = {line.split()[1] for line in docker("top", container["Id"], "-eo", "pid,uid").splitlines()[1:]}
        assert uids, service
        assert "0" not in uids, service


def test_a21_nothing_is_written_outside_volumes(site: Project) -> None:
    for service, container in site.containers().items():
        mounts = {mount["Destination"] for mount in container["Mounts"]} | set(container["HostConfig"]["Tmpfs"] or {})
        changed = [line.split(maxsplit=1)[1] for line in docker("diff", container["Id"]).splitlines()]
        outside = [
            path
            for path in changed
            if not any(
                mount == path or mount.startswith(f"{path}/") or path.startswith(f"{mount}/") for mount in mounts
            )
        ]
        assert outside == [], service


LOGIN_FROM = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], 8002)
headers = {'X-Forwarded-For': sys.argv[2], 'Content-Type': 'application/x-www-form-urlencoded'}
connection.request('POST', '/auth/jwt/login', 'username=nobody%40example.org&password=wrong-' + sys.argv[2], headers)
print(connection.getresponse().status)
"""


@pytest.mark.parametrize(
    ("network", "host", "claimed", "believed"),
    [("proxy", "subscriber-behind-proxy", "192.0.2.1", True), ("edge", "subscriber", "192.0.2.2", False)],
)
def test_a16_only_the_proxy_is_believed_about_where_a_request_came_from(
    network: str, host: str, claimed: str, believed: bool, site: Project
) -> None:
    options = ["--rm", "--network", f"{site.name}_{network}", "python:3.13-slim"]
    assert docker("run", *options, "python", "-c", LOGIN_FROM, host, claimed) == "400"
    query = f"SELECT count(*) FROM audit WHERE address = '{claimed}'"
    rows = site.compose("exec", "-T", "postgres", "psql", "-U", "caterva2", "-At", "-c", query)
    assert int(rows) == int(believed)


def test_people_can_be_added_and_log_in(site: Project, port: int) -> None:
    site.compose("exec", "-T", "subscriber", "cat2adduser", "-S", "admin@example.org", "a long enough password")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        answer = http.post(
            "/auth/jwt/login", data={"username": "admin@example.org", "password": "a long enough password"}
        )
        assert answer.status_code in (200, 204), answer.text
        assert http.get("/api/roots").status_code == 200


@pytest.mark.parametrize("service", ["nats", "broker", "publisher-examples", "postgres", "subscriber"])
def test_a_site_recovers_when_a_container_is_killed(
    service: str, site: Project, client: caterva2.Client, data: Path
) -> None:
    before = sorted(listed(client, "examples"))
    site.crash(service)
    if service != "subscriber":  # readers notice nothing of the others
        assert sorted(client.get_list("examples")) == before
    wait_until(lambda: site.healthy(service), timeout_s=180, what=f"{service} healthy again", every_s=0.5)
    name = f"after-{service}.b2nd"
    blosc2.asarray(np.full(10, 7), urlpath=str(data / name), mode="w")
    (data / name).chmod(0o644)

    def read() -> bool:
        try:
            return bool((client.fetch(f"examples/{name}") == 7).all())
        except (caterva2.errors.Caterva2Error, httpx.HTTPError):
            return False

    wait_until(read, timeout_s=180, what=f"a change seen after {service} was killed", every_s=0.2)


def test_a_site_ends_by_itself_at_sigterm_and_comes_back_as_it_was(
    site: Project, client: caterva2.Client, port: int
) -> None:
    before = sorted(listed(client, "examples"))
    site.compose("exec", "-T", "subscriber", "cat2adduser", "kept@example.org", "a long enough password")
    containers = site.containers()
    site.compose("stop", "--timeout", "20")
    for service in OURS:
        state = docker("inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", containers[service]["Id"])
        assert state == "0 false", service
    site.compose("down")
    site.compose("up", "--detach", "--wait", timeout_s=600)
    wait_until(lambda: sorted(listed(client, "examples")) == before, timeout_s=180, what="the same catalogue")
    login = {"username": "kept@example.org", "password": "a long enough password"}
    answer = httpx.post(f"http://127.0.0.1:{port}/auth/jwt/login", data=login, trust_env=False)
    assert answer.status_code in (200, 204)


def test_dashboard_and_alerts_ask_for_metrics_that_exist(site: Project) -> None:
    ports = {"broker": 8000, "publisher-examples": 8001, "subscriber": 8002}
    exposed = {
        line.split()[2]
        for service, port in ports.items()
        for line in site.inside(service, f"http://127.0.0.1:{port}/metrics").splitlines()
        if line.startswith("# TYPE")
    }
    dashboard = (REPOSITORY / "docker" / "grafana" / "dashboards" / "caterva2.json").read_text()
    alerts = (REPOSITORY / "helm" / "caterva2" / "files" / "alerts.yaml").read_text()
    wanted = set(re.findall(r"caterva2_[a-z_]+", dashboard + alerts))
    assert len(wanted) > 8
    assert {name.removesuffix("_bucket") for name in wanted} - exposed == set()


ROTATED = (
    "NATS_BROKER_PASSWORD",
    "NATS_PUBLISHER_EXAMPLES_PASSWORD",
    "NATS_PUBLISHER_HDF5_PASSWORD",
    "NATS_SUBSCRIBER_PASSWORD",
    "POSTGRES_PASSWORD",
    "POSTGRES_SERVING_PASSWORD",
    "CATERVA2_JOIN_TOKEN",
    "CATERVA2_SECRET",
)


def test_every_secret_is_rotated_without_loss(site: Project, client: caterva2.Client, data: Path, port: int) -> None:
    person = {"username": "rotated@example.org", "password": "a long enough password"}
    site.compose("exec", "-T", "subscriber", "cat2adduser", *person.values())
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        assert http.post("/auth/jwt/login", data=person).status_code in (200, 204)
        assert http.get("/api/me").json()["email"] == person["username"]

        for name in ROTATED:
            site.change_setting(name, f"s{secrets.token_hex(24)}")
        owner = site.secrets()["POSTGRES_PASSWORD"]
        statement = f"ALTER USER caterva2 PASSWORD '{owner}'"
        site.compose("exec", "-T", "postgres", "psql", "-U", "caterva2", "-c", statement)
        site.compose("up", "--detach", "--wait")

        wait_until(lambda: database_answers(site), timeout_s=180, what="the database with its new passwords")
        assert http.get("/api/me").json()["email"] is None, "sessions were made with the old secret"
        assert http.post("/auth/jwt/login", data=person).status_code in (200, 204)
    blosc2.asarray(np.full(10, 8), urlpath=str(data / "rotated.b2nd"), mode="w")
    (data / "rotated.b2nd").chmod(0o644)
    wait_until(lambda: "rotated.b2nd" in listed(client, "examples"), timeout_s=180, what="a change after the rotation")
    status = json.loads(site.inside("subscriber", "http://127.0.0.1:8002/readyz"))
    assert status["parts"]["bus"]["ok"], status


def database_answers(site: Project) -> bool:
    status = json.loads(site.inside("subscriber", "http://127.0.0.1:8002/readyz"))
    return bool(status["parts"]["database"]["ok"])


TRY_STATEMENT = """
import asyncio, os, sys, asyncpg

async def main():
    connection = await asyncpg.connect(os.environ["CATERVA2_DATABASE_URL"].replace("+asyncpg", ""))
    try:
        print(await connection.execute(sys.argv[1]))
    except asyncpg.PostgresError as error:
        print(type(error).__name__)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("statement", "answer"),
    [
        ("CREATE TABLE mine (id int)", "InsufficientPrivilegeError"),
        ("DROP TABLE users", "InsufficientPrivilegeError"),
        ("ALTER ROLE caterva2 PASSWORD 'mine'", "InsufficientPrivilegeError"),
        ("SELECT id FROM users LIMIT 0", "SELECT 0"),
    ],
)
def test_a23_the_subscriber_cannot_change_tables(statement: str, answer: str, site: Project) -> None:
    assert "CATERVA2_DATABASE_MIGRATION_URL" not in str(site.containers()["subscriber"]["Config"]["Env"])
    said = site.compose("exec", "-T", "subscriber", "python", "-c", TRY_STATEMENT, statement)
    assert said.strip() == answer


def test_a_backup_brings_people_and_their_files_into_a_new_site(site: Project, port: int, tmp_path: Path) -> None:
    person = "backup@example.org", "a long enough password"
    site.compose("exec", "-T", "subscriber", "cat2adduser", *person)
    (tmp_path / "notes.txt").write_text("kept")
    auth = caterva2.BasicAuth(*person)
    with caterva2.Client(f"http://127.0.0.1:{port}", auth) as client:
        client.upload(tmp_path / "notes.txt", "@shared/notes.txt")
    site.script("backup.sh", tmp_path / "backup")
    assert (tmp_path / "backup" / "env").stat().st_mode & 0o077 == 0

    site.compose("down", "--volumes", "--timeout", "20")
    site.script("restore.sh", tmp_path / "backup")

    with caterva2.Client(f"http://127.0.0.1:{port}", auth) as client:
        assert client.download("@shared/notes.txt", tmp_path / "again.txt").read_text() == "kept"


def test_a19_no_secret_is_in_any_log(site: Project) -> None:
    logs = site.compose("logs", "--no-color")
    assert "listens at" in logs
    assert [name for name, value in site.secrets().items() if value in logs] == []


def test_compose_says_what_to_do_when_secrets_are_missing(images: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("")
    empty = Project("caterva2-test-empty", REPOSITORY / "compose.yaml", tmp_path / ".env")
    with pytest.raises(AssertionError, match="run 'make env' first"):
        empty.compose("config")
