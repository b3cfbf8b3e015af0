"""How often somebody may try: logins, registrations, mails (A2)."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

from caterva2.errors import BadRequest, TooManyRequests

from ..db import Attempts
from .caller import Caller
from .secret import Secret

LONGEST_WINDOW_S = 86400.0


@dataclass(frozen=True, slots=True)
class Delays:
    """After `free` attempts in `window_s` seconds each further one waits twice as long as the one before it."""

    free: int
    window_s: float
    first_s: float
    longest_s: float

    def after(self, count: int) -> float:
        """Return the seconds between the last of `count` attempts and the next one."""
        if count < self.free:
            return 0.0
        # Powers beyond any delay that is meant would only overflow.
        return min(self.longest_s, self.first_s * 2.0 ** min(count - self.free, 40))


PER_ACCOUNT = Delays(free=5, window_s=LONGEST_WINDOW_S, first_s=30.0, longest_s=900.0)
"""For one account from one network: 5 at once, then about 100 a day."""
PER_ADDRESS = Delays(free=20, window_s=3600.0, first_s=10.0, longest_s=60.0)
"""For all accounts from one host, behind which there may be an institute."""
PER_MAILBOX = Delays(free=3, window_s=3600.0, first_s=60.0, longest_s=600.0)


class LoginLimits:
    """Counts failed logins per account and network, and per address; the more there are, the longer the next one waits.

    No delay is for ever, nor does it hold in another network. Who has logged in to an account in a browser before is
    counted apart in that browser, so that nobody beside or behind the same address can keep the owner out. A login
    that succeeds makes up for the failures before it.
    """

    def __init__(self, attempts: Attempts, secret: Secret) -> None:
        self._attempts = attempts
        self._secret = secret
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def attempt(
        self, email: str | None, caller: Caller, *, browser: str | None = None
    ) -> AsyncIterator[_Outcome]:
        """Let somebody try once; what is not told to have succeeded counts.

        Parameters
        ----------
        email
            The account that is tried; None where that is not known before, so that only the address has limits.
        browser
            What `browser_of` gave to the browser at an earlier login.

        Raises
        ------
        TooManyRequests
            With the seconds after which one may try again.
        """
        limits = self._limits(email, caller, browser)
        # One at a time per account: a burst of parallel guesses is counted like a sequence of them.
        first = next(iter(limits))
        lock = self._locks.setdefault(first, asyncio.Lock())
        async with lock:
            counts = {key: await self._check(key, delays) for key, delays in limits.items()}
            outcome = _Outcome()
            try:
                yield outcome
            except BadRequest:
                await self._attempts.add(sorted(limits), window_s=LONGEST_WINDOW_S)
                raise
            if not outcome.succeeded:
                await self._attempts.add(sorted(limits), window_s=LONGEST_WINDOW_S)
            elif email is not None and counts[first]:
                await self._attempts.forget(first)

    def _limits(self, email: str | None, caller: Caller, browser: str | None) -> dict[str, Delays]:
        """Return what is counted, the account first where it is known."""
        address = {f"login:{caller.host}": PER_ADDRESS}
        if email is None:
            return address
        account = _fingerprint(email)
        if browser is not None:
            number = browser.partition(".")[0]
            if secrets.compare_digest(browser.encode(), self._signed(account, number).encode()):
                return {f"login:{account}:{number}": PER_ACCOUNT}
        return {f"login:{account}:{caller.network}": PER_ACCOUNT, **address}

    def browser_of(self, email: str) -> str:
        """Return what a browser shows at later logins to this account: it proves nothing but an earlier one."""
        return self._signed(_fingerprint(email), secrets.token_hex(16))

    def _signed(self, account: str, number: str) -> str:
        return f"{number}.{self._secret.digest('browser', f'{account}:{number}').hex()}"

    async def count(self, action: str, email: str, caller: Caller) -> None:
        """Count one use of what sends mails or makes accounts. Raises TooManyRequests."""
        mailbox, address = f"{action}:{_fingerprint(email)}", f"{action}:{caller.host}"
        await self._check(mailbox, PER_MAILBOX)
        await self._check(address, PER_ADDRESS)
        await self._attempts.add([mailbox, address], window_s=LONGEST_WINDOW_S)

    async def _check(self, key: str, delays: Delays) -> int:
        count, latest = await self._attempts.recent(key, window_s=delays.window_s)
        wait_s = latest + delays.after(count) - self._attempts.clock()
        if count >= delays.free and wait_s > 0:
            raise TooManyRequests("Too many attempts; wait before you try again", retry_after_s=wait_s)
        return count


@dataclass(slots=True)
class _Outcome:
    succeeded: bool = False


def _fingerprint(email: str) -> str:
    # Addresses of people who only mistyped are nobody's business, so the table holds no address.
    return hashlib.sha256(email.strip().lower().encode(errors="surrogatepass")).hexdigest()[:32]
