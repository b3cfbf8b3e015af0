"""Who may read and write which root: the one place of enforcement."""

from __future__ import annotations

from typing import Protocol

from caterva2.errors import NotAuthenticated, NotFound, ReadOnlyRoot
from caterva2.paths import PERSONAL, SHARED, SPECIAL_ROOTS

from .auth.principal import Principal


class Rights(Protocol):
    """Answers whether a principal may read or write a root."""

    async def readable(self, principal: Principal, root: str) -> bool:
        """Tell whether `principal` may know of `root` and read it."""
        ...

    async def require_read(self, principal: Principal, root: str) -> None:
        """Return if `principal` may read `root`. Raises NotFound: hidden and absent roots are not told apart."""
        ...

    async def require_write(self, principal: Principal, root: str) -> None:
        """Return if `principal` may write to `root`. Raises NotAuthenticated, PermissionDenied or ReadOnlyRoot."""
        ...


class DefaultRights:
    """The original's rights: published roots and ``@public`` for all, ``@shared`` and ``@personal`` for users."""

    async def readable(self, principal: Principal, root: str) -> bool:
        """See `Rights.readable`."""
        return not principal.is_anonymous or root not in (SHARED, PERSONAL)

    async def require_read(self, principal: Principal, root: str) -> None:
        """See `Rights.require_read`."""
        if not await self.readable(principal, root):
            raise NotFound

    async def require_write(self, principal: Principal, root: str) -> None:
        """See `Rights.require_write`."""
        if principal.is_anonymous:
            raise NotAuthenticated
        if root not in SPECIAL_ROOTS:
            raise ReadOnlyRoot("Only @personal or @shared or @public roots can be modified")
