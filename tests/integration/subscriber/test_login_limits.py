"""How long somebody waits who guesses passwords, and that nobody else does (A2)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from caterva2.errors import BadRequest, TooManyRequests
from caterva2_subscriber.auth.caller import Caller
from caterva2_subscriber.auth.limits import PER_ACCOUNT, PER_ADDRESS, LoginLimits
from caterva2_subscriber.auth.secret import Secret
from caterva2_subscriber.db import Attempts, Database

from .conftest import PASSWORD, SECRET, Site

ADA, BOB = "ada@example.com", "bob@example.com"
HERE, ELSEWHERE = Caller(address="192.0.2.1"), Caller(address="198.51.100.7")


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(database: Database, clock: Clock) -> LoginLimits:
    return LoginLimits(Attempts(database, clock), Secret(SECRET))


async def fail(limits: LoginLimits, email: str | None = ADA, caller: Caller = HERE, browser: str | None = None) -> None:
    """Guess wrong. Raises TooManyRequests."""
    with pytest.raises(BadRequest):
        async with limits.attempt(email, caller, browser=browser):
            raise BadRequest("LOGIN_BAD_CREDENTIALS")


async def succeed(limits: LoginLimits, email: str = ADA, caller: Caller = HERE, browser: str | None = None) -> None:
    """Log in. Raises TooManyRequests."""
    async with limits.attempt(email, caller, browser=browser) as outcome:
        outcome.succeeded = True


async def delay(
    limits: LoginLimits, email: str | None = ADA, caller: Caller = HERE, browser: str | None = None
) -> float:
    """Return the seconds that the next attempt has to wait."""
    try:
        async with limits.attempt(email, caller, browser=browser) as outcome:
            outcome.succeeded = True
    except TooManyRequests as error:
        return error.retry_after_s or -1.0
    return 0.0


async def test_a2_each_failure_doubles_the_delay_up_to_a_limit(limits: LoginLimits, clock: Clock) -> None:
    for _ in range(PER_ACCOUNT.free):
        await fail(limits)
    waited = []
    for _ in range(7):
        waited.append(await delay(limits))
        clock.now += waited[-1] - 0.5
        assert await delay(limits) == pytest.approx(0.5), "also the right password waits"
        clock.now += 0.6
        await fail(limits)
    assert waited == pytest.approx([30, 60, 120, 240, 480, 900, 900])
    clock.now += 900.1
    await succeed(limits)
    await fail(limits)
    assert await delay(limits) == 0, "who has logged in begins anew"


async def test_a2_delays_hold_after_a_restart_and_for_every_replica(
    limits: LoginLimits, database: Database, clock: Clock
) -> None:
    for _ in range(PER_ACCOUNT.free):
        await fail(limits)
    other = LoginLimits(Attempts(database, clock), Secret(SECRET))
    assert await delay(other) == pytest.approx(30)
    clock.now += 31
    await fail(other)
    assert await delay(limits) == pytest.approx(60)


async def test_a2_a_stranger_does_not_keep_the_owner_out(limits: LoginLimits, clock: Clock) -> None:
    browser = limits.browser_of(ADA)
    neighbour = Caller(address="192.0.2.99")
    for _ in range(PER_ACCOUNT.free):
        await fail(limits, caller=neighbour)
    assert await delay(limits, caller=neighbour) > 0
    assert await delay(limits) > 0, "the same network"
    assert await delay(limits, caller=ELSEWHERE) == 0
    assert await delay(limits, browser=browser) == 0, "the owner's browser, behind the same address"
    assert await delay(limits, email=BOB) == 0
    for forged in ("", ".", "x." + "0" * 64, browser[:-1] + ("0" if browser[-1] != "0" else "1"), "é"):
        assert await delay(limits, browser=forged) > 0
    for _ in range(PER_ACCOUNT.free):
        await fail(limits, browser=browser)
    assert await delay(limits, browser=browser) == pytest.approx(30), "a stolen browser guesses no faster"
    for _ in range(PER_ACCOUNT.free):
        await fail(limits, BOB, ELSEWHERE, browser)
    assert await delay(limits, BOB, ELSEWHERE, browser) > 0, "it counts for the account that was logged in to"


async def test_a2_an_address_that_tries_many_accounts_waits_minutes_at_most(limits: LoginLimits, clock: Clock) -> None:
    for number in range(PER_ADDRESS.free):
        await fail(limits, f"user{number}@example.com")
    waited = []
    for number in range(5):
        waited.append(await delay(limits, f"other{number}@example.com"))
        clock.now += waited[-1] + 0.1
        await fail(limits, f"other{number}@example.com")
    assert waited == pytest.approx([10, 20, 40, 60, 60])
    assert await delay(limits, None) == pytest.approx(60), "so it is where the account is not known before"
    clock.now += 3600
    assert await delay(limits, BOB) == 0


async def test_a2_addresses_of_one_ipv6_network_count_as_one(limits: LoginLimits) -> None:
    for number in range(PER_ADDRESS.free):
        await fail(limits, f"user{number}@example.com", Caller(address=f"2001:db8::{number + 1:x}"))
    assert await delay(limits, caller=Caller(address="2001:db8::ffff:1")) > 0
    assert await delay(limits, caller=Caller(address="2001:db8:0:1::1")) == 0


async def test_a2_a_browser_that_has_logged_in_is_remembered_and_programs_get_one_cookie(site: Site) -> None:
    form = {"username": "user@example.com", "password": PASSWORD}
    browsing = {"Sec-Fetch-Site": "same-origin"}
    async with site.client() as program, site.client() as stranger, site.client(headers=browsing) as browser:
        assert len((await program.post("/auth/jwt/login", data=form)).headers.get_list("set-cookie")) == 1
        answer = await browser.post("/auth/jwt/login", data=form)
        [kept] = [text for text in answer.headers.get_list("set-cookie") if text.startswith("c2browser=")]
        assert {"HttpOnly", "SameSite=strict"} <= set(kept.split("; "))
        for _ in range(PER_ACCOUNT.free):
            await stranger.post("/auth/jwt/login", data={**form, "password": "a wrong password"})
        assert (await stranger.post("/auth/jwt/login", data=form)).status_code == 429
        assert (await browser.post("/auth/jwt/login", data=form)).status_code == 204
