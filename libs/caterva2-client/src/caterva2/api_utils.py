"""Module name under which programs written for the original import these functions; new ones use `Client`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from . import slices
from ._address import PathLike, quote_path
from ._arrays import from_cframe, to_value
from ._errors import raise_for_status
from ._transfer import unpack
from .compat import get_auth_cookie
from .compat._context import as_urlbase, client_for
from .paths import COMPRESSED_SUFFIX

__all__ = [
    "b2_unpack",
    "download_url",
    "fetch_data",
    "get",
    "get_auth_cookie",
    "get_download_url",
    "parse_slice",
    "post",
    "slice_to_string",
    "upload_file",
]


def slice_to_string(slice_: Any) -> str:
    """Return the text of an index; ``""`` stands for everything."""
    return slices.format_key(() if slice_ is None else slice_)


def parse_slice(string: str) -> Any:
    """Return the index that a text stands for: one index, or a tuple of them."""
    key = slices.parse_slice(string)
    return key[0] if len(key) == 1 else key


def get_download_url(path: PathLike, urlbase: str) -> str:
    """Return the URL of a whole dataset or file."""
    return f"{as_urlbase(urlbase)}/api/fetch/{quote_path(path)}"


def fetch_data(
    path: PathLike,
    urlbase: str,
    params: Mapping[str, Any],
    auth_cookie: str | None = None,
    as_blosc2: bool = False,
    timeout: float = 5,
) -> Any:
    """Return what ``/api/fetch`` answers to `params`, as an array, bytes, or a Blosc2 container."""
    given = {name: value for name, value in params.items() if value is not None}
    container = from_cframe(
        _request("GET", get_download_url(path, urlbase), auth_cookie, timeout, params=given).content
    )
    return container if as_blosc2 else to_value(container)


def get(
    url: str,
    params: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 5,
    model: Any = None,
    auth_cookie: str | None = None,
) -> Any:
    """Return the JSON that a URL answers, given to `model` if there is one."""
    response = _request("GET", url, auth_cookie, timeout, params=params, headers=headers)
    body = response.json()
    return body if model is None else model(**body)


def post(url: str, json: Any = None, auth_cookie: str | None = None, timeout: float = 5) -> Any:
    """Send JSON to a URL and return the JSON that it answers."""
    return _request("POST", url, auth_cookie, timeout, json=json).json()


def _xget(
    url: str,
    params: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 5,
    auth_cookie: str | None = None,
) -> httpx.Response:
    """Return the answer of a URL. Raises httpx.HTTPStatusError."""
    return _request("GET", url, auth_cookie, timeout, params=params, headers=headers)


def _request(
    method: str,
    url: str,
    auth_cookie: str | None,
    timeout: float,
    *,
    headers: Mapping[str, str] | None = None,
    **options: Any,
) -> httpx.Response:
    cookie = {"cookie": auth_cookie} if auth_cookie else {}
    response = httpx.request(method, url, headers={**(headers or {}), **cookie}, timeout=timeout, **options)
    return raise_for_status(response)


def b2_unpack(filepath: str | Path) -> Path:
    """Replace a file ``NAME.b2`` by its content, ``NAME``, and return the latter's path."""
    packed = Path(filepath)
    target = packed.with_name(packed.name.removesuffix(COMPRESSED_SUFFIX))
    if target == packed:
        raise ValueError(f"the name of {packed} does not end in {COMPRESSED_SUFFIX}")
    unpack(packed, target)
    packed.unlink()
    return target


def download_url(url: str, localpath: str | Path, try_unpack: bool = True, auth_cookie: str | None = None) -> Path:
    """Store what ``get_download_url`` named on the local disk. Returns the local path.

    Files that travel compressed are stored as they are at their source, whatever `try_unpack` says.
    """
    base, _, path = url.partition("/api/fetch/")
    return client_for(base, auth_cookie).download(unquote(urlsplit(path).path), localpath)


def upload_file(localpath: str | Path, remotepath: PathLike, urlbase: str, auth_cookie: str | None = None) -> Any:
    """Send a local file. Returns its path at the subscriber."""
    return client_for(urlbase, auth_cookie).upload(localpath, remotepath)
