"""What a subscriber can be asked, one operation each; `_transport` carries them out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import httpx

from . import slices
from ._address import PathLike, as_text, quote_path, remote_path
from ._transport import Attachment, Call, Operation, Sink, parse_json

_MAX_PAGE = 10_000


def _url(endpoint: str, path: PathLike) -> str:
    return f"/api/{endpoint}/{quote_path(remote_path(path))}"


def get_roots() -> Operation[dict[str, dict[str, Any]]]:
    """Name and state of every root that the client may see."""
    return parse_json((yield Call("GET", "/api/roots")), dict)


def subscribe(root: PathLike, *, site: bool = False) -> Operation[str]:
    """Subscribe to a root: the subscriber follows it. Returns ``"Ok"``."""
    params = {"who": "site"} if site else {}
    return parse_json((yield Call("POST", _url("subscribe", root), params=params, repeatable=True)), str)


def unsubscribe(root: PathLike, *, who: str = "me", free: bool = True) -> Operation[str]:
    """Give up a subscription: ``who`` is ``me``, ``site`` or ``everybody``. Returns ``"Ok"``."""
    params = {"who": who, "free": "true" if free else "false"}
    return parse_json((yield Call("POST", _url("unsubscribe", root), params=params)), str)


def get_subscriptions() -> Operation[list[dict[str, Any]]]:
    """Who is subscribed to which root."""
    return parse_json((yield Call("GET", "/api/subscriptions")), list)


def get_list(path: PathLike) -> Operation[list[str]]:
    """Paths of the datasets and files at or below `path`, relative to it."""
    return parse_json((yield Call("GET", _url("list", path))), list)


def search(words: str, *, root: str, kind: str, newest: bool, limit: int | None) -> Operation[list[dict[str, Any]]]:
    """Datasets and files by name, type, shape and attributes, page by page until there are `limit`."""
    params = {"q": words, "root": root, "kind": kind, "sort": "-mtime" if newest else "path"}
    found: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None and (limit is None or len(found) < limit):
        # The newest come in one page, which has no next one.
        size = _MAX_PAGE if limit is None else min(limit - len(found), _MAX_PAGE)
        asked = {**params, "limit": str(size), **({"after": after} if after else {})}
        page = parse_json((yield Call("GET", "/api/search", params=asked)), dict)
        found += page["entries"]
        after = page["next"]
    return found


def info_response(path: PathLike) -> Operation[httpx.Response]:
    """Answer of ``/api/info``, for those who also read its headers."""
    return (yield Call("GET", _url("info", path)))


def get_info(path: PathLike) -> Operation[dict[str, Any]]:
    """What the subscriber knows of a dataset or file."""
    return parse_json((yield from info_response(path)), dict)


def fetch(
    path: PathLike,
    slice_: str = "",
    *,
    field: str | None = None,
    filter_: str | None = None,
    indices: str | None = None,
) -> Operation[httpx.Response]:
    """Answer whose body is the contiguous frame of a part of a dataset or file.

    Parameters
    ----------
    slice_
        Text of a slice; ``""`` is everything.
    field
        Name of a field of a structured array.
    filter_
        Condition on the fields of a structured array that the returned rows fulfil.
    indices
        JSON list of a selection for each axis: a list of indices, an index, or the text of a slice.
    """
    given = {"slice_": slice_ or None, "field": field, "filter": filter_, "indices": indices}
    params = {name: value for name, value in given.items() if value is not None}
    return (yield Call("GET", _url("fetch", path), params=params, patient=True))


def fetch_listed(path: PathLike, indices: str) -> Operation[httpx.Response]:
    """Answer as `fetch` does to `indices` that are too long for a URL."""
    body = {"indices": json.loads(indices)}
    return (yield Call("POST", _url("fetch", path), body=body, patient=True, repeatable=True))


def fetch_stored(path: PathLike, range_: str | None = None) -> Operation[httpx.Response]:
    """Answer with a dataset or file as it is stored, or with a range of its bytes."""
    headers = {"accept-encoding": "identity"} | ({"range": range_} if range_ else {})
    return (yield Call("GET", _url("fetch", path), headers=headers, patient=True))


def fetch_key(path: PathLike, key: Any = None, field: str | None = None) -> Operation[httpx.Response]:
    """Answer to a Python key: text that is a slice, or else a filter; or what indexes an array."""
    if isinstance(key, str) and not slices.is_slice(key):
        return (yield from fetch(path, filter_=key, field=field))
    return (yield from fetch(path, as_text(key), field=field))


def get_chunk(path: PathLike, nchunk: int) -> Operation[bytes]:
    """Compressed chunk `nchunk`, counted row-major over the chunk grid."""
    return (yield Call("GET", _url("chunk", path), params={"nchunk": str(int(nchunk))}, patient=True)).content


def chunks(path: PathLike, slice_: str, version: str, sink: Sink) -> Operation[httpx.Response]:
    """Give the compressed chunks that cover a slice to `sink`, if the dataset is still at `version`."""
    headers = {"if-match": f'"{version}"', "accept-encoding": "identity"}
    params = {"slice_": slice_} if slice_ else {}
    return (yield Call("GET", _url("chunks", path), params=params, headers=headers, patient=True, sink=sink))


def plan(path: PathLike, slice_: str) -> Operation[dict[str, Any]]:
    """What reading a slice would bring over the link, and from the cache."""
    return parse_json((yield Call("GET", _url("plan", path), params={"slice_": slice_} if slice_ else {})), dict)


def cache(action: str, path: PathLike | None, slice_: str) -> Operation[dict[str, Any]]:
    """Look at the chunk cache (``status``), or change what it keeps."""
    url = f"/api/cache/{action}" if path is None else _url(f"cache/{action}", path)
    method = "GET" if action == "status" else "POST"
    params = {"slice_": slice_} if slice_ else {}
    return parse_json((yield Call(method, url, params=params, work=True, repeatable=True)), dict)


def append(path: PathLike, cframe: bytes) -> Operation[tuple[int, ...]]:
    """Append the array in `cframe` along the first axis. Returns the new shape."""
    attachment = Attachment("data.b2nd", cframe)
    response = yield Call("POST", _url("append", path), attachment=attachment, patient=True)
    return parse_json(response, lambda shape: tuple(int(length) for length in shape))


def unfold(path: PathLike) -> Operation[PurePosixPath]:
    """Make the datasets of a container file (HDF5, zip, tar) reachable beside it. Returns the directory's name."""
    return parse_json((yield Call("POST", _url("unfold", path), work=True)), PurePosixPath)


def remove(path: PathLike) -> Operation[PurePosixPath]:
    """Remove a dataset, a file, or a directory and all that is in it. Returns its path."""
    return parse_json((yield Call("POST", _url("remove", path))), PurePosixPath)


def move(src: PathLike, dst: PathLike) -> Operation[PurePosixPath]:
    """Move a dataset, file or directory. Returns the new path."""
    return (yield from _relocate("/api/move/", src, dst))


def copy(src: PathLike, dst: PathLike) -> Operation[PurePosixPath]:
    """Copy a dataset, file or directory. Returns the new path."""
    return (yield from _relocate("/api/copy/", src, dst))


def _relocate(endpoint: str, src: PathLike, dst: PathLike) -> Operation[PurePosixPath]:
    # A slash at the end of the destination says that it is a directory, and normalising would take it away.
    slash = "/" if isinstance(dst, str) and dst.endswith("/") else ""
    body = {"src": str(remote_path(src)), "dst": str(remote_path(dst)) + slash}
    return parse_json((yield Call("POST", endpoint, body=body, work=True)), PurePosixPath)


def combine(how: str, srcs: Sequence[PathLike], dst: PathLike, axis: int) -> Operation[PurePosixPath]:
    """Make a new array of others: `how` is ``concat`` (along `axis`) or ``stack`` (along a new `axis`)."""
    body = {"srcs": [str(remote_path(src)) for src in srcs], "dst": str(remote_path(dst)), "axis": int(axis)}
    return parse_json((yield Call("POST", f"/api/{how}/", body=body, work=True)), PurePosixPath)


def lazyexpr(
    name: str, expression: str, operands: Mapping[str, PathLike] | None, compute: bool
) -> Operation[PurePosixPath]:
    """Store an expression over datasets, or, with `compute`, its result. Returns the path of either."""
    body = {
        "name": name,
        "expression": expression,
        "operands": {variable: str(remote_path(path)) for variable, path in (operands or {}).items()},
        "compute": bool(compute),
    }
    return parse_json((yield Call("POST", "/api/lazyexpr/", body=body, work=True)), PurePosixPath)


def add_notebook(path: PathLike) -> Operation[PurePosixPath]:
    """Create an empty notebook. Returns its path."""
    return parse_json((yield Call("POST", _url("addnotebook", path))), PurePosixPath)


def load_from_url(url: str, path: PathLike) -> Operation[PurePosixPath]:
    """Make the subscriber download a file from a host that it allows. Returns the path of the new file."""
    call = Call("POST", _url("load_from_url", path), form={"remote_url": url}, work=True)
    return parse_json((yield call), PurePosixPath)


def add_user(username: str, password: str | None, superuser: bool) -> Operation[str]:
    """Add a user. Returns the server's sentence."""
    body = {"username": username, "password": password, "superuser": bool(superuser)}
    return parse_json((yield Call("POST", "/api/adduser/", body=body)), str)


def delete_user(username: str) -> Operation[str]:
    """Delete a user and what is personal to them. Returns the server's sentence."""
    return parse_json((yield Call("GET", f"/api/deluser/{quote_path(username)}", repeatable=False)), str)


def list_users(username: str | None) -> Operation[list[dict[str, Any]]]:
    """Facts about one user, or about all."""
    params = {} if username is None else {"username": username}
    return parse_json((yield Call("GET", "/api/listusers/", params=params)), list)


def upload_expression(
    path: PathLike, expression: str, operands: Mapping[str, str], compute: bool
) -> Operation[PurePosixPath]:
    """Store an expression, or, with `compute`, its result, at a path of its own. Returns the path."""
    body = {
        "name": None,
        "expression": expression,
        "func": None,
        "operands": dict(operands),
        "dtype": None,
        "shape": None,
        "compute": compute,
    }
    return parse_json((yield Call("POST", _url("upload_lazyarr", path), body=body, work=True)), PurePosixPath)
