"""`AsyncClient`: everything that a subscriber offers, on an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Self

import httpx

from . import _administration as administration
from . import _operations as operations
from . import _transfer as transfer
from ._address import DEFAULT_URLBASE, PathLike, as_text, remote_path
from ._async_file import AsyncDataset, AsyncFile, AsyncRoot, refer
from ._auth import Auth
from ._base import BaseClient, check_subscribed, uploaded
from ._events import Event, follow_async
from ._freshness import Freshness
from ._progress import bar
from ._transport import DEFAULT_TIMEOUT_S, AsyncTransport, Operation, T, parse_json

if TYPE_CHECKING:
    from ._chunked import ChunkGrid
    from ._reading import Reading

Shown = transfer.Progress | bool | None


class AsyncClient(BaseClient):
    """A connection to a subscriber for asynchronous code: the methods of `Client`, to be awaited.

    Use it as an asynchronous context manager; a password is exchanged for a session when the context is entered, or
    by `login`.

    Parameters
    ----------
    urlbase, auth, timeout
        As for `Client`.

    Raises
    ------
    ValueError
        If `urlbase` or `auth` is not what it should be.
    """

    def __init__(
        self,
        urlbase: str = DEFAULT_URLBASE,
        auth: Auth = None,
        timeout: float | None = DEFAULT_TIMEOUT_S,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(urlbase, auth, timeout)
        self._transport = AsyncTransport(self._session, transport=transport)

    async def __aenter__(self) -> Self:
        await self.login()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._transport.close()

    async def login(self) -> None:
        """Exchange user name and password for a session. Raises httpx.HTTPStatusError if they are refused."""
        await self._run(self._session.login())

    async def _run(self, operation: Operation[T]) -> T:
        return await self._transport.run(operation)

    @property
    def httpx_client(self) -> httpx.AsyncClient:
        """The pooled HTTP client, for requests of one's own."""
        return self._transport.httpx_client

    # --- what is there ---------------------------------------------------------------------
    async def get_roots(self) -> dict[str, dict[str, Any]]:
        """Return name and state of every root that this client may see, by name."""
        return await self._run(operations.get_roots())

    async def subscribe(self, root: PathLike, *, site: bool = False) -> str:
        """Subscribe to a root, so that the subscriber follows it. Returns ``"Ok"``.

        The subscription is the user's own; that of the whole site with `site` (administrators).
        """
        return await self._run(operations.subscribe(root, site=site))

    async def unsubscribe(self, root: PathLike, *, who: str = "me", free: bool = True) -> str:
        """Give up a subscription. The subscriber follows a root while anybody is subscribed. Returns ``"Ok"``.

        Parameters
        ----------
        who
            ``"me"``; administrators also ``"site"`` or ``"everybody"``.
        free
            Forget the cached chunks of a root that is followed no longer.

        Raises
        ------
        caterva2.errors.NotFound
            If there is no such subscription; also a `httpx.HTTPStatusError`.
        """
        return await self._run(operations.unsubscribe(root, who=who, free=free))

    async def get_subscriptions(self) -> list[dict[str, Any]]:
        """Return for each root whether the subscriber follows it, for the ``site`` and whether it is ``mine``."""
        return await self._run(operations.get_subscriptions())

    async def get(self, path: PathLike) -> AsyncRoot | AsyncFile | AsyncDataset:
        """Return the root, dataset or file of this path; see `Client.get`."""
        if isinstance(path, AsyncRoot | AsyncFile):
            return path
        whole = remote_path(path)
        name, *rest = whole.parts
        if name not in self._followed:
            check_subscribed(name, await self.subscribe(name))
            self._followed.add(name)
        if not rest:
            return AsyncRoot(self, name)
        found = refer(self, whole)
        await found.load()
        return found

    async def get_list(self, path: PathLike) -> list[str]:
        """Return the sorted paths of the datasets and files at or below `path`, relative to it."""
        return await self._run(operations.get_list(path))

    async def search(
        self, words: str = "", *, root: str = "", kind: str = "", newest: bool = False, limit: int | None = 100
    ) -> list[dict[str, Any]]:
        """Find datasets and files in the roots that the subscriber follows and this user may read.

        Parameters
        ----------
        words
            Words that must all be found in path, type (``float32``), shape (``1030x1065``) or attributes
            (``units=mA``).
        root
            Only in this root.
        kind
            Only ``1d``, ``2d`` or ``nd`` arrays, ``table`` or ``file``.
        newest
            By time of change, the newest first and 10,000 at most, instead of by path.
        limit
            At most so many; None for all.

        Returns
        -------
        list of dict
            ``path``, ``kind``, ``dtype``, ``shape``, ``nbytes``, ``mtime`` (Unix time in seconds) and ``etag`` of each.
        """
        return await self._run(operations.search(words, root=root, kind=kind, newest=newest, limit=limit))

    async def get_info(self, path: PathLike) -> dict[str, Any]:
        """Return what the subscriber knows of a dataset or file."""
        return await self._run(operations.get_info(path))

    async def read_info(self, path: PathLike) -> tuple[dict[str, Any], Freshness]:
        """Return what `get_info` does, and how fresh it is."""
        response = await self._run(operations.info_response(path))
        return parse_json(response, dict), Freshness.from_headers(response.headers)

    # --- data ---------------------------------------------------------------------
    async def fetch(self, path: PathLike, slice_: Any = None) -> Any:
        """Return a dataset or a part of it as an array, or a file or a part of it as bytes."""
        return await self.get_slice(path, slice_, as_blosc2=False)

    async def get_slice(self, path: PathLike, key: Any = None, as_blosc2: bool = True, field: str | None = None) -> Any:
        """Return a part of a dataset or file; see `Client.get_slice`."""
        return (await self.read(path, key, as_blosc2=as_blosc2, field=field)).value

    async def read(
        self,
        path: PathLike,
        key: Any = None,
        *,
        as_blosc2: bool = False,
        field: str | None = None,
        shape: tuple[int, ...] | None = None,
        grid: ChunkGrid | None = None,
    ) -> Reading:
        """Return what `get_slice` does, and how fresh it is; `shape` and `grid` save work where they are known."""
        from ._reading import read

        return await self._run(read(path, key, field=field, as_blosc2=as_blosc2, shape=shape, grid=grid))

    async def plan(self, path: PathLike, key: Any = None) -> dict[str, Any]:
        """Return what reading a slice would cost, without reading it.

        Returns
        -------
        dict
            Among others ``nbytes`` of the result, ``link_bytes`` and ``link_chunks`` to come over the link, and
            ``cache_bytes`` and ``cache_chunks`` that are there already; compressed sizes in bytes.
        """
        return await self._run(operations.plan(path, as_text(key)))

    async def get_chunk(self, path: PathLike, nchunk: int) -> bytes:
        """Return a compressed chunk, counted row-major over the chunk grid."""
        return await self._run(operations.get_chunk(path, nchunk))

    async def download(self, dataset: PathLike, localpath: str | Path | None = None, *, progress: Shown = None) -> Path:
        """Store a dataset or file on the local disk, without holding it in memory; see `Client.download`."""
        with bar(str(remote_path(dataset)), progress) as tell:
            return await self._run(transfer.download(dataset, localpath, tell))

    # --- changes ---------------------------------------------------------------------
    async def upload(
        self,
        localpath: Any = None,
        dataset: PathLike | None = None,
        compute: bool | None = None,
        *,
        local_dset: Any = None,
        remotepath: PathLike | None = None,
        progress: Shown = None,
    ) -> AsyncFile | AsyncDataset:
        """Send a local file, bytes, an array or an expression; see `Client.upload`."""
        from ._contents import upload_any

        content, target = uploaded(localpath, dataset, local_dset, remotepath)
        if target is None:
            raise TypeError("upload() needs the path of the new dataset")
        with bar(str(target), progress) as tell:
            return refer(self, await self._run(upload_any(content, target, compute, tell)))

    async def append(self, remotepath: PathLike, data: Any) -> tuple[int, ...]:
        """Append array-like data along the first axis. Returns the new shape."""
        from ._arrays import to_cframe

        return await self._run(operations.append(remotepath, to_cframe(data)))

    async def unfold(self, remotepath: PathLike) -> PurePosixPath:
        """Make the datasets of a container file (HDF5, zip, tar) reachable beside it. Returns the directory's name."""
        return await self._run(operations.unfold(remotepath))

    async def remove(self, path: PathLike) -> PurePosixPath:
        """Remove a dataset, a file, or a directory and all that is in it. Returns its path."""
        return await self._run(operations.remove(path))

    async def move(self, src: PathLike, dst: PathLike) -> AsyncFile | AsyncDataset:
        """Move a dataset, file or directory to a new path or into a directory. Returns what is there now."""
        return refer(self, await self._run(operations.move(src, dst)))

    async def copy(self, src: PathLike, dst: PathLike) -> AsyncFile | AsyncDataset:
        """Copy a dataset, file or directory to a new path or into a directory. Returns the copy."""
        return refer(self, await self._run(operations.copy(src, dst)))

    async def concatenate(self, srcs: Sequence[PathLike], dst: PathLike, axis: int) -> AsyncFile | AsyncDataset:
        """Join arrays along an axis into a new dataset at `dst`."""
        return refer(self, await self._run(operations.combine("concat", srcs, dst, axis)))

    async def stack(self, srcs: Sequence[PathLike], dst: PathLike, axis: int) -> AsyncFile | AsyncDataset:
        """Stack arrays of one shape along a new axis into a new dataset at `dst`."""
        return refer(self, await self._run(operations.combine("stack", srcs, dst, axis)))

    async def lazyexpr(
        self, name: str, expression: str, operands: Mapping[str, PathLike] | None = None, compute: bool = False
    ) -> AsyncFile | AsyncDataset:
        """Store an expression over datasets as ``@personal/NAME.b2nd``; see `Client.lazyexpr`."""
        return refer(self, await self._run(operations.lazyexpr(name, expression, operands, compute)))

    async def addnotebook(self, path: PathLike) -> AsyncFile | AsyncDataset:
        """Create an empty notebook at `path`."""
        return refer(self, await self._run(operations.add_notebook(path)))

    async def load_from_url(self, urlpath: str, dataset: PathLike) -> AsyncFile | AsyncDataset:
        """Make the subscriber download a file; only from hosts that its configuration allows."""
        return refer(self, await self._run(operations.load_from_url(urlpath, dataset)))

    # --- users ---------------------------------------------------------------------
    async def adduser(self, newuser: str, password: str | None = None, superuser: bool = False) -> str:
        """Add a user; only superusers can. Returns the server's sentence."""
        return await self._run(operations.add_user(newuser, password, superuser))

    async def deluser(self, user: str) -> str:
        """Delete a user and what is personal to them; only superusers can. Returns the server's sentence."""
        return await self._run(operations.delete_user(user))

    async def listusers(self, username: str | None = None) -> list[dict[str, Any]]:
        """Return facts about one user, or about all: among them ``used_bytes``, and ``quota_bytes`` or None."""
        return await self._run(operations.list_users(username))

    async def set_quota(self, user: str, quota: int | str | None) -> dict[str, Any]:
        """Let a user's files take so many bytes, or ``"10G"``; None for no limit. Only superusers can.

        Returns
        -------
        dict
            Facts about the user, as `listusers` has them.
        """
        return await self._run(administration.set_quota(user, quota))

    # --- changes by others ---------------------------------------------------------------------
    def events(self, *roots: str, last_id: str | None = None) -> AsyncIterator[Event]:
        """Yield changes as they happen, for ever.

        Parameters
        ----------
        roots
            Names of the roots whose changes are wanted; none: all.
        last_id
            `Event.id` behind which to go on; None: from now.
        """
        return follow_async(self._transport, frozenset(roots) or None, last_id)

    # --- the chunk cache ---------------------------------------------------------------------
    async def cache(self, action: str = "status", path: PathLike | None = None, key: Any = None) -> dict[str, Any]:
        """Look at the subscriber's chunk cache, or change what it keeps; only administrators can.

        Parameters
        ----------
        action
            ``status``; ``verify`` reads all that is cached; ``pin`` never evicts what is below `path`, ``unpin``
            undoes that, ``free`` forgets it, ``prefetch`` brings it in.
        path
            A root, directory or dataset; None for ``status`` and ``verify``.
        key
            The part of a dataset that ``prefetch`` brings in; None: all.
        """
        return await self._run(operations.cache(action, path, as_text(key)))

    # --- accounts, groups and rights ---------------------------------------------------------------------
    async def whoami(self) -> dict[str, Any]:
        """Return who the subscriber thinks is asking: ``email``, ``groups``, ``scopes`` and more."""
        return await self._run(administration.whoami())

    async def logout(self) -> None:
        """End the session; the client is anonymous from then on."""
        if self.cookie is not None:
            await self._run(administration.logout())
            self._session.forget()

    async def list_tokens(self) -> list[dict[str, Any]]:
        """Return the user's API tokens, without their secrets."""
        return await self._run(administration.list_tokens())

    async def add_token(self, name: str, scopes: Sequence[str] = ("read",), days: int = 90) -> dict[str, Any]:
        """Make an API token for `TokenAuth`.

        Parameters
        ----------
        name
            What it is for.
        scopes
            What it is good for: ``read``, ``write``, ``admin``, or ``read:ROOT``, ``write:ROOT``.
        days
            Days after which it expires.

        Returns
        -------
        dict
            Its ``id``, and its ``token``, which is shown this once.
        """
        return await self._run(administration.add_token(name, scopes, days))

    async def revoke_token(self, token_id: str) -> None:
        """Revoke an API token."""
        await self._run(administration.revoke_token(token_id))

    async def list_identities(self) -> list[dict[str, Any]]:
        """Return the identities at an OpenID provider by which the user signs in."""
        return await self._run(administration.list_identities())

    async def unlink_identity(self, identity_id: str) -> None:
        """Take such an identity from the user's account; all sessions of the user end.

        Raises
        ------
        Conflict
            If it is the only way into the account.
        """
        await self._run(administration.unlink_identity(identity_id))

    async def list_groups(self) -> list[dict[str, Any]]:
        """Return the groups that this user may see, with their members."""
        return await self._run(administration.list_groups())

    async def add_group(self, name: str, description: str = "") -> dict[str, Any]:
        """Add a group; only administrators can."""
        return await self._run(administration.add_group(name, description))

    async def remove_group(self, name: str) -> None:
        """Remove a group; only administrators can."""
        await self._run(administration.remove_group(name))

    async def add_member(self, group: str, user: str) -> None:
        """Put a user into a group; only administrators can."""
        await self._run(administration.add_member(group, user))

    async def remove_member(self, group: str, user: str) -> None:
        """Take a user out of a group; only administrators can."""
        await self._run(administration.remove_member(group, user))

    async def list_rights(self) -> list[dict[str, Any]]:
        """Return who may read and write each root; only administrators can."""
        return await self._run(administration.list_rights())

    async def get_rights(self, root: str) -> dict[str, Any]:
        """Return who may read and write a root; only administrators can."""
        return await self._run(administration.get_rights(root))

    async def set_rights(self, root: str, access: str, grantees: Sequence[str] | None) -> dict[str, Any]:
        """Say who may read or write a root; only administrators can.

        Parameters
        ----------
        access
            ``read`` or ``write``.
        grantees
            ``public``, ``users``, ``group:NAME``, ``user:EMAIL``; none of them: nobody. None: the default.

        Returns
        -------
        dict
            The rights of the root.
        """
        return await self._run(administration.set_rights(root, access, grantees))
