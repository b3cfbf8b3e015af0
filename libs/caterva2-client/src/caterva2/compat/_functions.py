"""Functions of the module ``caterva2``, as the releases 0.1 to 2025.2 of the original had them.

In each, `urlbase` is the URL of the subscriber, with or without a slash at its end, or `host` is ``host:port`` as in
release 0.1; None is that of the enclosing `c2context`. `auth_cookie` is what `get_auth_cookie` returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._address import PathLike
from ._context import client_for, is_address


def get_roots(
    urlbase: str | None = None, auth_cookie: str | None = None, *, host: str | None = None
) -> dict[str, dict[str, Any]]:
    """Return name and state of every root, by name."""
    return client_for(urlbase or host, auth_cookie).get_roots()


def subscribe(
    root: PathLike, urlbase: str | None = None, auth_cookie: str | None = None, *, host: str | None = None
) -> str:
    """Make the subscriber follow a root. Returns ``"Ok"``."""
    return client_for(urlbase or host, auth_cookie).subscribe(root)


def get_list(
    path: PathLike | None = None,
    urlbase: str | None = None,
    auth_cookie: str | None = None,
    *,
    root: PathLike | None = None,
    host: str | None = None,
) -> list[str]:
    """Return the paths of the datasets and files at or below a path, or in a root."""
    where = root if path is None else path
    if where is None:
        raise TypeError("get_list() needs a path")
    return client_for(urlbase or host, auth_cookie).get_list(where)


def get_info(
    path: PathLike | None = None,
    urlbase: str | None = None,
    auth_cookie: str | None = None,
    *,
    dataset: PathLike | None = None,
    host: str | None = None,
) -> dict[str, Any]:
    """Return what the subscriber knows of a dataset or file."""
    return client_for(urlbase or host, auth_cookie).get_info(_one_of(path, dataset, "get_info"))


def fetch(
    path: PathLike | None = None,
    urlbase: str | None = None,
    slice_: Any = None,
    auth_cookie: str | None = None,
    prefer_schunk: bool = True,
    *,
    dataset: PathLike | None = None,
    host: str | None = None,
) -> Any:
    """Return a dataset, or a part of it, as an array or bytes.

    `slice_` is the text of a slice, or what numpy takes. `prefer_schunk` changed how the original transferred
    data; here it has no effect.
    """
    return client_for(urlbase or host, auth_cookie).fetch(_one_of(path, dataset, "fetch"), slice_)


def get_chunk(
    path: PathLike,
    nchunk: int,
    urlbase: str | None = None,
    auth_cookie: str | None = None,
    *,
    host: str | None = None,
) -> bytes:
    """Return a compressed chunk."""
    return client_for(urlbase or host, auth_cookie).get_chunk(path, nchunk)


def download(
    dataset: PathLike | None = None,
    localpath: str | Path | None = None,
    urlbase: str | None = None,
    auth_cookie: str | None = None,
    *,
    path: PathLike | None = None,
    host: str | None = None,
) -> Path:
    """Store a dataset or file on the local disk. Returns the local path.

    The second argument was the address of the subscriber before 2025; an address (``http://...``, ``host:port``)
    there is still taken for one.
    """
    if is_address(localpath):
        # download(path, urlbase, auth_cookie): what follows the address moved by one place.
        return client_for(str(localpath), urlbase or auth_cookie).download(_one_of(dataset, path, "download"))
    return client_for(urlbase or host, auth_cookie).download(_one_of(dataset, path, "download"), localpath)


def upload(
    localpath: Any,
    dataset: PathLike,
    urlbase: str | None = None,
    auth_cookie: str | None = None,
    *,
    host: str | None = None,
) -> Any:
    """Send a local file. Returns its path at the subscriber."""
    return client_for(urlbase or host, auth_cookie).upload(localpath, dataset)


def remove(
    path: PathLike, urlbase: str | None = None, auth_cookie: str | None = None, *, host: str | None = None
) -> Any:
    """Remove a dataset, a file, or a directory. Returns its path."""
    return client_for(urlbase or host, auth_cookie).remove(path)


def move(
    src: PathLike,
    dst: PathLike,
    urlbase: str | None = None,
    auth_cookie: str | None = None,
    *,
    host: str | None = None,
) -> Any:
    """Move a dataset, file or directory. Returns the new path."""
    return client_for(urlbase or host, auth_cookie).move(src, dst)


def copy(
    src: PathLike,
    dst: PathLike,
    urlbase: str | None = None,
    auth_cookie: str | None = None,
    *,
    host: str | None = None,
) -> Any:
    """Copy a dataset, file or directory. Returns the new path."""
    return client_for(urlbase or host, auth_cookie).copy(src, dst)


def lazyexpr(
    name: str,
    expression: str,
    operands: Mapping[str, PathLike] | None = None,
    urlbase: str | None = None,
    auth_cookie: str | None = None,
    *,
    compute: bool = False,
    host: str | None = None,
) -> Any:
    """Store an expression over datasets. Returns its path."""
    return client_for(urlbase or host, auth_cookie).lazyexpr(name, expression, operands, compute)


def adduser(
    newuser: str,
    password: str | None = None,
    superuser: bool = False,
    urlbase: str | None = None,
    auth_cookie: str | None = None,
    *,
    host: str | None = None,
) -> str:
    """Add a user. Returns the server's sentence."""
    return client_for(urlbase or host, auth_cookie).adduser(newuser, password, superuser)


def deluser(user: str, urlbase: str | None = None, auth_cookie: str | None = None, *, host: str | None = None) -> str:
    """Delete a user. Returns the server's sentence."""
    return client_for(urlbase or host, auth_cookie).deluser(user)


def listusers(
    username: str | None = None,
    urlbase: str | None = None,
    auth_cookie: str | None = None,
    *,
    host: str | None = None,
) -> list[dict[str, Any]]:
    """Return facts about one user, or about all."""
    return client_for(urlbase or host, auth_cookie).listusers(username)


def _one_of(path: PathLike | None, dataset: PathLike | None, function: str) -> PathLike:
    """Return the one path that was given, under whichever of its names."""
    found = dataset if path is None else path
    if found is None:
        raise TypeError(f"{function}() needs a path")
    return found
