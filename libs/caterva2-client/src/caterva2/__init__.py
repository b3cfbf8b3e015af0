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
    from ._file import File, Root
    from ._freshness import Freshness

__version__ = version("caterva2-client")

_HOME = {
    "AsyncClient": "_async_client",
    "AsyncDataset": "_async_file",
    "AsyncFile": "_async_file",
    "AsyncRoot": "_async_file",
    "BasicAuth": "_auth",
    "Client": "_client",
    "Dataset": "_dataset",
    "File": "_file",
    "Freshness": "_freshness",
    "Root": "_file",
    "TokenAuth": "_auth",
}

__all__ = [
    "AsyncClient",
    "AsyncDataset",
    "AsyncFile",
    "AsyncRoot",
    "BasicAuth",
    "Client",
    "Dataset",
    "File",
    "Freshness",
    "Root",
    "TokenAuth",
    "__version__",
    "errors",
    "sub_urlbase_default",
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
