"""Services of one site, and strangers (requirements U10, A12)."""

from pathlib import Path

import httpx

import caterva2
from caterva2_service.trust import Role, audience_of
from tests.support.content import wait_for_list, wait_for_value
from tests.support.site import Site
from tests.support.trust import make_identity

GUARDED = ("/api/list", "/api/info/first.b2nd", "/api/manifest", "/api/download/first.b2nd?nchunk=0")
OPEN = ("/healthz", "/readyz", "/metrics", "/api/server")


def test_a12_a_publisher_answers_admitted_subscribers_only(shared_site: Site, tmp_path: Path) -> None:
    publisher = shared_site.publishers["foo"]
    audience = audience_of(publisher.http)
    subscriber = make_identity(shared_site.subscriber.statedir, Role.SUBSCRIBER)
    stranger = make_identity(tmp_path / "stranger", Role.SUBSCRIBER)
    publisher_itself = make_identity(publisher.statedir, Role.PUBLISHER)
    for path in GUARDED:
        assert publisher.get(path).status_code == 401, path
        assert publisher.get(path, auth=stranger.auth(audience)).status_code == 401, path
        assert publisher.get(path, auth=publisher_itself.auth(audience)).status_code == 401, path
        assert publisher.get(path, auth=subscriber.auth(audience_of("elsewhere:8001"))).status_code == 401, path
        assert publisher.get(path, auth=subscriber.auth(audience)).status_code == 200, path
    answer = httpx.post(f"{publisher.url}/api/chunks/first.b2nd", json={"ranges": [[0, 1]]}, trust_env=False)
    assert answer.status_code == 401
    assert "service token" in answer.json()["detail"]
    for path in OPEN:
        assert publisher.get(path).status_code == 200, path


def test_a12_every_route_of_a_publisher_but_four_is_for_admitted_subscribers(shared_site: Site, tmp_path: Path) -> None:
    publisher = shared_site.publishers["foo"]
    audience = audience_of(publisher.http)
    subscriber = make_identity(shared_site.subscriber.statedir, Role.SUBSCRIBER)
    stranger = make_identity(tmp_path / "stranger", Role.SUBSCRIBER)
    document = publisher.get("/openapi.json").json()["paths"]
    routes = {(method, route) for route, methods in document.items() for method in methods}
    assert len(routes) > 10
    for method, route in sorted(routes):
        url = publisher.url + route.replace("{path}", "first.b2nd")
        body = {"ranges": [[0, 1]]} if method == "post" else None
        params = {"nchunk": "0", "rows": "0", "columns": "0", "at": ""} if method == "get" else None

        def ask(auth: httpx.Auth | None, method: str = method, url: str = url) -> int:
            return httpx.request(method, url, auth=auth, json=body, params=params, trust_env=False).status_code  # noqa: B023

        if route in OPEN:
            assert ask(None) == 200, route
            continue
        assert ask(None) == 401, route
        assert ask(stranger.auth(audience)) == 401, route
        assert ask(subscriber.auth(audience)) not in (401, 403, 404, 500), route


def test_f5_uncached_data_is_fetched_while_the_broker_is_dead_and_the_publisher_restarts(
    shared_site: Site, client: caterva2.Client, folder: Path, prefix: str
) -> None:
    wait_for_list(client, prefix, {"a.b2nd", "sub/b.b2nd"})
    shared_site.broker.kill()
    shared_site.publishers["foo"].restart().wait_ready()
    # The publisher kept the keys that it knew, so that it needs nobody to recognise the subscriber.
    wait_for_value(client, f"{prefix}/a.b2nd", 1, timeout_s=40)
    shared_site.ensure_running()
