"""Datasets of a subscriber in xarray: ``xr.open_dataset("cat2://HOST:PORT/ROOT/sub", engine="caterva2")``.

The URL of an array gives a dataset with one variable; that of a root or directory one with a variable for each array in
it. Data are fetched when they are used. Axes are named after the attribute ``_ARRAY_DIMENSIONS`` where it is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from ._auth import Auth
from ._client import Client
from ._dataset import Dataset
from ._locator import SCHEMES, split_locator
from .paths import ARRAY_SUFFIX

DIMENSIONS = "_ARRAY_DIMENSIONS"


class Caterva2Backend(BackendEntrypoint):
    """Engine ``caterva2`` of xarray."""

    description = "Open datasets of a Caterva2 subscriber (cat2://HOST:PORT/ROOT/sub/name)"

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        auth: Auth = None,
    ) -> xr.Dataset:
        """Open an array, or all arrays of a directory or root.

        Parameters
        ----------
        filename_or_obj
            A ``cat2://`` URL, or a `Dataset`.
        auth
            As for `Client`.
        """
        dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
        found = filename_or_obj if isinstance(filename_or_obj, Dataset) else _find(str(filename_or_obj), auth)
        if isinstance(found, Dataset):
            name = found.path.name.removesuffix(ARRAY_SUFFIX)
            return xr.Dataset({} if name in dropped else {name: _variable(found, "dim_")})
        variables = {name: _variable(array, f"{name}_dim_") for name, array in found.items() if name not in dropped}
        return xr.Dataset(variables)

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Tell whether something is a URL of this kind."""
        return isinstance(filename_or_obj, Dataset) or str(filename_or_obj).partition("://")[0] in SCHEMES


def _find(url: str, auth: Auth) -> Dataset | dict[str, Dataset]:
    urlbase, path = split_locator(url)
    client = Client(urlbase, auth)
    if path.endswith(ARRAY_SUFFIX):
        found = client.get(path)
        assert isinstance(found, Dataset)
        return found
    client.get(path.partition("/")[0])
    names = [name for name in client.get_list(path) if name.endswith(ARRAY_SUFFIX)]
    arrays = {name.removesuffix(ARRAY_SUFFIX): client.get(f"{path}/{name}") for name in names}
    return {name: array for name, array in arrays.items() if isinstance(array, Dataset) and array.is_array}


def _variable(array: Dataset, prefix: str) -> xr.Variable:
    named = array.vlmeta.get(DIMENSIONS)
    fits = isinstance(named, list) and len(named) == array.ndim and len(set(named)) == array.ndim
    dimensions = [str(name) for name in named] if fits and named else [f"{prefix}{n}" for n in range(array.ndim)]
    attributes = {name: value for name, value in array.vlmeta.items() if name != DIMENSIONS}
    chunks = dict(zip(dimensions, array.meta.get("chunks", ()), strict=False))
    return xr.Variable(
        dimensions,
        indexing.LazilyIndexedArray(_RemoteArray(array)),
        attributes,
        {"preferred_chunks": chunks} if chunks else {},
    )


class _RemoteArray(BackendArray):
    """What xarray indexes; each index fetches that part."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.shape = dataset.shape
        self.dtype = dataset.dtype.numpy

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray[Any, Any]:
        if not any(isinstance(item, np.ndarray) for item in key):
            found: np.ndarray[Any, Any] = self.dataset[key]
            return found
        # xarray's arrays select along their own axes, as the index arrays of numpy.ix_ do.
        kept = [np.atleast_1d(np.arange(length)[item]) for item, length in zip(key, self.shape, strict=True)]
        block = self.dataset[np.ix_(*kept)]
        dropped = tuple(axis for axis, item in enumerate(key) if isinstance(item, int | np.integer))
        return np.asarray(np.squeeze(block, axis=dropped))
