"""Signing in by a real, small OpenID provider on loopback (A7-A9)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import OctKey
from pydantic import ValidationError

from caterva2.errors import BadRequest
from caterva2_subscriber.auth.oidc.flow import Flow, check_next
from caterva2_subscriber.auth.secret import Secret
from caterva2_subscriber.settings import SubscriberSettings
from tests.support.openid import CLIENT, CLIENT_SECRET, Provider, make_key, run_provider

from .conftest import PASSWORD, Site, Start

USER = "user@example.com"
ADA = {"sub": "ada-1", "email": "Ada@example.org", "email_verified": True}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with run_provider() as running:
        running.person = dict(ADA)
        yield running


@pytest.fixture
def sites(start: Start, provider: Provider) -> Callable[..., Any]:
    """Start a site that trusts the provider; arguments are settings of ``[auth.oidc]``, or of the site (``site=``)."""

    async def start_site(site: dict[str, Any] | None = None, **settings: Any) -> Site:
        oidc = {"issuer": provider.issuer, "client_id": CLIENT, "client_secret": CLIENT_SECRET, **settings}
        return await start(**(site or {}), auth={"oidc": oidc})

    return start_site


async def at_provider(client: httpx.AsyncClient, location: str) -> httpx.URL:
    """Follow a browser to the provider; return where the provider sends it back to."""
    async with httpx.AsyncClient(trust_env=False) as browser:
        answer = await browser.get(location)
    assert answer.status_code == 302
    return httpx.URL(answer.headers["location"])


async def sign_in(client: httpx.AsyncClient, next_path: str = "") -> httpx.Response:
    """Go the whole way; return the site's last answer."""
    begun = await client.get("/auth/oidc/login", params={"next": next_path})
    assert begun.status_code == 303, begun.text
    return await client.get(await at_provider(client, begun.headers["location"]))


async def test_a9_signing_in_makes_an_account_and_a_session(sites: Callable[..., Any], provider: Provider) -> None:
    site = await sites(name="Example University")
    async with site.client() as client:
        me = (await client.get("/api/me")).json()
        assert (me["oidc"], me["oidc_name"], me["email"]) == (True, "Example University", None)
        done = await sign_in(client, "d/lab/x.b2nd?tab=data")
        assert (done.status_code, done.headers["location"]) == (303, "/d/lab/x.b2nd?tab=data")
        me = (await client.get("/api/me")).json()
        assert (me["email"], me["is_superuser"]) == ("ada@example.org", False)
        assert {name for name in client.cookies if client.cookies[name]} == {"c2subauth"}
    asked = provider.asked[0]
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert asked["redirect_uri"] == "http://localhost:8002/auth/oidc/callback"
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    async with site.client() as again:
        assert (await sign_in(again)).status_code == 303
    assert len(await site.context.accounts.users.list()) == 1


async def test_a9_the_identity_counts_not_the_mail_address(sites: Callable[..., Any], provider: Provider) -> None:
    site = await sites()
    async with site.client() as client:
        await sign_in(client)
    provider.person = {"sub": "ada-1", "email": "ada.new@example.org", "email_verified": False}
    async with site.client() as client:
        await sign_in(client)
        assert (await client.get("/api/me")).json()["email"] == "ada@example.org"
    provider.person = {**ADA, "sub": "somebody-else"}
    async with site.client() as client:
        refused = await sign_in(client)
        assert refused.status_code == 400
        assert "There is an account for ada@example.org already" in refused.json()["detail"]
        assert (await client.get("/api/me")).json()["email"] is None


@pytest.mark.parametrize("verified", [False, None, "true"])
async def test_a9_an_address_that_is_not_verified_makes_no_account(
    sites: Callable[..., Any], provider: Provider, verified: object
) -> None:
    provider.person = {"sub": "ada-1", "email": "ada@example.org", "email_verified": verified}
    site = await sites()
    async with site.client() as client:
        assert (await sign_in(client)).status_code == 400
    assert await site.context.accounts.users.list() == []


async def test_a9_what_the_id_token_leaves_out_is_asked_for(sites: Callable[..., Any], provider: Provider) -> None:
    provider.person, provider.in_userinfo = {"sub": "ada-1"}, {"email": "ada@example.org", "email_verified": True}
    site = await sites()
    async with site.client() as client:
        assert (await sign_in(client)).status_code == 303
    provider.person, provider.in_userinfo = {"sub": "eve"}, {"sub": "ada-2", **provider.in_userinfo}
    async with site.client() as client:
        assert (await sign_in(client)).status_code == 400


Spoil = Callable[[Provider], None]


def spoiled_claims(**changes: Any) -> Spoil:
    def spoil(provider: Provider) -> None:
        provider.claims = lambda claims: {k: v for k, v in {**claims, **changes}.items() if v is not None}

    return spoil


def spoiled(**changes: Any) -> Spoil:
    def spoil(provider: Provider) -> None:
        for name, value in changes.items():
            setattr(provider, name, value)

    return spoil


def signed_by_the_public_key(provider: Provider) -> None:
    provider.header = {"alg": "HS256"}
    provider.sign_with = OctKey.import_key(provider.key.as_pem(private=False).replace(b"-----", b""))


WRONG: dict[str, Spoil] = {
    "state": spoiled(redirect={"state": "x" * 43}),
    "no state": spoiled(redirect={"state": ""}),
    "no code": spoiled(redirect={"code": ""}),
    "another code": spoiled(redirect={"code": "guessed"}),
    "issuer of the answer": spoiled(redirect={"iss": "https://evil.example.com"}),
    "no issuer of the answer": spoiled(redirect={"iss": ""}),
    "nonce": spoiled_claims(nonce="another"),
    "no nonce": spoiled_claims(nonce=None),
    "audience": spoiled_claims(aud="another client"),
    "no audience": spoiled_claims(aud=None),
    "audience of several without azp": spoiled_claims(aud=[CLIENT, "another"]),
    "authorized party": spoiled_claims(azp="another"),
    "issuer": spoiled_claims(iss="https://evil.example.com"),
    "no issuer": spoiled_claims(iss=None),
    "no subject": spoiled_claims(sub=None),
    "empty subject": spoiled_claims(sub=""),
    "long subject": spoiled_claims(sub="x" * 256),
    "expired": spoiled_claims(exp=int(time.time()) - 3600),
    "no expiry": spoiled_claims(exp=None),
    "no time of issue": spoiled_claims(iat=None),
    "issued in the future": spoiled_claims(iat=int(time.time()) + 3600),
    "hash of another access token": spoiled_claims(at_hash="AAAAAAAAAAAAAAAAAAAAAA"),
    "too long": spoiled_claims(groups=["x" * 100] * 200),
    "not signed": spoiled(header={"alg": "none"}),
    "signed by the public key": signed_by_the_public_key,
    "signed by another key": spoiled(sign_with=make_key("one")),
    "unknown key": spoiled(header={"kid": "two"}),
    "kind of token": spoiled(header={"typ": "at+jwt"}),
}


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
async def test_a7_a9_wrong_answers_of_a_provider_give_400_and_no_session(
    sites: Callable[..., Any], provider: Provider
) -> None:
    site = await sites()
    for number, (case, spoil) in enumerate(WRONG.items()):
        provider.__init__(provider.issuer, key=provider.key, person=dict(ADA))  # type: ignore[misc]  # as it was
        spoil(provider)
        # Each from an address of its own: whoever fails too often is stopped.
        transport = httpx.ASGITransport(app=site.app, client=(f"10.0.{number}.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8002") as client:
            answer = await sign_in(client)
            assert answer.status_code == 400, (case, answer.text)
            assert "c2subauth" not in answer.headers.get("set-cookie", ""), case
            assert (await client.get("/api/me")).json()["email"] is None, case
    assert await site.context.accounts.users.list() == []
    failed = await site.context.accounts.audit.read()
    assert [(entry.action, entry.result) for entry in failed] == [("login", "failed")] * len(WRONG)
    provider.__init__(provider.issuer, key=provider.key, person=dict(ADA))  # type: ignore[misc]
    async with site.client() as client:
        assert (await sign_in(client)).status_code == 303, "a right answer is good"


async def test_a9_an_answer_is_good_once_and_in_one_browser(sites: Callable[..., Any], provider: Provider) -> None:
    site = await sites()
    async with site.client() as client, site.client() as other:
        begun = await client.get("/auth/oidc/login")
        binding = begun.headers["set-cookie"].split(";")[0]
        back = await at_provider(client, begun.headers["location"])
        assert (await other.get(back)).status_code == 400, "another browser"
        assert (await client.get(back)).status_code == 303
        # The browser forgets the binding; whoever kept it and the address cannot use them again.
        replayed = await other.get(back, headers={"Cookie": binding})
        assert replayed.status_code == 400
        assert (await other.get("/api/me")).json()["email"] is None
    assert len(provider.exchanged) == 1, "the provider is not even asked"


async def test_a9_the_binding_cannot_be_changed_and_ends(sites: Callable[..., Any], provider: Provider) -> None:
    site = await sites()
    async with site.client() as client:
        begun = await client.get("/auth/oidc/login")
        attributes = begun.headers["set-cookie"]
        assert "HttpOnly" in attributes
        assert "SameSite=lax" in attributes
        body, _, signature = client.cookies["c2oidc"].partition(".")
        back = await at_provider(client, begun.headers["location"])
    async with site.client() as client:
        for cookie in (f"{body}x.{signature}", f"{body}.", "", "é", f".{signature}"):
            answer = await client.get(back, headers={"Cookie": f"c2oidc={cookie}".encode()})
            assert answer.status_code == 400, cookie
    secret = Secret("another secret for tests")
    old = Flow("x" * 43, int(time.time()) - 601)
    with pytest.raises(BadRequest):
        Flow.of_cookie(secret, old.cookie(secret))
    assert Flow.of_cookie(secret, Flow("x" * 43, int(time.time()) - 590).cookie(secret)).value == "x" * 43


async def test_a9_nobody_is_led_elsewhere_after_signing_in(sites: Callable[..., Any], provider: Provider) -> None:
    site = await sites()
    async with site.client() as client:
        for path in (
            "//evil.example.com",
            "https://evil.example.com",
            "/\\evil.example.com",
            "\\\\evil",
            "/\t/evil",
            "javascript:x",
        ):
            with pytest.raises(BadRequest):
                check_next(path)
            assert (await client.get("/auth/oidc/login", params={"next": path})).status_code == 400, path


async def test_a9_a_site_behind_a_prefix_and_tls(sites: Callable[..., Any], provider: Provider) -> None:
    site = await sites(site={"urlbase": "https://data.example.org/cat"})
    async with site.client(base_url="https://data.example.org") as client:
        begun = await client.get("/auth/oidc/login", params={"next": "/cat/d/lab"})
        attributes = begun.headers["set-cookie"]
        assert attributes.startswith("__Host-c2oidc=")
        assert "Secure" in attributes
        asked = parse_qs(urlsplit(begun.headers["location"]).query)
        assert asked["redirect_uri"] == ["https://data.example.org/cat/auth/oidc/callback"]
        back = await at_provider(client, begun.headers["location"])
        done = await client.get(f"/auth/oidc/callback?{back.query.decode()}")
    assert (done.status_code, done.headers["location"]) == (303, "/cat/d/lab")


async def test_a9_groups_follow_the_claim_and_leave_others_alone(sites: Callable[..., Any], provider: Provider) -> None:
    site = await sites(groups_claim="groups", groups={"ou-xray": "xray", "ou-boss": "admins", "bad": "../x"})
    provider.person = {**ADA, "groups": ["ou-xray", "elsewhere", "bad"]}
    async with site.client() as client:
        await sign_in(client)
        assert (await client.get("/api/me")).json()["groups"] == ["xray"]
        account = await site.context.accounts.find_user("ada@example.org")
        await site.context.accounts.groups.add("manual")
        await site.context.accounts.groups.add_member("manual", account.id)
        provider.person = {**ADA, "groups": ["ou-boss"]}
        await sign_in(client)
        assert (await client.get("/api/me")).json()["groups"] == ["admins", "manual"]
        assert (await client.get("/api/me")).json()["is_superuser"] is False


async def test_a9_an_identity_is_linked_by_whoever_is_logged_in(sites: Callable[..., Any], provider: Provider) -> None:
    site = await sites()
    await site.add(USER)
    form = {"username": USER, "password": PASSWORD}
    async with site.client() as client, site.client() as script:
        assert (await script.post("/auth/oidc/link", json={})).status_code == 401
        await client.post("/auth/jwt/login", data=form)
        token = (await client.post("/api/tokens", json={"name": "x", "scopes": ["read"]})).json()["token"]
        beyond = await script.post("/auth/oidc/link", json={}, headers={"Authorization": f"Bearer {token}"})
        assert beyond.status_code == 403
        foreign = {"Origin": "https://evil.example.com"}
        assert (await client.post("/auth/oidc/link", json={}, headers=foreign)).status_code == 403
        begun = (await client.post("/auth/oidc/link", json={"next": "account"})).json()
        back = await at_provider(client, begun["url"])
        binding = {"Cookie": f"c2oidc={client.cookies['c2oidc']}"}
        assert (await script.get(back, headers=binding)).status_code == 400, "not logged in as who began it"
        done = await client.get(back)
        assert (done.status_code, done.headers["location"]) == (303, "/account")
    async with site.client() as client:
        await sign_in(client)
        assert (await client.get("/api/me")).json()["email"] == USER


async def test_a9_an_identity_is_unlinked_unless_it_is_the_only_way_in(
    sites: Callable[..., Any], provider: Provider
) -> None:
    site = await sites()
    await site.add(USER)
    async with site.client() as client, site.client() as elsewhere:
        await sign_in(client)
        [ada] = (await client.get("/api/identities")).json()
        assert ada == {"id": ada["id"], "issuer": provider.issuer, "subject": "ada-1", "current": True}
        refused = await client.delete(f"/api/identities/{ada['id']}")
        assert refused.status_code == 409
        assert "choose a password first" in refused.json()["detail"]

        provider.person = {"sub": "user-1", "email": USER, "email_verified": True}
        await client.post("/auth/jwt/login", data={"username": USER, "password": PASSWORD})
        await elsewhere.post("/auth/jwt/login", data={"username": USER, "password": PASSWORD})
        assert (await client.delete(f"/api/identities/{ada['id']}")).status_code == 404, "it is somebody else's"
        body = {"name": "x", "scopes": ["read"]}
        reading = {"Authorization": f"Bearer {(await client.post('/api/tokens', json=body)).json()['token']}"}
        begun = (await client.post("/auth/oidc/link", json={})).json()
        await client.get(await at_provider(client, begun["url"]))
        [linked] = (await client.get("/api/identities")).json()
        async with site.client(headers=reading) as script:
            assert (await script.delete(f"/api/identities/{linked['id']}")).status_code == 403
        assert (await client.delete(f"/api/identities/{linked['id']}")).status_code == 204
        assert (await client.get("/api/me")).json()["email"] is None
        assert (await elsewhere.get("/api/me")).json()["email"] is None, "sessions that it began end too"
    async with site.client() as client:
        assert (await sign_in(client)).status_code == 400, "the identity is nobody's now"
    done = {(entry.action, entry.actor, entry.target) for entry in await site.context.accounts.audit.read()}
    assert {("link identity", USER, "user-1"), ("unlink identity", USER, "user-1")} <= done


async def test_a9_of_two_identities_one_is_left(sites: Callable[..., Any], provider: Provider) -> None:
    site = await sites()
    async with site.client() as client:
        await sign_in(client)
        account = await site.context.accounts.find_user("ada@example.org")
        for issuer, subject in ((provider.issuer, "ada-2"), ("https://former.example.org", "ada")):
            await site.context.accounts.identities.link(issuer, subject, account.id)
        ids = {one["subject"]: one["id"] for one in (await client.get("/api/identities")).json()}
        assert (await client.delete(f"/api/identities/{ids['ada-2']}")).status_code == 204
        await sign_in(client)
        kept = await client.delete(f"/api/identities/{ids['ada-1']}")
        assert kept.status_code == 409, "nobody signs in by the former provider"


async def test_a9_who_may_have_an_account(sites: Callable[..., Any], provider: Provider) -> None:
    for settings in ({"accounts": False}, {"domains": ["example.net"]}, {"site": {"maxusers": 1}}):
        site = await sites(**settings)
        if "site" in settings:
            await site.add(USER)
        async with site.client() as client:
            answer = await sign_in(client)
            assert answer.status_code == 400, settings
            assert (await client.get("/api/me")).json()["email"] is None
    site = await sites(domains=["EXAMPLE.org"])
    async with site.client() as client:
        assert (await sign_in(client)).status_code == 303
        await site.context.accounts.change_user(
            "ada@example.org", active=False, superuser=None, actor="test", caller=_caller()
        )
        refused = await sign_in(client)
        assert (refused.status_code, refused.json()["detail"]) == (400, "Your account here is disabled")


def _caller():  # type: ignore[no-untyped-def]
    from caterva2_subscriber.auth.caller import Caller

    return Caller()


@pytest.mark.parametrize(("kind", "algorithm"), [("RSA", "RS256"), ("RSA", "PS256"), ("OKP", "EdDSA")])
@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
async def test_a7_other_keys_and_a_new_key(
    sites: Callable[..., Any], provider: Provider, kind: str, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await sites()
    async with site.client() as client:
        assert (await sign_in(client)).status_code == 303
    monkeypatch.setattr("caterva2_subscriber.auth.oidc.provider.ASK_AGAIN_S", 0.0)
    provider.key, provider.algorithm = make_key("new", kind), algorithm
    async with site.client() as client:
        assert (await sign_in(client)).status_code == 303, "the new key was asked for"


async def test_a9_a_browser_gets_a_page_that_says_what_was_wrong(sites: Callable[..., Any], provider: Provider) -> None:
    site = await sites()
    async with site.client(headers={"Accept": "text/html"}) as client:
        page = await client.get("/auth/oidc/callback?code=x&state=<script>")
    assert page.status_code == 400
    assert page.headers["content-type"].startswith("text/html")
    assert "begin again" in page.text
    assert "<script>" not in page.text


async def test_a9_a_provider_that_is_away_or_another_is_503(sites: Callable[..., Any], provider: Provider) -> None:
    site = await sites()
    for description in (
        {"issuer": "https://evil.example.com"},
        {"token_endpoint": "file:///etc/passwd"},
        {"jwks_uri": None},
    ):
        provider.description = description
        async with site.client() as client:
            answer = await client.get("/auth/oidc/login")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "10"), description


async def test_a2_guesses_at_the_callback_are_limited(sites: Callable[..., Any], provider: Provider) -> None:
    site = await sites()
    async with site.client() as client:
        statuses = [(await client.get("/auth/oidc/callback?code=x&state=y")).status_code for _ in range(22)]
    assert statuses == [400] * 20 + [429] * 2


async def test_without_a_provider_there_are_no_such_routes(site: Site) -> None:
    async with await site.as_user(USER) as client:
        assert (await client.get("/auth/oidc/login")).status_code == 404
        assert (await client.get("/auth/oidc/callback")).status_code == 404
        assert (await client.post("/auth/oidc/link", json={})).status_code == 404
        assert (await client.get("/api/me")).json()["oidc"] is False


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "http://id.example.org"},
        {"issuer": "id.example.org"},
        {"issuer": "https://id.example.org?x=1"},
        {"scopes": ["email"]},
        {"client_id": ""},
    ],
)
def test_a9_settings_that_are_not_safe_stop_the_start(wrong: dict[str, Any]) -> None:
    good = {"issuer": "https://id.example.org", "client_id": "x"}
    assert SubscriberSettings(auth={"oidc": good}).auth.oidc is not None
    with pytest.raises(ValidationError):
        SubscriberSettings(auth={"oidc": {**good, **wrong}})


async def test_what_a_user_uses_and_may_use_is_in_me(start: Start) -> None:
    site = await start(quota=10_000_000)
    await site.add(USER)
    account = await site.context.accounts.find_user(USER)
    await site.context.spaces.set_user_quota(account.id, 5000)
    names = ("used_bytes", "quota_bytes", "site_used_bytes", "site_quota_bytes")
    async with await site.as_user(USER) as client, site.client() as nobody:
        me = (await client.get("/api/me")).json()
        assert [me[name] for name in names] == [0, 5000, 0, 10_000_000]
        await client.post("/api/upload/@personal/x.bin", files={"file": ("x.bin", b"x" * 100)})
        me = (await client.get("/api/me")).json()
        assert me["used_bytes"] == me["site_used_bytes"] > 0
        await site.add("root@example.com", superuser=True)
        async with await site.as_user("root@example.com") as root:
            listed = {user["email"]: user for user in (await root.get("/api/listusers/")).json()}
            assert [listed[USER][name] for name in names[:2]] == [me["used_bytes"], 5000]
            assert [listed["root@example.com"][name] for name in names[:2]] == [0, None]
            changed = (await root.patch(f"/api/users/{USER}", json={"quota": "2K"})).json()
            assert [changed[name] for name in names[:2]] == [me["used_bytes"], 2048]
        assert [(await nobody.get("/api/me")).json()[name] for name in names] == [None] * 4
