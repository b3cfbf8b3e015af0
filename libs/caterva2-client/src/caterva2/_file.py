"""`Root` and `File`: a tree of a subscriber, and what is in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from html import escape
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from . import paths
from ._address import PathLike, remote_path
from ._base import uploaded
from ._facts import Facts
from ._freshness import Freshness
from ._transfer import Progress

if TYPE_CHECKING:
    from ._chunked import ChunkGrid
    from ._client import Client
    from ._dataset import Dataset

SHOWN = 20
"""Paths of a root that a notebook shows."""


class Root:
    """A root: a tree of datasets and files.

    Parameters
    ----------
    client
        The client through which the root is read.
    name
        Name of the root.

    Programs written before there were clients call ``Root(name, urlbase, user_auth)``, or ``Root(name, host)``; that
    works as well, and follows the root.
    """

    def __init__(
        self,
        client: Client | str | None = None,
        name: str | None = None,
        user_auth: Mapping[str, str] | None = None,
        *,
        urlbase: str | None = None,
        host: str | None = None,
    ) -> None:
        if client is None or isinstance(client, str):
            from .compat._objects import client_of_root

            address = urlbase or host or (None if client is None else name)
            name = client or name or ""
            client = client_of_root(name, address, user_auth)
        self.client = client
        self.name = str(name)

    @property
    def urlbase(self) -> str:
        """Base of the subscriber's URLs."""
        return self.client.urlbase

    @property
    def cookie(self) -> str | None:
        """Session cookie of the client."""
        return self.client.cookie

    @property
    def auth_cookie(self) -> str | None:
        """Older name of `cookie`."""
        return self.cookie

    @property
    def node_list(self) -> list[str]:
        """Older name of `file_list`."""
        return self.file_list

    @property
    def file_list(self) -> list[str]:
        """Paths of all datasets and files, relative to the root, as of now."""
        return self.client.get_list(self.name)

    def __getitem__(self, path: PathLike) -> File | Dataset:
        return open_path(self, path)

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str | PurePosixPath) and str(path) in self.file_list

    def __iter__(self) -> Iterator[str]:
        return iter(self.file_list)

    def __len__(self) -> int:
        return len(self.file_list)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Root: {self.name}>"

    def _repr_html_(self) -> str:
        listed = self.file_list
        shown = "".join(f"<li>{escape(path)}</li>" for path in listed[:SHOWN])
        more = f"<li>and {len(listed) - SHOWN} more</li>" if len(listed) > SHOWN else ""
        return f"<b>{escape(self.name)}</b>, {len(listed)} datasets and files<ul>{shown}{more}</ul>"

    def upload(
        self,
        localpath: Any = None,
        dataset: PathLike | None = None,
        compute: bool | None = None,
        *,
        local_dset: Any = None,
        remotepath: PathLike | None = None,
        progress: Progress | bool | None = None,
    ) -> File | Dataset:
        """Send something into this root; see `Client.upload`.

        `dataset` (or `remotepath`) is relative to the root; None stands for the local file's own relative path.

        Raises
        ------
        ValueError
            If no remote path is given and the local one is absolute.
        """
        content, target = uploaded(localpath, dataset, local_dset, remotepath)
        return self.client.upload(content, f"{self.name}/{inside(content, target)}", compute, progress=progress)

    def load_from_url(self, url: str, remotepath: PathLike | None = None) -> File | Dataset:
        """Make the subscriber download a file into this root; None stands for the last part of the URL."""
        return self.client.load_from_url(url, self.name if remotepath is None else f"{self.name}/{remotepath}")


def inside(content: Any, target: PathLike | None) -> PathLike:
    """Return the path, relative to a root, under which `content` goes."""
    if target is not None:
        return target
    if not isinstance(content, str | Path) or Path(content).is_absolute():
        raise ValueError("When `dataset` is not specified, `localpath` must be a relative path")
    return PurePosixPath(Path(content).as_posix())


class File(Facts):
    """A file at a subscriber.

    Parameters
    ----------
    root
        The root that holds it.
    path
        Its path inside the root.

    Programs written before there were clients call ``File(path, root, urlbase, auth_cookie)``, with the name of the
    root, or ``File(path, root, host)``; that works as well.

    Raises
    ------
    caterva2.errors.NotFound
        If there is no such file; also a `httpx.HTTPStatusError`.
    """

    def __init__(
        self,
        root: Root | PathLike | None = None,
        path: Any = None,
        urlbase: str | None = None,
        auth_cookie: str | None = None,
        *,
        name: PathLike | None = None,
        host: str | None = None,
    ) -> None:
        if not isinstance(root, Root):
            from .compat._objects import root_of_file

            inner = root if name is None else name
            holder = path if name is None else root
            root, path = root_of_file(holder, urlbase or host, auth_cookie), inner
        self._place(root, path)
        _ = self.meta

    def _place(self, root: Root, path: PathLike) -> None:
        self.root = root
        self.name = str(remote_path(path))
        self.path = PurePosixPath(root.name) / self.name
        self.freshness = Freshness()
        self._version_of_meta: str | None = None

    @cached_property
    def meta(self) -> dict[str, Any]:  # type: ignore[override]
        """What ``/api/info`` answered when it was first needed; it does not change when the dataset does."""
        info, self.freshness = self.client.read_info(self.path)
        self._version_of_meta = self.freshness.version
        return info

    def _grid(self) -> ChunkGrid | None:
        """Return how this is cut into chunks, where that is known and of use."""
        return None

    def _known_shape(self) -> tuple[int, ...] | None:
        """Return the lengths of the axes if that takes no request."""
        shape = self.__dict__.get("meta", {}).get("shape")
        return None if shape is None else tuple(shape)

    @property
    def client(self) -> Client:
        """The client through which the file is read."""
        return self.root.client

    @property
    def urlbase(self) -> str:
        """Base of the subscriber's URLs."""
        return self.client.urlbase

    @property
    def cookie(self) -> str | None:
        """Session cookie of the client."""
        return self.client.cookie

    @property
    def auth_cookie(self) -> str | None:
        """Older name of `cookie`."""
        return self.cookie

    def get_download_url(self) -> str:
        """Return the URL of the whole file, as a Blosc2 frame."""
        return self.client.get_download_url(self.path)

    def __getitem__(self, item: Any) -> Any:
        return self.slice(item, as_blosc2=False)

    def __len__(self) -> int:
        return self.nbytes

    def slice(self, key: Any, as_blosc2: bool = True) -> Any:
        """Return a part of the content.

        Parameters
        ----------
        key
            An integer, a slice, or a tuple of them.
        as_blosc2
            Whether to return the Blosc2 container that was received, or else an array or bytes.
        """
        return self._read(key, as_blosc2=as_blosc2)

    def _read(self, key: Any = None, *, as_blosc2: bool, field: str | None = None) -> Any:
        found = self.client.read(
            self.path, key, as_blosc2=as_blosc2, field=field, shape=self._known_shape(), grid=self._grid()
        )
        self.freshness = found.freshness
        return found.value

    def fetch(self, slice_: Any = None, prefer_schunk: bool = True) -> Any:
        """Return the content, or a part of it, as an array or bytes.

        `prefer_schunk` changed how release 0.1 of the original transferred data; here it has no effect.
        """
        return self.slice(slice_, as_blosc2=False)

    def download(self, localpath: str | Path | None = None, *, progress: Progress | bool | None = None) -> Path:
        """Store this on the local disk; see `Client.download`."""
        return self.client.download(self.path, localpath, progress=progress)

    def unfold(self) -> PurePosixPath:
        """Make the datasets of a container file reachable beside it; see `Client.unfold`."""
        return self.client.unfold(self.path)

    def move(self, dst: PathLike) -> File | Dataset:
        """Move this to `dst`. Returns what is there now."""
        return self.client.move(self.path, dst)

    def copy(self, dst: PathLike) -> File | Dataset:
        """Copy this to `dst`. Returns the copy."""
        return self.client.copy(self.path, dst)

    def remove(self) -> PurePosixPath:
        """Remove this. Returns its path."""
        return self.client.remove(self.path)

    def concatenate(self, srcs: PathLike | Sequence[PathLike], dst: PathLike, axis: int) -> File | Dataset:
        """Join this and other arrays along an axis; see `Client.concatenate`."""
        return self.client.concatenate(self._with(srcs), dst, axis)

    def stack(self, srcs: PathLike | Sequence[PathLike], dst: PathLike, axis: int) -> File | Dataset:
        """Stack this and other arrays along a new axis; see `Client.stack`."""
        return self.client.stack(self._with(srcs), dst, axis)

    def _with(self, srcs: Any) -> list[PathLike]:
        return [self.path, *(srcs if isinstance(srcs, list | tuple) else [srcs])]


def kind_of(path: PathLike) -> type[File]:
    """Return the class of what has this path: it follows from the suffix."""
    from ._dataset import Dataset

    return Dataset if paths.is_dataset(str(path)) else File


def open_path(root: Root, path: PathLike) -> File | Dataset:
    """Return what is at a path. Raises NotFound."""
    return kind_of(path)(root, path)


def refer(client: Client, path: PathLike) -> File | Dataset:
    """Return what is at a path without asking for it: the server has just said that it is there."""
    whole = remote_path(path)
    kind = kind_of(whole)
    found = kind.__new__(kind)
    found._place(Root(client, whole.parts[0]), PurePosixPath(*whole.parts[1:]))
    return found
