"""`Client`: everything that a subscriber offers, in blocking code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Self

import httpx

from . import _administration as administration
from . import _operations as operations
from . import _transfer as transfer
from ._address import DEFAULT_URLBASE, PathLike, as_text, remote_path
from ._auth import Auth
from ._base import BaseClient, check_subscribed, uploaded
from ._events import Event, follow
from ._file import File, Root, open_path, refer
from ._freshness import Freshness
from ._progress import bar
from ._transport import DEFAULT_TIMEOUT_S, Operation, T, Transport, parse_json

if TYPE_CHECKING:
    from ._chunked import ChunkGrid
    from ._dataset import Dataset
    from ._reading import Reading

Shown = transfer.Progress | bool | None


class Client(BaseClient):
    """A connection to a subscriber. Safe to share between threads; use it as a context manager, or call `close`.

    Parameters
    ----------
    urlbase
        Base of the subscriber's URLs, like ``https://data.example.org``.
    auth
        `BasicAuth`, a tuple of user name and password, or `TokenAuth`. None, or an empty name or password: anonymous.
    timeout
        Seconds of silence after which a request is given up, however long an answer is. Requests for data may take
        a minute to begin, unless another timeout than 5 is given. None: wait for ever.

    Raises
    ------
    ValueError
        If `urlbase` or `auth` is not what it should be.
    httpx.HTTPStatusError
        If the subscriber refuses the password.
    """

    def __init__(
        self,
        urlbase: str = DEFAULT_URLBASE,
        auth: Auth = None,
        timeout: float | None = DEFAULT_TIMEOUT_S,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(urlbase, auth, timeout)
        self._transport = Transport(self._session, transport=transport)
        self._run(self._session.login())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the pooled connections."""
        self._transport.close()

    def _run(self, operation: Operation[T]) -> T:
        return self._transport.run(operation)

    @property
    def httpx_client(self) -> httpx.Client:
        """The pooled HTTP client, for requests of one's own."""
        return self._transport.httpx_client

    # --- what is there ---------------------------------------------------------------------
    def get_roots(self) -> dict[str, dict[str, Any]]:
        """Return name and state of every root that this client may see, by name."""
        return self._run(operations.get_roots())

    def subscribe(self, root: PathLike, *, site: bool = False) -> str:
        """Subscribe to a root, so that the subscriber follows it. Returns ``"Ok"``.

        The subscription is the user's own; that of the whole site with `site` (administrators).
        """
        return self._run(operations.subscribe(root, site=site))

    def unsubscribe(self, root: PathLike, *, who: str = "me", free: bool = True) -> str:
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
        return self._run(operations.unsubscribe(root, who=who, free=free))

    def get_subscriptions(self) -> list[dict[str, Any]]:
        """Return for each root whether the subscriber follows it, for the ``site`` and whether it is ``mine``."""
        return self._run(operations.get_subscriptions())

    def get(self, path: PathLike) -> Root | File | Dataset:
        """Return the root, dataset or file of this path, following its root if need be.

        Raises
        ------
        caterva2.errors.NotFound
            If there is nothing under this path; also a `httpx.HTTPStatusError`.
        ValueError
            If the path is empty or begins with a slash.
        """
        if isinstance(path, Root | File):
            return path
        whole = remote_path(path)
        name, *rest = whole.parts
        self._follow(name)
        root = Root(self, name)
        return open_path(root, PurePosixPath(*rest)) if rest else root

    def _follow(self, root: str) -> None:
        if root not in self._followed:
            check_subscribed(root, self.subscribe(root))
            self._followed.add(root)

    def get_list(self, path: PathLike) -> list[str]:
        """Return the sorted paths of the datasets and files at or below `path`, relative to it."""
        return self._run(operations.get_list(path))

    def search(
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
        return self._run(operations.search(words, root=root, kind=kind, newest=newest, limit=limit))

    def get_info(self, path: PathLike) -> dict[str, Any]:
        """Return what the subscriber knows of a dataset or file."""
        return self._run(operations.get_info(path))

    def read_info(self, path: PathLike) -> tuple[dict[str, Any], Freshness]:
        """Return what `get_info` does, and how fresh it is."""
        response = self._run(operations.info_response(path))
        return parse_json(response, dict), Freshness.from_headers(response.headers)

    # --- data ---------------------------------------------------------------------
    def fetch(self, path: PathLike, slice_: Any = None) -> Any:
        """Return a dataset or a part of it as an array, or a file or a part of it as bytes."""
        return self.get_slice(path, slice_, as_blosc2=False)

    def get_slice(self, path: PathLike, key: Any = None, as_blosc2: bool = True, field: str | None = None) -> Any:
        """Return a part of a dataset or file.

        Parameters
        ----------
        path
            The dataset or file.
        key
            What numpy's basic indexing takes; or text: a slice like ``"0:10, 3"``, or else a filter like ``"a < 5"``
            that chooses rows of a structured dataset. None: everything.
        as_blosc2
            Whether to return the Blosc2 container that was received (an NDArray, or an SChunk for bytes), or else a
            numpy array (or bytes).
        field
            Name of a field of a structured dataset, in place of `key`.
        """
        return self.read(path, key, as_blosc2=as_blosc2, field=field).value

    def read(
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

        return self._run(read(path, key, field=field, as_blosc2=as_blosc2, shape=shape, grid=grid))

    def plan(self, path: PathLike, key: Any = None) -> dict[str, Any]:
        """Return what reading a slice would cost, without reading it.

        Returns
        -------
        dict
            Among others ``nbytes`` of the result, ``link_bytes`` and ``link_chunks`` to come over the link, and
            ``cache_bytes`` and ``cache_chunks`` that are there already; compressed sizes in bytes.
        """
        return self._run(operations.plan(path, as_text(key)))

    def get_chunk(self, path: PathLike, nchunk: int) -> bytes:
        """Return a compressed chunk, counted row-major over the chunk grid."""
        return self._run(operations.get_chunk(path, nchunk))

    def download(self, dataset: PathLike, localpath: str | Path | None = None, *, progress: Shown = None) -> Path:
        """Store a dataset or file on the local disk, without holding it in memory.

        Parameters
        ----------
        dataset
            Its path.
        localpath
            A directory, or the name of the local file. None: ``ROOT/sub/name`` below the current directory.
        progress
            Called with the bytes received and the bytes expected, if these are known. None: a bar, if a person
            watches and it takes long; False: nothing.

        Returns
        -------
        Path
            The local file: a Blosc2 frame for datasets, the content itself for other files.
        """
        with bar(str(remote_path(dataset)), progress) as tell:
            return self._run(transfer.download(dataset, localpath, tell))

    # --- changes ---------------------------------------------------------------------
    def upload(
        self,
        localpath: Any = None,
        dataset: PathLike | None = None,
        compute: bool | None = None,
        *,
        local_dset: Any = None,
        remotepath: PathLike | None = None,
        progress: Shown = None,
    ) -> File | Dataset:
        """Send a local file, without holding it in memory, or what is in memory.

        Parameters
        ----------
        localpath, local_dset
            Path of a local file; or bytes, an array, or a lazy expression over datasets of this subscriber.
        dataset, remotepath
            Path of the new dataset or file; for local files also an existing directory and a slash.
        compute
            Whether to store the values of an expression, and not the expression.
        progress
            As for `download`.

        Returns
        -------
        File or Dataset
            What was made; it is also a path.
        """
        from ._contents import upload_any

        content, target = uploaded(localpath, dataset, local_dset, remotepath)
        if target is None:
            raise TypeError("upload() needs the path of the new dataset")
        with bar(str(target), progress) as tell:
            return refer(self, self._run(upload_any(content, target, compute, tell)))

    def append(self, remotepath: PathLike, data: Any) -> tuple[int, ...]:
        """Append array-like data along the first axis. Returns the new shape."""
        from ._arrays import to_cframe

        return self._run(operations.append(remotepath, to_cframe(data)))

    def unfold(self, remotepath: PathLike) -> PurePosixPath:
        """Make the datasets of a container file (HDF5, zip, tar) reachable beside it. Returns the directory's name."""
        return self._run(operations.unfold(remotepath))

    def remove(self, path: PathLike) -> PurePosixPath:
        """Remove a dataset, a file, or a directory and all that is in it. Returns its path."""
        return self._run(operations.remove(path))

    def move(self, src: PathLike, dst: PathLike) -> File | Dataset:
        """Move a dataset, file or directory to a new path or into a directory. Returns what is there now."""
        return refer(self, self._run(operations.move(src, dst)))

    def copy(self, src: PathLike, dst: PathLike) -> File | Dataset:
        """Copy a dataset, file or directory to a new path or into a directory. Returns the copy."""
        return refer(self, self._run(operations.copy(src, dst)))

    def concatenate(self, srcs: Sequence[PathLike], dst: PathLike, axis: int) -> File | Dataset:
        """Join arrays along an axis into a new dataset at `dst`."""
        return refer(self, self._run(operations.combine("concat", srcs, dst, axis)))

    def stack(self, srcs: Sequence[PathLike], dst: PathLike, axis: int) -> File | Dataset:
        """Stack arrays of one shape along a new axis into a new dataset at `dst`."""
        return refer(self, self._run(operations.combine("stack", srcs, dst, axis)))

    def lazyexpr(
        self, name: str, expression: str, operands: Mapping[str, PathLike] | None = None, compute: bool = False
    ) -> File | Dataset:
        """Store an expression over datasets as ``@personal/NAME.b2nd``.

        Parameters
        ----------
        name
            Name of the new dataset, without suffix.
        expression
            Expression in the variables of `operands`, in the language of blosc2's lazy expressions.
        operands
            Dataset of each variable.
        compute
            Whether to store the values, and not the expression.
        """
        return refer(self, self._run(operations.lazyexpr(name, expression, operands, compute)))

    def addnotebook(self, path: PathLike) -> File | Dataset:
        """Create an empty notebook at `path`."""
        return refer(self, self._run(operations.add_notebook(path)))

    def load_from_url(self, urlpath: str, dataset: PathLike) -> File | Dataset:
        """Make the subscriber download a file; only from hosts that its configuration allows."""
        return refer(self, self._run(operations.load_from_url(urlpath, dataset)))

    # --- users ---------------------------------------------------------------------
    def adduser(self, newuser: str, password: str | None = None, superuser: bool = False) -> str:
        """Add a user; only superusers can. Returns the server's sentence."""
        return self._run(operations.add_user(newuser, password, superuser))

    def deluser(self, user: str) -> str:
        """Delete a user and what is personal to them; only superusers can. Returns the server's sentence."""
        return self._run(operations.delete_user(user))

    def listusers(self, username: str | None = None) -> list[dict[str, Any]]:
        """Return facts about one user, or about all: among them ``used_bytes``, and ``quota_bytes`` or None."""
        return self._run(operations.list_users(username))

    def set_quota(self, user: str, quota: int | str | None) -> dict[str, Any]:
        """Let a user's files take so many bytes, or ``"10G"``; None for no limit. Only superusers can.

        Returns
        -------
        dict
            Facts about the user, as `listusers` has them.
        """
        return self._run(administration.set_quota(user, quota))

    # --- changes by others ---------------------------------------------------------------------
    def events(self, *roots: str, last_id: str | None = None) -> Iterator[Event]:
        """Yield changes as they happen, for ever.

        Parameters
        ----------
        roots
            Names of the roots whose changes are wanted; none: all.
        last_id
            `Event.id` behind which to go on; None: from now.
        """
        return follow(self._transport, frozenset(roots) or None, last_id)

    # --- the chunk cache ---------------------------------------------------------------------
    def cache(self, action: str = "status", path: PathLike | None = None, key: Any = None) -> dict[str, Any]:
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
        return self._run(operations.cache(action, path, as_text(key)))

    # --- accounts, groups and rights ---------------------------------------------------------------------
    def whoami(self) -> dict[str, Any]:
        """Return who the subscriber thinks is asking: ``email``, ``groups``, ``scopes`` and more."""
        return self._run(administration.whoami())

    def logout(self) -> None:
        """End the session; the client is anonymous from then on."""
        if self.cookie is not None:
            self._run(administration.logout())
            self._session.forget()

    def list_tokens(self) -> list[dict[str, Any]]:
        """Return the user's API tokens, without their secrets."""
        return self._run(administration.list_tokens())

    def add_token(self, name: str, scopes: Sequence[str] = ("read",), days: int = 90) -> dict[str, Any]:
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
        return self._run(administration.add_token(name, scopes, days))

    def revoke_token(self, token_id: str) -> None:
        """Revoke an API token."""
        self._run(administration.revoke_token(token_id))

    def list_identities(self) -> list[dict[str, Any]]:
        """Return the identities at an OpenID provider by which the user signs in."""
        return self._run(administration.list_identities())

    def unlink_identity(self, identity_id: str) -> None:
        """Take such an identity from the user's account; all sessions of the user end.

        Raises
        ------
        Conflict
            If it is the only way into the account.
        """
        self._run(administration.unlink_identity(identity_id))

    def list_groups(self) -> list[dict[str, Any]]:
        """Return the groups that this user may see, with their members."""
        return self._run(administration.list_groups())

    def add_group(self, name: str, description: str = "") -> dict[str, Any]:
        """Add a group; only administrators can."""
        return self._run(administration.add_group(name, description))

    def remove_group(self, name: str) -> None:
        """Remove a group; only administrators can."""
        self._run(administration.remove_group(name))

    def add_member(self, group: str, user: str) -> None:
        """Put a user into a group; only administrators can."""
        self._run(administration.add_member(group, user))

    def remove_member(self, group: str, user: str) -> None:
        """Take a user out of a group; only administrators can."""
        self._run(administration.remove_member(group, user))

    def list_rights(self) -> list[dict[str, Any]]:
        """Return who may read and write each root; only administrators can."""
        return self._run(administration.list_rights())

    def get_rights(self, root: str) -> dict[str, Any]:
        """Return who may read and write a root; only administrators can."""
        return self._run(administration.get_rights(root))

    def set_rights(self, root: str, access: str, grantees: Sequence[str] | None) -> dict[str, Any]:
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
        return self._run(administration.set_rights(root, access, grantees))
