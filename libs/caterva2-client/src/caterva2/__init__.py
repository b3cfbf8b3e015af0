"""Client of Caterva2: read slices of n-dimensional datasets that other sites publish.

>>> import caterva2
>>> client = caterva2.Client("http://localhost:8002")
>>> ds = client.get("foo/dir1/ds-2d.b2nd")
>>> ds[0:2, ::5]

Names are imported when they are first used: services import the contract modules (`caterva2.wire` and its
neighbours) and need neither blosc2 nor httpx for that.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from . import errors

if TYPE_CHECKING:
    from ._address import DEFAULT_URLBASE as sub_urlbase_default
    from ._async_client import AsyncClient
    from ._async_file import AsyncDataset, AsyncFile, AsyncRoot
    from ._auth import BasicAuth, TokenAuth
    from ._client import Client
    from ._dataset import Dataset
    from ._events import Event
    from ._file import File, Root
    from ._freshness import Freshness
    from .compat import (
        adduser,
        bro_host_default,
        c2context,
        copy,
        deluser,
        download,
        fetch,
        get_auth_cookie,
        get_chunk,
        get_info,
        get_list,
        get_roots,
        lazyexpr,
        listusers,
        move,
        pub_host_default,
        remove,
        sub_host_default,
        subscribe,
        upload,
    )

__version__ = version("caterva2-client")

_MEMBERS = {
    "_async_client": ["AsyncClient"],
    "_async_file": ["AsyncDataset", "AsyncFile", "AsyncRoot"],
    "_auth": ["BasicAuth", "TokenAuth"],
    "_client": ["Client"],
    "_dataset": ["Dataset"],
    "_events": ["Event"],
    "_file": ["File", "Root"],
    "_freshness": ["Freshness"],
    "compat": [
        "adduser",
        "bro_host_default",
        "c2context",
        "copy",
        "deluser",
        "download",
        "fetch",
        "get_auth_cookie",
        "get_chunk",
        "get_info",
        "get_list",
        "get_roots",
        "lazyexpr",
        "listusers",
        "move",
        "pub_host_default",
        "remove",
        "sub_host_default",
        "subscribe",
        "upload",
    ],
}
_HOME = {member: module for module, members in _MEMBERS.items() for member in members}

__all__ = [
    "AsyncClient",
    "AsyncDataset",
    "AsyncFile",
    "AsyncRoot",
    "BasicAuth",
    "Client",
    "Dataset",
    "Event",
    "File",
    "Freshness",
    "Root",
    "TokenAuth",
    "__version__",
    "adduser",
    "bro_host_default",
    "c2context",
    "copy",
    "deluser",
    "download",
    "errors",
    "fetch",
    "get_auth_cookie",
    "get_chunk",
    "get_info",
    "get_list",
    "get_roots",
    "lazyexpr",
    "listusers",
    "move",
    "pub_host_default",
    "remove",
    "sub_host_default",
    "sub_urlbase_default",
    "subscribe",
    "upload",
]


def __getattr__(name: str) -> Any:
    if name == "sub_urlbase_default":
        from ._address import DEFAULT_URLBASE

        return DEFAULT_URLBASE
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
