"""Who may read and write which root: the one place of enforcement.

For each root and access (``read``, ``write``) there is a set of grantees: ``public``, ``users``, ``nobody``,
``group:NAME`` and ``user:EMAIL``. An administrator sets it; until then the default holds:

============== ======================================= =============
root           read                                    write
============== ======================================= =============
published      what its publisher declares, or public  nobody, ever
``@public``    public                                  users
``@shared``    users                                   users
``@personal``  its owner, always                       its owner
============== ======================================= =============

Administrators may read and write everything but the personal files of others.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from caterva2.errors import BadRequest, NotFound, PermissionDenied, ReadOnlyRoot, Unavailable
from caterva2.paths import PERSONAL, PUBLIC, SHARED, SPECIAL_ROOTS

from .auth.principal import READ, WRITE, Principal, require_user
from .db import Grants

EVERYBODY = "public"
USERS = "users"
NOBODY = "nobody"
FRESH_S = 2.0
"""How long a replica may go on with rights that were changed elsewhere."""
READ_ONLY = "Only @personal or @shared or @public roots can be modified"

_GRANTEE = re.compile(r"(public|users|nobody|group:[a-z0-9][a-z0-9_-]{0,62}|user:[^@\s]{1,64}@[^@\s]{1,255})\Z")
_DEFAULTS = {
    (PUBLIC, READ): frozenset({EVERYBODY}),
    (PUBLIC, WRITE): frozenset({USERS}),
    (SHARED, READ): frozenset({USERS}),
    (SHARED, WRITE): frozenset({USERS}),
}


@dataclass(frozen=True, slots=True)
class RootRights:
    """Who may do what with one root."""

    root: str
    read: tuple[str, ...]
    write: tuple[str, ...]
    read_is_default: bool
    write_is_default: bool


def check_grantees(grantees: Iterable[str]) -> frozenset[str]:
    """Return the grantees in the form that is stored. Raises BadRequest."""
    checked = set()
    for grantee in grantees:
        grantee = grantee.strip()
        grantee = grantee.lower() if grantee.startswith("user:") else grantee
        if not _GRANTEE.match(grantee):
            raise BadRequest(f"'{grantee[:80]}' is none of public, users, nobody, group:NAME and user:EMAIL")
        checked.add(grantee)
    return frozenset(checked or {NOBODY})


class Rights:
    """Answers whether a principal may read or write a root.

    Parameters
    ----------
    grants
        What administrators have set. While the database is away, what was last known holds.
    declared
        Returns the access that the publisher of a root declares: grantees separated by commas, or None.
    login
        Whether the site knows users; without, only what is public exists.
    """

    def __init__(self, grants: Grants, declared: Callable[[str], str | None], *, login: bool = True) -> None:
        self._grants = grants
        self._declared = declared
        self._login = login
        self._known: dict[tuple[str, str], frozenset[str]] | None = None
        self._known_at = 0.0
        self._loading = asyncio.Lock()

    async def readable(self, principal: Principal, root: str) -> bool:
        """Tell whether `principal` may know of `root` and read it.

        Raises
        ------
        Unavailable
            If that depends on who it is, or on rights, and the database that knows is away.
        """
        return await self._granted(principal, READ, root)

    async def require_read(self, principal: Principal, root: str) -> None:
        """Return if `principal` may read `root`.

        Raises
        ------
        NotFound
            Hidden and absent roots are not told apart.
        Unavailable
        """
        if not await self.readable(principal, root):
            raise NotFound

    async def writable(self, principal: Principal, root: str) -> bool:
        """Tell whether `principal` may change what is in `root`. Raises Unavailable."""
        return root in SPECIAL_ROOTS and not principal.is_anonymous and await self._granted(principal, WRITE, root)

    async def require_write(self, principal: Principal, root: str, *, detail: str = READ_ONLY) -> None:
        """Return if `principal` may write to `root`.

        Raises
        ------
        NotAuthenticated, PermissionDenied, Unavailable
        ReadOnlyRoot
            With `detail`, for roots that are written to elsewhere.
        """
        require_user(principal)
        if root not in SPECIAL_ROOTS:
            raise ReadOnlyRoot(detail)
        if not await self._granted(principal, WRITE, root):
            raise PermissionDenied(f"You may not write to {root}")

    async def _granted(self, principal: Principal, access: str, root: str) -> bool:
        if not self._login and root in (SHARED, PERSONAL):
            return False
        grantees = frozenset({USERS}) if root == PERSONAL else await self._grantees(root, access)
        if EVERYBODY in grantees and access == READ:
            return True
        if principal.unverified:
            require_user(principal)
        if principal.is_anonymous or not principal.in_scope(access, root):
            return False
        return (
            principal.is_superuser
            or bool(grantees & {USERS, EVERYBODY, f"user:{principal.email}"})
            or any(f"group:{group}" in grantees for group in principal.groups)
        )

    async def _grantees(self, root: str, access: str) -> frozenset[str]:
        found = (await self._all()).get((root, access))
        return self._default(root, access) if found is None else found

    def _default(self, root: str, access: str) -> frozenset[str]:
        if root in SPECIAL_ROOTS:
            return _DEFAULTS[root, access]
        if access == WRITE:
            return frozenset({NOBODY})
        declared = self._declared(root)
        if not declared:
            return frozenset({EVERYBODY})
        try:
            return check_grantees(declared.split(","))
        except BadRequest:
            return frozenset({NOBODY})  # a publisher that wants to restrict, in words of a newer version

    async def _all(self) -> dict[tuple[str, str], frozenset[str]]:
        if self._known is not None and time.monotonic() - self._known_at < FRESH_S:
            return self._known
        async with self._loading:
            if self._known is not None and time.monotonic() - self._known_at < FRESH_S:
                return self._known
            try:
                self._known = await self._grants.all()
                self._known_at = time.monotonic()
            except Unavailable:
                # Nobody can have changed them meanwhile: that needs the database too.
                if self._known is None:
                    raise
            return self._known

    # --- administration ---------------------------------------------------------------------
    def forget(self) -> None:
        """Ask the database again: something was changed."""
        self._known_at = 0.0

    async def describe(self, root: str) -> RootRights:
        """Return who may do what with a root. Raises Unavailable."""
        known = await self._all()
        read, write = await self._grantees(root, READ), await self._grantees(root, WRITE)
        return RootRights(
            root, tuple(sorted(read)), tuple(sorted(write)), (root, READ) not in known, (root, WRITE) not in known
        )

    async def named(self) -> set[str]:
        """Return the roots that rights were set for, whether they exist at present or not. Raises Unavailable."""
        return {root for root, _ in await self._all()}

    async def set(self, root: str, access: str, grantees: Collection[str] | None) -> None:
        """Replace the grantees of an access; None brings back the default.

        Raises
        ------
        BadRequest
            For ``@personal``, and for writing to a published root.
        Unavailable
        """
        if root == PERSONAL:
            raise BadRequest("@personal belongs to its owner")
        if access == WRITE and root not in SPECIAL_ROOTS:
            raise ReadOnlyRoot(READ_ONLY)
        checked = None if grantees is None else check_grantees(grantees)
        if access == WRITE and checked and EVERYBODY in checked:
            raise BadRequest("only users may write: grant it to users, group:NAME or user:EMAIL")
        await self._grants.set(root, access, checked)
        self.forget()
