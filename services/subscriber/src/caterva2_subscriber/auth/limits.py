"""How often somebody may try: logins, registrations, mails (A2)."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

from caterva2.errors import BadRequest, TooManyRequests

from ..db import Attempts
from .caller import Caller

LONGEST_WINDOW_S = 3600.0


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` attempts in `window_s` seconds."""

    count: int
    window_s: float


PER_ACCOUNT = (Limit(5, 60.0), Limit(30, LONGEST_WINDOW_S))
PER_ADDRESS = (Limit(20, 60.0), Limit(200, LONGEST_WINDOW_S))
PER_MAILBOX = (Limit(3, 300.0), Limit(10, LONGEST_WINDOW_S))


class LoginLimits:
    """Counts failed logins per account and network, and per address. There is no lock that outlasts its window."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def attempt(self, email: str | None, caller: Caller) -> AsyncIterator[_Outcome]:
        """Let somebody try once; what is not told to have succeeded counts.

        Parameters
        ----------
        email
            The account that is tried; None where that is not known before, so that only the address has limits.

        Raises
        ------
        TooManyRequests
            With the seconds after which one may try again.
        """
        address = f"login:{caller.address}"
        account = address if email is None else f"login:{_fingerprint(email)}:{caller.network}"
        # One at a time per account: a burst of parallel guesses is counted like a sequence of them.
        lock = self._locks.setdefault(account, asyncio.Lock())
        async with lock:
            if account != address:
                await self._check(account, PER_ACCOUNT)
            await self._check(address, PER_ADDRESS)
            outcome = _Outcome()
            keys = sorted({account, address})
            try:
                yield outcome
            except BadRequest:
                await self._attempts.add(keys, window_s=LONGEST_WINDOW_S)
                raise
            if not outcome.succeeded:
                await self._attempts.add(keys, window_s=LONGEST_WINDOW_S)

    async def count(self, action: str, email: str, caller: Caller) -> None:
        """Count one use of what sends mails or makes accounts. Raises TooManyRequests."""
        mailbox, address = f"{action}:{_fingerprint(email)}", f"{action}:{caller.address}"
        await self._check(mailbox, PER_MAILBOX)
        await self._check(address, PER_ADDRESS)
        await self._attempts.add([mailbox, address], window_s=LONGEST_WINDOW_S)

    async def _check(self, key: str, limits: tuple[Limit, ...]) -> None:
        for limit in limits:
            count, oldest = await self._attempts.recent(key, window_s=limit.window_s)
            if count >= limit.count:
                wait_s = max(1.0, oldest + limit.window_s - time.time())
                raise TooManyRequests("Too many attempts; wait before you try again", retry_after_s=wait_s)


@dataclass(slots=True)
class _Outcome:
    succeeded: bool = False


def _fingerprint(email: str) -> str:
    # Addresses of people who only mistyped are nobody's business, so the table holds no address.
    return hashlib.sha256(email.strip().lower().encode(errors="surrogatepass")).hexdigest()[:32]
