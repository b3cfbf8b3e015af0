"""Tokens between services (requirements A7, A12, F14)."""

import json
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from caterva2.errors import NotAuthenticated, Unavailable
from caterva2.wire import ServiceKey
from caterva2_service import trust
from caterva2_service.trust import BROKER, Identity, Keyring, Role, audience_of, check, claimed_key
from tests.support.trust import make_identity

AUDIENCE = audience_of("localhost:8001")


@pytest.fixture
def subscriber(tmp_path: Path) -> Identity:
    return make_identity(tmp_path / "sub", Role.SUBSCRIBER)


def at(monkeypatch: pytest.MonkeyPatch, offset_s: float) -> None:
    """Move the clock of this machine."""
    import time

    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + offset_s)


def test_a_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    first = make_identity(tmp_path, Role.PUBLISHER)
    assert make_identity(tmp_path, Role.PUBLISHER).public == first.public
    path = tmp_path / "identity.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["d"] not in json.dumps(first.public.model_dump())


def test_a12_a_token_is_good_for_its_audience_only(subscriber: Identity) -> None:
    token = subscriber.token(AUDIENCE)
    assert check(token, subscriber.public, audience=AUDIENCE).kid == subscriber.public.kid
    for other in (BROKER, audience_of("localhost:8002"), "localhost:8001", ""):
        with pytest.raises(NotAuthenticated):
            check(token, subscriber.public, audience=other)


def test_a12_a_token_of_another_service_is_refused(subscriber: Identity, tmp_path: Path) -> None:
    other = make_identity(tmp_path / "other", Role.SUBSCRIBER)
    with pytest.raises(NotAuthenticated):
        check(other.token(AUDIENCE), subscriber.public, audience=AUDIENCE)
    # A key that claims the thumbprint of another.
    forged = ServiceKey(kid=subscriber.public.kid, role="subscriber", jwk=other.public.jwk)
    with pytest.raises(NotAuthenticated):
        check(other.token(AUDIENCE), forged, audience=AUDIENCE)


@pytest.mark.parametrize(("offset_s", "good"), [(0, True), (300, True), (355, True), (400, False), (600, False)])
def test_f14_a_token_ends_after_minutes_with_a_leeway_for_clocks(
    subscriber: Identity, monkeypatch: pytest.MonkeyPatch, offset_s: float, good: bool
) -> None:
    token = subscriber.token(AUDIENCE)
    at(monkeypatch, offset_s)
    if good:
        check(token, subscriber.public, audience=AUDIENCE)
        return
    with pytest.raises(NotAuthenticated, match="clocks"):
        check(token, subscriber.public, audience=AUDIENCE)


def test_f14_a_token_from_the_future_is_refused_with_a_word_about_clocks(
    subscriber: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = subscriber.token(AUDIENCE)
    at(monkeypatch, -600)
    with pytest.raises(NotAuthenticated, match="clocks"):
        check(token, subscriber.public, audience=AUDIENCE)


def test_tokens_are_made_anew_before_they_end(subscriber: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    first = subscriber.token(AUDIENCE)
    assert subscriber.token(AUDIENCE) == first
    at(monkeypatch, 200)
    assert subscriber.token(AUDIENCE) != first


def signed(key: OKPKey, header: dict[str, object], **changes: object) -> str:
    import time

    kid = key.thumbprint()
    claims = {"iss": kid, "sub": kid, "aud": AUDIENCE, "role": "subscriber", "iat": int(time.time())}
    claims |= {"exp": claims["iat"] + 300, **changes}  # type: ignore[operator]
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode({"alg": "Ed25519", "kid": kid, **header}, claims, key, algorithms=["Ed25519", "HS256"])


@pytest.mark.parametrize(
    "changes",
    [{"exp": None}, {"aud": None}, {"iss": None}, {"sub": None}, {"iat": None}, {"role": None}, {"iss": "x"},
     {"role": "publisher"}, {"exp": 2**40}, {"exp": "soon"}],
    ids=str,
)  # fmt: skip
def test_a7_every_claim_is_needed_and_checked(changes: dict[str, object]) -> None:
    key = OKPKey.generate_key("Ed25519")
    public = ServiceKey(kid=key.thumbprint(), role="subscriber", jwk=key.as_dict(private=False))  # type: ignore[arg-type]
    check(signed(key, {}), public, audience=AUDIENCE)
    with pytest.raises(NotAuthenticated):
        check(signed(key, {}, **changes), public, audience=AUDIENCE)


def test_a7_another_algorithm_is_refused() -> None:
    key = OKPKey.generate_key("Ed25519")
    public = ServiceKey(kid=key.thumbprint(), role="subscriber", jwk=key.as_dict(private=False))  # type: ignore[arg-type]
    # The classic confusion: a MAC with the public key as its secret.
    secret = OctKey.import_key(public.jwk["x"] * 2)
    token = jwt.encode({"alg": "HS256", "kid": public.kid}, {"aud": AUDIENCE}, secret, algorithms=["HS256"])
    unsigned = token.rpartition(".")[0].replace(token.split(".")[0], "eyJhbGciOiJub25lIiwia2lkIjoieCJ9") + "."
    for bad in (token, unsigned):
        with pytest.raises(NotAuthenticated):
            check(bad, public, audience=AUDIENCE)


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "é.é.é", "x" * 9000, "e30.e30.e30"])
def test_a7_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(NotAuthenticated):
        claimed_key(token)


def fetching(answers: list[list[ServiceKey] | Unavailable]) -> Callable[[], Awaitable[list[ServiceKey]]]:
    async def fetch() -> list[ServiceKey]:
        answer = answers.pop(0) if answers else Unavailable("the broker is down")
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    return fetch


async def test_a12_the_keyring_asks_the_broker_once_for_an_unknown_key(subscriber: Identity, tmp_path: Path) -> None:
    keyring = Keyring(tmp_path / "keys.json", fetching([[subscriber.public]]))
    for _ in range(3):
        caller = await keyring.verify(subscriber.token(AUDIENCE), audience=AUDIENCE, role=Role.SUBSCRIBER)
        assert caller.kid == subscriber.public.kid
    await keyring.close()


async def test_a12_a_service_that_was_admitted_a_moment_ago_is_not_refused(
    subscriber: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "RETRY_S", 0.05)
    second = make_identity(tmp_path / "second", Role.SUBSCRIBER)
    keyring = Keyring(tmp_path / "keys.json", fetching([[subscriber.public], [subscriber.public, second.public]]))
    for each in (subscriber, second):
        caller = await keyring.verify(each.token(AUDIENCE), audience=AUDIENCE, role=Role.SUBSCRIBER)
        assert caller.kid == each.public.kid
    await keyring.close()


async def test_f5_known_services_are_answered_while_the_broker_is_down(subscriber: Identity, tmp_path: Path) -> None:
    first = Keyring(tmp_path / "keys.json", fetching([[subscriber.public]]))
    await first.verify(subscriber.token(AUDIENCE), audience=AUDIENCE, role=Role.SUBSCRIBER)
    await first.close()
    second = Keyring(tmp_path / "keys.json", fetching([]))
    await second.verify(subscriber.token(AUDIENCE), audience=AUDIENCE, role=Role.SUBSCRIBER)
    stranger = make_identity(tmp_path / "stranger", Role.SUBSCRIBER)
    with pytest.raises(Unavailable):
        await second.verify(stranger.token(AUDIENCE), audience=AUDIENCE, role=Role.SUBSCRIBER)
    await second.close()


async def test_a_revoked_service_is_refused_once_the_broker_was_asked_again(
    subscriber: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "REFRESH_S", -1.0)
    monkeypatch.setattr(trust, "RETRY_S", -1.0)
    keyring = Keyring(tmp_path / "keys.json", fetching([[subscriber.public], [], []]))
    token = subscriber.token(AUDIENCE)
    await keyring.verify(token, audience=AUDIENCE, role=Role.SUBSCRIBER)
    await keyring.verify(token, audience=AUDIENCE, role=Role.SUBSCRIBER)
    assert keyring._refreshing is not None
    await keyring._refreshing
    with pytest.raises(NotAuthenticated):
        await keyring.verify(token, audience=AUDIENCE, role=Role.SUBSCRIBER)
    await keyring.close()


async def test_a12_a_publisher_does_not_pass_for_a_subscriber(tmp_path: Path) -> None:
    publisher = make_identity(tmp_path / "pub", Role.PUBLISHER)
    keyring = Keyring(tmp_path / "keys.json", fetching([[publisher.public]]))
    with pytest.raises(NotAuthenticated):
        await keyring.verify(publisher.token(AUDIENCE), audience=AUDIENCE, role=Role.SUBSCRIBER)
    with pytest.raises(NotAuthenticated):
        await keyring.verify(None, audience=AUDIENCE, role=Role.SUBSCRIBER)
    await keyring.close()
