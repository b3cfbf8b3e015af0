"""The one way from a path to bytes, whatever is behind it: a published root, a space, an expression.

Handlers ask the `Library`; it checks names and rights, then asks the `Provider` of the root. Readers get a `Resource`,
which stands for exactly one version.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from caterva2.errors import DatasetNotFound, NotFound, RootNotFound
from caterva2.paths import PERSONAL, SHARED, SPECIAL_ROOTS, split
from caterva2.slices import Selection
from caterva2.wire import Kind
from caterva2_formats.base import Layout, Skeleton

from .auth.principal import Principal
from .rights import Rights


@dataclass(frozen=True, slots=True)
class Freshness:
    """What is known of how current a version is."""

    verified_age_s: float = 0.0
    """Seconds since the version was last known to be the source's; 0 for what lives at this subscriber."""
    stale_s: float | None = None
    """The same while the publisher cannot be reached; None otherwise."""


@dataclass(slots=True)
class Usage:
    """Where the bytes of an answer came from; counted while it is read."""

    reader: str = "anonymous"
    """Whom they are counted for."""
    link_bytes: int = 0
    cache_bytes: int = 0
    cache_state: str | None = None
    """``full`` or ``broken`` when something fetched could not be kept."""

    @property
    def source(self) -> str:
        """``cache``, ``link`` or ``mixed``."""
        if not self.link_bytes:
            return "cache"
        return "mixed" if self.cache_bytes else "link"


class Resource(Protocol):
    """One version of one dataset or file, opened for one reader."""

    @property
    def path(self) -> str:
        """API path, ``ROOT/sub/name``."""
        ...

    @property
    def kind(self) -> Kind:
        """What the path holds."""
        ...

    @property
    def etag(self) -> str:
        """The version."""
        ...

    @property
    def mtime(self) -> float | None:
        """Unix time in seconds of the source's last change."""
        ...

    @property
    def layout(self) -> Layout | None:
        """Geometry; None for what cannot be read as an array or as bytes, such as a file that failed its checks."""
        ...

    @property
    def info(self) -> Mapping[str, Any]:
        """What ``/api/info`` answers."""
        ...

    @property
    def freshness(self) -> Freshness:
        """How current the version is."""
        ...

    @property
    def usage(self) -> Usage:
        """Where the bytes that were read so far came from."""
        ...

    async def chunk(self, nchunk: int) -> bytes:
        """Return a compressed chunk as stored. Raises ChunkNotFound."""
        ...

    def chunks(self, numbers: Iterable[int]) -> AsyncIterator[tuple[int, bytes]]:
        """Yield compressed chunks in the order asked for, a bounded number ahead of the reader."""
        ...

    async def skeleton(self) -> Skeleton | None:
        """Return what of the stored frame is not chunks; None if it is not stored as a frame."""
        ...

    def missing(self, numbers: Sequence[int]) -> list[int]:
        """Return those of the chunks that would have to come over the link."""
        ...

    @property
    def chunk_cbytes(self) -> int:
        """Compressed bytes of a chunk, about."""
        ...

    def link_bytes(self, selection: Selection) -> int:
        """Return the compressed bytes that reading a selection alone would bring over the link, about."""
        ...

    async def read(self, selection: Selection, *, alone: bool = False) -> np.ndarray[Any, Any]:
        """Return the selected elements. For frames and files the dtype is ``|u1``.

        Parameters
        ----------
        alone
            Whether nothing around the selection is about to be read: of large chunks, blocks may then do.
        """
        ...


class Provider(Protocol):
    """What is behind the paths of one kind of root. Names are checked and rights granted before it is asked."""

    async def open(self, principal: Principal, root: str, rel: str) -> Resource:
        """Open the present version of ``root/rel``. Raises DatasetNotFound."""
        ...

    async def list(self, principal: Principal, root: str, rel: str) -> list[str]:
        """Return the sorted paths below ``root/rel``, relative to it; ``[basename]`` when it is a dataset or file."""
        ...

    async def info(self, principal: Principal, root: str, rel: str) -> Mapping[str, Any]:
        """Return what ``/api/info`` answers, without reading data. Raises DatasetNotFound."""
        ...


class PublishedProvider(Provider, Protocol):
    """Provider of the roots that have publishers."""

    async def renew(self, root: str) -> None:
        """Make what is known of a root equal to what its publisher has. Raises UpstreamUnavailable."""
        ...


class Library:
    """Resolves API paths for a principal.

    Parameters
    ----------
    rights
        Who may read what.
    published
        Provider of every root that has a publisher. It raises RootNotFound for names that it does not know.
    """

    def __init__(self, rights: Rights, published: PublishedProvider) -> None:
        self._rights = rights
        self._published = published
        self._special: dict[str, Provider] = {}

    def register(self, root: str, provider: Provider) -> None:
        """Let `provider` answer for the special root `root`."""
        self._special[root] = provider

    def require_root(self, root: str) -> None:
        """Return if something answers for the special root `root`. Raises RootNotFound."""
        self._provider(root)

    def _provider(self, root: str) -> Provider:
        provider = self._special.get(root)
        if provider is None:
            if root in SPECIAL_ROOTS:
                raise RootNotFound(f"{root} not known by the broker")
            provider = self._published
        return provider

    async def open(self, principal: Principal, path: str) -> Resource:
        """Open the present version of a dataset or file.

        Raises
        ------
        InvalidName, DatasetNotFound, RootNotFound, NotFound
            Hidden and absent roots are not told apart.
        """
        root, rel = await self._resolve(principal, path)
        return await self._provider(root).open(principal, root, rel)

    async def info(self, principal: Principal, path: str) -> Mapping[str, Any]:
        """Return what ``/api/info`` answers for `path`. Raises as `open` does."""
        root, rel = await self._resolve(principal, path)
        return await self._provider(root).info(principal, root, rel)

    async def list(self, principal: Principal, path: str) -> list[str]:
        """Return the sorted paths below a root or directory.

        Raises
        ------
        InvalidName, RootNotFound
            The latter with the sentence that clients of the original know.
        """
        root, rel = split(path)
        if not await self._rights.readable(principal, root):
            if root in (SHARED, PERSONAL) and principal.is_anonymous:
                raise NotFound(f"{root} needs authentication")
            raise RootNotFound(f"{root} not known by the broker")
        return await self._provider(root).list(principal, root, rel)

    async def renew(self, path: str) -> None:
        """Look for the present version at its source: a reader met another one than `open` gave."""
        root, _ = split(path)
        if root not in SPECIAL_ROOTS:
            await self._published.renew(root)

    async def _resolve(self, principal: Principal, path: str) -> tuple[str, str]:
        root, rel = split(path)
        await self._rights.require_read(principal, root)
        if not rel:
            raise DatasetNotFound
        return root, rel
