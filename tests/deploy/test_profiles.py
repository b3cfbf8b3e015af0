"""The profiles `tls` and `monitoring` of compose.yaml: HTTPS by Caddy, and Prometheus with our rules.

Where no registry of images is reachable both run in stand-ins made of Debian's packages. Grafana has no such package:
its provisioning and its dashboard are checked as files, and each of the dashboard's queries by Prometheus.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import blosc2
import httpx
import numpy as np
import pytest
import yaml

from tests.deploy.compose import REPOSITORY, Project, project
from tests.deploy.engine import SCRIPTS_VARIABLE, docker
from tests.support.ports import free_port
from tests.support.processes import wait_until

STAND_INS = Path(__file__).with_name("images")
GRAFANA = REPOSITORY / "docker" / "grafana"
RULES = REPOSITORY / "helm" / "caterva2" / "files" / "alerts.yaml"
SERVICES = ("broker", "publisher-examples", "publisher-hdf5", "subscriber", "prometheus", "caddy")
LOGIN = {"username": "admin@example.org", "password": "a long enough password"}
PROMETHEUS = "http://prometheus:9090/api/v1"
UPLOAD_BYTES = 64 << 20


def dashboard() -> dict[str, Any]:
    return dict(json.loads((GRAFANA / "dashboards" / "caterva2.json").read_text()))


def queries() -> list[str]:
    found = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    return [expression.replace("$__rate_interval", "1m").replace("$__range", "5m") for expression in found]


# --- without containers ---------------------------------------------------------------------
def test_grafana_is_told_where_data_and_dashboard_are() -> None:
    (source,) = yaml.safe_load((GRAFANA / "datasources" / "prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((GRAFANA / "dashboards" / "provider.yaml").read_text())["providers"]
    grafana = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]["grafana"]
    mounted = next(volume.split(":")[1] for volume in grafana["volumes"] if volume.startswith("./docker/grafana"))
    assert provider["options"]["path"] == f"{mounted}/dashboards"
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (GRAFANA / Path(home).relative_to(mounted)).is_file()
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(queries()) > 10
    assert not [query for query in queries() if "$" in query]


# --- with containers ---------------------------------------------------------------------
@pytest.fixture(scope="module")
def pictures(engine: None) -> dict[str, str]:
    """Settings that name stand-ins, where the images themselves cannot be had."""
    if SCRIPTS_VARIABLE not in os.environ:
        return {}
    for name in ("caddy", "prometheus"):
        file = STAND_INS / f"{name}.Dockerfile"
        docker("build", "--quiet", "-t", f"caterva2-stand-in-{name}:test", "-f", file, STAND_INS, timeout_s=900)
    return {f"{name.upper()}_IMAGE": f"caterva2-stand-in-{name}:test" for name in ("caddy", "prometheus")}


@pytest.fixture(scope="module")
def https_port() -> int:
    """Port of HTTPS on this machine."""
    return free_port()


@pytest.fixture(scope="module")
def site(
    images: dict[str, str],
    pictures: dict[str, str],
    data: Path,
    https_port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Project]:
    """A site with both profiles, up and healthy."""
    settings = {
        "CATERVA2_PORT": str(free_port()),
        "CATERVA2_HTTP_PORT": str(free_port()),
        "CATERVA2_HTTPS_PORT": str(https_port),
        "CATERVA2_URLBASE": f"https://localhost:{https_port}",
        "CATERVA2_ROOT": str(data),
        "CATERVA2_PROXY_NETWORK": "172.31.251.0/28",
        **pictures,
    }
    with project("compose.yaml", tmp_path_factory.mktemp("profiles"), settings) as made:
        made.compose("--profile", "tls", "--profile", "monitoring", "up", "--detach", "--wait", *SERVICES)
        made.compose("exec", "-T", "subscriber", "cat2adduser", "-S", *LOGIN.values())
        yield made


@pytest.fixture(scope="module")
def trust(site: Project) -> ssl.SSLContext:
    """What trusts the authority that Caddy made for `localhost`."""
    root = "/data/caddy/pki/authorities/local/root.crt"
    return ssl.create_default_context(cadata=site.compose("exec", "-T", "caddy", "cat", root))


@pytest.fixture
def browser(trust: ssl.SSLContext, https_port: int) -> Iterator[httpx.Client]:
    """Somebody who comes by HTTPS."""
    url = f"https://localhost:{https_port}"
    with httpx.Client(base_url=url, verify=trust, trust_env=False, timeout=120) as client:
        wait_until(lambda: reached(client), timeout_s=180, what="Caddy's certificate", every_s=0.5)
        yield client


def reached(client: httpx.Client) -> bool:
    try:
        return client.get("/api/roots").status_code == 200
    except httpx.HTTPError:
        return False


def test_a13_a_login_by_https_gives_a_secure_cookie(browser: httpx.Client) -> None:
    answer = browser.post("/auth/jwt/login", data=LOGIN)
    assert answer.status_code in (200, 204), answer.text
    cookie = answer.headers["set-cookie"].lower()
    assert "secure" in cookie
    assert "httponly" in cookie
    assert "max-age" in answer.headers["strict-transport-security"]
    assert browser.get("/api/me").json()["email"] == LOGIN["username"]


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_a16_what_is_for_operators_is_not_shown_by_https(path: str, browser: httpx.Client) -> None:
    assert browser.get(path).status_code == 404


def test_a_large_upload_by_https_arrives_whole(browser: httpx.Client, tmp_path: Path) -> None:
    assert browser.post("/auth/jwt/login", data=LOGIN).status_code in (200, 204)
    content = secrets.token_bytes(1 << 20) * (UPLOAD_BYTES >> 20)
    answer = browser.post("/api/upload/@shared/large.bin", files={"file": ("large.bin", content)})
    assert answer.status_code == 200, answer.text
    assert browser.get("/api/download/@shared/large.bin").content == content


def test_n5_events_pass_by_https_as_they_happen(browser: httpx.Client, data: Path) -> None:
    wait_until(lambda: "examples" in browser.get("/api/roots").json(), timeout_s=180, what="the root known")
    seen = threading.Event()

    def change() -> None:
        for number in range(60):
            if seen.wait(2):
                return
            path = data / f"event-{number}.b2nd"
            blosc2.asarray(np.arange(10), urlpath=str(path), mode="w")
            path.chmod(0o644)

    changes = threading.Thread(target=change)
    changes.start()
    try:
        with browser.stream("GET", "/api/events", timeout=120) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            # The stream has no end: a line that is read while it goes on was held back by nobody.
            line = next(line for line in stream.iter_lines() if line.startswith("data:") and "event-" in line)
    finally:
        seen.set()
        changes.join()
    assert json.loads(line.removeprefix("data:"))["root"] == "examples"


def ask(site: Project, path: str) -> Any:
    answer = json.loads(site.inside("subscriber", f"{PROMETHEUS}/{path}"))
    assert answer["status"] == "success", answer
    return answer["data"]


def test_prometheus_scrapes_every_service(site: Project) -> None:
    def up() -> dict[str, str]:
        targets = ask(site, "targets?state=active")["activeTargets"]
        return {target["labels"]["instance"]: target["health"] for target in targets}

    expected = {"broker:8000", "publisher-examples:8001", "publisher-hdf5:8001", "subscriber:8002"}
    wait_until(lambda: set(up().values()) == {"up"}, timeout_s=180, what="all targets up", every_s=2)
    assert set(up()) == expected


def test_prometheus_loads_the_rules_and_knows_every_metric_they_and_the_dashboard_use(site: Project) -> None:
    check = ["promtool", "check", "config", "/etc/prometheus/prometheus.yml"]
    assert "SUCCESS" in site.compose("exec", "-T", "prometheus", *check)
    (group,) = ask(site, "rules")["groups"]
    named = [rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]]
    assert [rule["name"] for rule in group["rules"]] == named

    text = RULES.read_text() + json.dumps(queries())
    wanted = {name.removesuffix("_bucket") for name in re.findall(r"caterva2_[a-z_]+", text)}
    assert len(wanted) > 8
    wait_until(lambda: wanted <= set(ask(site, "metadata")), timeout_s=180, what=f"all of {wanted} scraped", every_s=2)


def test_prometheus_understands_every_query_of_the_dashboard(site: Project) -> None:
    for query in queries():
        assert ask(site, f"query?query={quote(query, safe='')}")["resultType"] == "vector"
    assert ask(site, "query?query=sum(up)")["result"][0]["value"][1] == "4"
