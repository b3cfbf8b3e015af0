"""Who may read and write what: every route of the OpenAPI document, for every role and kind of root."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import Any

import httpx
import numpy as np
import pytest

from caterva2.wire import ManifestHeader, Root
from caterva2_subscriber.catalog import Listed

from .conftest import Site, Start
from .test_spaces import frame, upload

USER, MEMBER, ROOT = "user@example.com", "member@example.com", "root@example.com"
ROLES = {"anonymous": "", "user": USER, "member": MEMBER, "admin": ROOT}
ROOTS = ("@public", "@shared", "@personal", "open", "lab")
"""``open`` is published for everybody, ``lab`` for the group xray alone."""
DENIED = {401, 403, 404}

OPEN = "anybody"
ADMIN = "administrators"
USERS = "users"
READ = "readers of the root"
WRITE = "writers of the root"
STREAM = "anybody, filtered by what the reader may see; see the tests of events"

RULES: dict[tuple[str, str], str] = {
    ("get", "/healthz"): OPEN,
    ("get", "/readyz"): OPEN,
    ("get", "/metrics"): OPEN,
    ("get", "/api/server"): OPEN,
    ("get", "/api/roots"): OPEN,
    ("get", "/api/me"): OPEN,
    ("get", "/api/subscriptions"): OPEN,
    ("get", "/api/search"): OPEN,
    ("get", "/api/permissions/{root}"): OPEN,
    ("get", "/api/events"): STREAM,
    ("post", "/auth/jwt/login"): OPEN,
    ("post", "/auth/register"): OPEN,
    ("post", "/auth/forgot-password"): OPEN,
    ("post", "/auth/reset-password"): OPEN,
    ("get", "/auth/oidc/login"): OPEN,
    ("get", "/auth/oidc/callback"): OPEN,
    ("post", "/auth/oidc/link"): USERS,
    ("post", "/auth/jwt/logout"): USERS,
    ("post", "/auth/logout-everywhere"): USERS,
    ("post", "/auth/change-password"): USERS,
    ("get", "/api/tokens"): USERS,
    ("post", "/api/tokens"): USERS,
    ("delete", "/api/tokens/{token_id}"): USERS,
    ("get", "/api/identities"): USERS,
    ("delete", "/api/identities/{identity_id}"): USERS,
    ("get", "/api/usage"): USERS,
    ("get", "/api/listusers/"): USERS,
    ("get", "/api/groups"): USERS,
    ("post", "/api/unsubscribe/{name}"): USERS,
    ("post", "/api/subscribe/{name}"): READ,
    ("get", "/api/list/{path}"): READ,
    ("get", "/api/info/{path}"): READ,
    ("get", "/api/fetch/{path}"): READ,
    ("post", "/api/fetch/{path}"): READ,
    ("get", "/api/download/{path}"): READ,
    ("get", "/api/chunk/{path}"): READ,
    ("get", "/api/chunks/{path}"): READ,
    ("get", "/api/plan/{path}"): READ,
    ("get", "/api/browse/{path}"): READ,
    ("get", "/api/view/slice/{path}"): READ,
    ("get", "/api/view/tile/{path}"): READ,
    ("get", "/api/view/line/{path}"): READ,
    ("get", "/api/view/stats/{path}"): READ,
    ("get", "/api/view/rows/{path}"): READ,
    ("get", "/api/view/export/{path}"): READ,
    ("get", "/api/view/cache/{path}"): READ,
    ("get", "/api/preview/{path}"): READ,
    ("post", "/api/upload/{path}"): WRITE,
    ("post", "/api/append/{path}"): WRITE,
    ("post", "/api/unfold/{path}"): WRITE,
    ("post", "/api/remove/{path}"): WRITE,
    ("post", "/api/addnotebook/{path}"): WRITE,
    ("post", "/api/upload_lazyarr/{path}"): WRITE,
    ("post", "/api/load_from_url/{path}"): WRITE,
    ("post", "/api/move/"): WRITE,
    ("post", "/api/copy/"): WRITE,
    ("post", "/api/concat/"): WRITE,
    ("post", "/api/stack/"): WRITE,
    ("post", "/api/lazyexpr/"): USERS,
    ("get", "/api/cache/status"): ADMIN,
    ("post", "/api/cache/pin/{path}"): ADMIN,
    ("post", "/api/cache/unpin/{path}"): ADMIN,
    ("post", "/api/cache/free/{path}"): ADMIN,
    ("post", "/api/cache/prefetch/{path}"): ADMIN,
    ("post", "/api/cache/verify"): ADMIN,
    ("post", "/api/adduser/"): ADMIN,
    ("get", "/api/deluser/{username}"): ADMIN,
    ("patch", "/api/users/{username}"): ADMIN,
    ("delete", "/api/users/{username}"): ADMIN,
    ("post", "/api/groups"): ADMIN,
    ("delete", "/api/groups/{name}"): ADMIN,
    ("put", "/api/groups/{name}/members/{username}"): ADMIN,
    ("delete", "/api/groups/{name}/members/{username}"): ADMIN,
    ("get", "/api/audit"): ADMIN,
    ("get", "/api/rights"): ADMIN,
    ("get", "/api/rights/{root}"): ADMIN,
    ("put", "/api/rights/{root}"): ADMIN,
}
PARAMS = {"nchunk": "0", "level": "0", "s": "0", "format": "npy"}
BODIES: dict[str, Any] = {
    "/api/adduser/": {"username": "new@example.com", "password": "foobar11-foobar"},
    "/api/groups": {"name": "new"},
    "/api/rights/{root}": {},
    "/api/users/{username}": {},
    "/api/tokens": {"name": "x"},
    "/auth/oidc/link": {},
    "/auth/change-password": {"old_password": "foobar11-foobar", "new_password": "foobar11-foobar"},
    "/api/fetch/{path}": {"slice_": "0"},
    "/api/lazyexpr/": {"name": "x", "expression": "1 + 1"},
    "/api/upload_lazyarr/{path}": {"expression": "1 + 1"},
}


def test_every_route_has_a_rule(site: Site) -> None:
    routes = {(m, path) for path, methods in site.context_openapi()["paths"].items() for m in methods}
    assert routes - RULES.keys() == set(), "say in RULES who may use the new route"


def readable(role: str, root: str) -> bool:
    if root in ("@public", "open"):
        return True
    return role in ("member", "admin") if root == "lab" else role != "anonymous"


def writable(role: str, root: str) -> bool:
    return role != "anonymous" and root.startswith("@")


@pytest.fixture
async def published(start: Start) -> Site:
    """The site with the roots ``open`` and ``lab``, each with ``ds.b2nd``, and a user of each role."""
    oidc = {"issuer": "http://127.0.0.1:9", "client_id": "x"}  # no provider answers there
    loading = {"hosts": ["127.0.0.1:9"], "allow": ["127.0.0.0/8"], "plain": True}  # nor a server of files
    site = await start(upstream={"attempts": 1}, auth={"oidc": oidc}, load_from_url=loading)
    await site.add(ROOT, superuser=True)
    await site.add(USER)
    await site.add(MEMBER, groups=("xray",))
    catalog = site.context.catalog
    facts = [Root(name="open", http="127.0.0.1:9"), Root(name="lab", http="127.0.0.1:9", access="group:xray")]
    catalog.know_roots(facts, complete=False)
    async with site.client() as client, await site.as_user(ROOT) as admin:
        await upload(admin, "@public/ds.b2nd", frame(np.arange(10)))
        info = (await client.get("/api/info/@public/ds.b2nd")).json()
    for root in facts:
        catalog.mark_subscribed(root.name, True)
        staged = catalog.stage(ManifestHeader(root=root.name, epoch="e", seq=1, count=1))
        staged.add([Listed("ds.b2nd", "1", "array", 80, 1.0, 1, json.dumps(info))])
        staged.commit()
    return site


async def clients(site: Site, stack: AsyncExitStack) -> dict[str, httpx.AsyncClient]:
    found = {}
    for role, email in ROLES.items():
        client = await site.as_user(email) if email else site.client()
        found[role] = await stack.enter_async_context(client)
    return found


async def ask(client: httpx.AsyncClient, method: str, route: str, root: str = "@public") -> httpx.Response:
    path = route.replace("{path}", f"{root}/ds.b2nd").replace("{root}", root).replace("{name}", root)
    path = (
        path.replace("{username}", "nobody@example.com")
        .replace("{token_id}", "0" * 32)
        .replace("{identity_id}", "0" * 32)
    )
    kwargs: dict[str, Any] = {}
    if route in ("/api/upload/{path}", "/api/append/{path}"):
        kwargs["files"] = {"file": ("ds.b2nd", frame(np.arange(10)))}
    elif route in ("/api/move/", "/api/copy/"):
        kwargs["json"] = {"src": "@public/ds.b2nd", "dst": f"{root}/moved.b2nd"}
    elif route in ("/api/concat/", "/api/stack/"):
        kwargs["json"] = {"srcs": ["@public/ds.b2nd"], "dst": f"{root}/joined.b2nd", "axis": 0}
    elif route == "/api/load_from_url/{path}":
        kwargs["data"] = {"remote_url": "http://127.0.0.1:9/ds.b2nd"}
    elif route == "/api/addnotebook/{path}":
        path = path.replace(".b2nd", ".ipynb")
    elif route in BODIES and method != "get":
        kwargs["json"] = BODIES[route]
    elif method == "get":
        kwargs["params"] = PARAMS
    return await client.request(method, path, **kwargs)


@pytest.mark.parametrize("root", ROOTS)
async def test_a12_readers_reach_what_they_may_read_and_nothing_else(published: Site, root: str) -> None:
    async with AsyncExitStack() as stack:
        for role, client in (await clients(published, stack)).items():
            if writable(role, root):
                await upload(client, f"{root}/ds.b2nd", frame(np.arange(10)))
            roots = (await client.get("/api/roots")).json()
            assert (root in roots) == readable(role, root), (role, root)
            found = (await client.get("/api/search", params={"q": "ds"})).text
            assert (f'"{root}/ds.b2nd"' in found) == readable(role, root), (role, found)
            for (method, route), rule in RULES.items():
                if rule != READ or "preview" in route:
                    continue
                answer = await ask(client, method, route, root)
                if readable(role, root):
                    assert answer.status_code not in (*DENIED, 422, 500), (role, route, answer.text)
                else:
                    assert answer.status_code in DENIED, (role, route, answer.status_code, answer.text[:100])
                    assert b"int64" not in answer.content


@pytest.mark.parametrize("root", ROOTS)
async def test_a12_writers_change_what_they_may_write_and_nothing_else(published: Site, root: str) -> None:
    async with AsyncExitStack() as stack:
        for role, client in (await clients(published, stack)).items():
            for (method, route), rule in RULES.items():
                if rule != WRITE or (route in ("/api/concat/", "/api/stack/") and not root.startswith("@")):
                    continue  # a destination outside of the special roots means one in @personal
                answer = await ask(client, method, route, root)
                if writable(role, root):
                    assert answer.status_code not in (401, 403, 500), (role, route, answer.text)
                elif role == "anonymous":
                    assert answer.status_code in (401, 404), (role, route, answer.text)
                else:
                    assert answer.status_code in (400, 404), (role, route, answer.text)
                    assert "@personal or @shared or @public" in answer.text or answer.status_code == 404
    kept = published.context.catalog.entry(root, "ds.b2nd") if not root.startswith("@") else True
    assert kept


async def test_a12_only_administrators_administrate_and_only_users_do_what_users_do(published: Site) -> None:
    async with AsyncExitStack() as stack:
        for role, client in (await clients(published, stack)).items():
            for (method, route), rule in RULES.items():
                if rule not in (ADMIN, USERS) or (role != "anonymous" and route.startswith("/auth")):
                    continue
                answer = await ask(client, method, route)
                allowed = role == "admin" or (rule == USERS and role != "anonymous")
                if allowed:
                    assert answer.status_code not in (401, 403, 422, 500), (role, route, answer.text)
                else:
                    assert answer.status_code in (401, 403), (role, route, answer.text)


async def test_rights_are_set_by_administrators_and_hold_at_once(published: Site) -> None:
    async with AsyncExitStack() as stack:
        found = await clients(published, stack)
        admin, user, member, anonymous = (found[role] for role in ("admin", "user", "member", "anonymous"))
        listed = {entry["root"]: entry for entry in (await admin.get("/api/rights")).json()}
        assert listed["lab"]["read"] == ["group:xray"]
        assert listed["lab"]["read_is_default"]
        assert listed["@shared"]["write"] == ["users"]

        changed = await admin.put("/api/rights/open", json={"read": [f"user:{USER}"]})
        assert (changed.json()["read"], changed.json()["read_is_default"]) == ([f"user:{USER}"], False)
        assert (await user.get("/api/info/open/ds.b2nd")).status_code == 200
        assert (await member.get("/api/info/open/ds.b2nd")).status_code == 404
        assert (await anonymous.get("/api/list/open")).status_code == 404
        await admin.put("/api/rights/open", json={"read": None})
        assert (await anonymous.get("/api/info/open/ds.b2nd")).status_code == 200

        await admin.put("/api/rights/@shared", json={"write": ["group:xray"]})
        refused = await upload(user, "@shared/x.txt", b"x")
        assert (refused.status_code, refused.json()["detail"]) == (403, "You may not write to @shared")
        assert (await upload(member, "@shared/x.txt", b"x")).status_code == 200
        assert (await user.get("/api/permissions/@shared")).json() == {"root": "@shared", "read": True, "write": False}

        await admin.put("/api/rights/@public", json={"read": ["users"]})
        assert (await anonymous.get("/api/info/@public/ds.b2nd")).status_code == 404
        assert "@public" not in (await anonymous.get("/api/roots")).json()

        await admin.delete("/api/groups/xray")
        assert (await member.get("/api/info/lab/ds.b2nd")).status_code == 404
        for root, body in (
            ("@personal", {"read": ["public"]}),
            ("open", {"write": ["users"]}),
            ("open", {"read": ["?"]}),
        ):
            assert (await admin.put(f"/api/rights/{root}", json=body)).status_code in (400, 404), root
        assert (await admin.put("/api/rights/@public", json={"write": ["public"]})).status_code == 400


async def test_a10_tokens_reach_no_further_than_their_scopes(published: Site) -> None:
    async with await published.as_user(MEMBER) as member, published.client() as script:
        body = {"name": "x", "scopes": ["read:lab", "write:@shared"]}
        token = (await member.post("/api/tokens", json=body)).json()["token"]
        script.headers["Authorization"] = f"Bearer {token}"
        assert (await script.get("/api/info/lab/ds.b2nd")).status_code == 200
        assert (await script.get("/api/info/open/ds.b2nd")).status_code == 200, "public is public"
        assert (await script.get("/api/list/@personal")).status_code == 404
        assert (await upload(script, "@shared/x.txt", b"x")).status_code == 200
        assert (await upload(script, "@personal/x.txt", b"x")).status_code == 403


async def test_without_logins_only_what_is_public_exists(start: Start) -> None:
    site = await start(login=False)
    facts = [Root(name="open", http="127.0.0.1:9"), Root(name="lab", http="127.0.0.1:9", access="users")]
    site.context.catalog.know_roots(facts, complete=False)
    async with site.client() as client:
        assert set((await client.get("/api/roots")).json()) == {"open", "@public"}
        for root in ("@shared", "@personal", "lab"):
            assert (await client.get(f"/api/info/{root}/x")).status_code == 404
        assert (await upload(client, "@public/x.txt", b"x")).status_code == 401


def test_an_access_in_words_of_a_newer_version_is_nobodys() -> None:
    from caterva2_subscriber.rights import Rights

    rights = Rights(None, lambda root: "planet:earth")  # type: ignore[arg-type]
    assert rights._default("foo", "read") == {"nobody"}
