"""`Dataset`: a remote array that is indexed as a numpy array is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import blosc2
import numpy as np

from ._address import PathLike
from ._chunked import ChunkGrid
from ._facts import ArrayFacts, same_path
from ._file import File


class Dataset(ArrayFacts, File, blosc2.Operand):  # type: ignore[misc]
    """A remote n-dimensional array, or frame of bytes.

    Index it as a numpy array; each index fetches that part. ``ds["name"]`` returns a field of a structured array, and
    ``ds["(a < 5) & b"]`` its rows that fulfil a condition. It is an operand of blosc2's lazy expressions.

    Parameters
    ----------
    root
        The root that holds it.
    path
        Its path inside the root.

    Raises
    ------
    caterva2.errors.NotFound
        If there is no such dataset; also a `httpx.HTTPStatusError`.
    """

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, str):
            return self._by_text(item)
        # Where no key is given None stands for everything; here it is numpy's new axis.
        return self.slice((None,) if item is None else item, as_blosc2=False)

    def _by_text(self, text: str) -> Any:
        return self._read(field=text, as_blosc2=True) if self._has_field(text) else self._read(text, as_blosc2=True)

    def _grid(self) -> ChunkGrid | None:
        return ChunkGrid.of(self.meta, self._version_of_meta)

    def plan(self, key: Any = None) -> dict[str, Any]:
        """Return what reading ``self[key]`` would cost; see `Client.plan`."""
        return self.client.plan(self.path, key)

    def copy(self, dst: PathLike | None = None) -> Any:
        """Copy this to `dst` and return the copy.

        Without `dst` this object is returned: libraries of arrays (dask) copy what they must not share with others,
        and nobody can change data through this object.
        """
        return self if dst is None else super().copy(dst)

    def append(self, data: Any) -> tuple[int, ...]:
        """Append an array along the first axis.

        Parameters
        ----------
        data
            Array-like, of the shape of this dataset but for the first axis.

        Returns
        -------
        tuple of int
            The new shape of the dataset. `meta` and `shape` of this object stay as they were.
        """
        return self.client.append(self.path, data)

    def __len__(self) -> int:
        if not self.is_array:
            return self.nbytes
        if not self.shape:
            raise TypeError("len() of a dataset without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        """Yield the elements of the first axis, fetching a chunk's worth of them at a time."""
        step = self.chunks[0] if self.is_array and "chunks" in self.meta else len(self)
        for start in range(0, len(self), max(step, 1)):
            yield from self[start : start + step]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("a remote dataset cannot become an array without a copy")
        value = self[()] if self.is_array else np.frombuffer(self[()], dtype=np.uint8)
        return np.asarray(value, dtype=dtype)

    @property
    def __array_interface__(self) -> Any:
        # numpy would read everything through the base class's one only to learn the shape; __array__ is enough.
        raise AttributeError("__array_interface__")

    def __eq__(self, other: object) -> Any:
        same = same_path(self, other)
        return blosc2.Operand.__eq__(self, other) if same is NotImplemented else same

    def __ne__(self, other: object) -> Any:
        same = same_path(self, other)
        return blosc2.Operand.__ne__(self, other) if same is NotImplemented else not same

    __hash__ = File.__hash__

    def __dask_tokenize__(self) -> tuple[str, ...]:
        return (type(self).__name__, self.urlbase, str(self.path), str(self._version_of_meta))

    @property
    def info(self) -> dict[str, Any]:
        """What ``/api/info`` answered."""
        return self.meta
