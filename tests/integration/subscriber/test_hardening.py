"""What browsers are told, and what is refused before anybody looks at it (A14-A17)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .conftest import Site, Start
from .test_spaces import USER, upload

EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/roots", 200), ("/api/info/@public/none", 404), ("/api/tokens", 401), ("/api/chunk/x", 422), ("/none", 404)],
)
async def test_a14_every_answer_has_the_headers_also_errors(site: Site, path: str, status: int) -> None:
    async with site.client() as client:
        answer = await client.get(path)
    assert answer.status_code == status
    assert {name: answer.headers[name] for name in EVERYWHERE} == EVERYWHERE
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    if path.startswith("/api/"):
        assert answer.headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in answer.headers


async def test_a14_what_users_uploaded_cannot_act_in_a_browser(site: Site) -> None:
    async with await site.as_user(USER) as client:
        await upload(client, "@public/page.html", b"<script>alert(1)</script>")
        answer = await client.get("/api/download/@public/page.html")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["content-security-policy"]


async def test_a13_a_site_behind_tls_tells_browsers_to_stay_there(start: Start) -> None:
    site = await start(urlbase="https://data.example.org")
    async with site.client() as client:
        assert "max-age" in (await client.get("/api/roots")).headers["strict-transport-security"]


async def test_a15_other_origins_get_no_cors_headers(site: Site) -> None:
    async with site.client() as client:
        answer = await client.get("/api/roots", headers={"Origin": "https://evil.example.com"})
        preflight = await client.options("/api/roots", headers={"Origin": "https://evil.example.com"})
    assert not [name for name in (*answer.headers, *preflight.headers) if name.startswith("access-control")]


async def test_a16_only_known_hosts_are_answered(start: Start) -> None:
    site = await start(allowed_hosts=("data.example.org",))
    async with site.client(base_url="http://data.example.org") as good, site.client(base_url="http://evil") as bad:
        assert (await good.get("/api/roots")).status_code == 200
        assert (await bad.get("/api/roots")).status_code == 400


async def test_a17_large_bodies_are_refused_where_no_file_is_expected(site: Site) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b'"' + b"x" * 2**16

    async with await site.as_user(USER) as client:
        declared = await client.post("/api/lazyexpr/", content=b"x" * (2**20 + 1))
        assert (declared.status_code, declared.json()["code"]) == (413, "too_large")
        streamed = await client.post("/api/lazyexpr/", content=endless(), headers={"content-type": "application/json"})
        assert streamed.status_code in (400, 413)
        assert (await upload(client, "@personal/big.bin", bytes(2**21))).status_code == 200


async def test_u7_names_that_lead_elsewhere_are_refused_and_touch_nothing(site: Site) -> None:
    paths = [
        "@public/../db.sqlite",
        "@public/%2e%2e/db.sqlite",
        "@public/..%2fdb.sqlite",
        "@public/..%2f..%2fetc%2fpasswd",
        "@public/%00",
        "@public/a%0ab",
        "@publicx/db.sqlite",
        "%2Fetc%2Fpasswd",
        "@public//etc/passwd",
        "@public/" + "a" * 300,
        "@public/" + "/".join("a" * 40),
        "@public/.cat2secret",
        "@public/%E2%80%AEtxt",
        "@public/con",
    ]
    async with await site.as_user(USER) as client:
        for path in paths:
            for method, route in (
                ("GET", "info"),
                ("GET", "fetch"),
                ("GET", "list"),
                ("GET", "download"),
                ("POST", "remove"),
            ):
                answer = await client.request(method, f"/api/{route}/{path}")
                assert answer.status_code in (400, 404) or answer.json() == [], (method, route, path, answer.text)
            assert (await upload(client, path, b"x")).status_code in (400, 404) or path == "@public//etc/passwd", path
        assert (await client.get("/api/me")).json()["email"] == USER, "the database of users is still there"
