"""Reading parts of datasets: from a Python key to the requests that answer it, and to the value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import blosc2
import httpx
import numpy as np

from . import _operations as operations
from . import errors, slices
from ._address import PathLike
from ._arrays import from_cframe, to_value
from ._chunked import ChunkGrid, read_chunks
from ._freshness import Freshness
from ._gather import Gather, gather, has_arrays
from ._transport import Operation, parse_json

MAX_QUERY = 4000
"""Longest list of indices, in characters, that is sent in a URL; longer ones are sent in a body."""
MAX_LISTED = 1_000_000
"""Most indices that subscribers take; for more the slices that hold them are fetched."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A value that was read."""

    value: Any
    freshness: Freshness


def read(
    path: PathLike,
    key: Any = None,
    *,
    field: str | None = None,
    as_blosc2: bool = False,
    shape: tuple[int, ...] | None = None,
    grid: ChunkGrid | None = None,
) -> Operation[Reading]:
    """Read a part of a dataset or file.

    Parameters
    ----------
    key
        What numpy's indexing takes, or text: a slice, else a filter. None: everything.
    field
        Name of a field, in place of `key`.
    as_blosc2
        Whether to return the Blosc2 container that was received, or else an array or bytes.
    shape
        Lengths of the dataset's axes where they are known; needed for index arrays only.
    grid
        How the dataset is cut into chunks, where that is known: large slices are then read from chunks.
    """
    if field is None and has_arrays(key):
        return (yield from _read_gathered(path, key, shape, as_blosc2))
    if grid is not None and field is None and not as_blosc2 and not isinstance(key, str):
        found = yield from _read_from_chunks(path, () if key is None else key, grid)
        if found is not None:
            return found
    response = yield from operations.fetch_key(path, None if field else key, field)
    container = from_cframe(response.content)
    return Reading(container if as_blosc2 else to_value(container), Freshness.from_headers(response.headers))


def _read_from_chunks(path: PathLike, key: Any, grid: ChunkGrid) -> Operation[Reading | None]:
    """Read a slice from chunks; None if that does not pay, or if the dataset is no longer as `grid` says."""
    try:
        selection = slices.select(key, grid.shape)
    except errors.InvalidSlice:
        return None  # the dataset may have grown since; the subscriber knows
    if not grid.pays_for(selection):
        return None
    try:
        value, response = yield from read_chunks(path, key, selection, grid)
    except (errors.VersionChanged, errors.NotFound, errors.UpstreamInvalid, httpx.TransportError):
        return None
    return Reading(value, Freshness.from_headers(response.headers))


def _read_gathered(path: PathLike, key: Any, shape: tuple[int, ...] | None, as_blosc2: bool) -> Operation[Reading]:
    if shape is None:
        info = parse_json((yield from operations.info_response(path)), dict)
        if "shape" not in info:
            raise ValueError("lists of indices need an n-dimensional dataset")
        shape = tuple(info["shape"])
    wanted = gather(key, shape)
    response, block = yield from _fetch_block(path, wanted)
    value = np.asarray(block[wanted.arrange])
    return Reading(blosc2.asarray(value) if as_blosc2 else value, Freshness.from_headers(response.headers))


def _fetch_block(path: PathLike, wanted: Gather) -> Operation[tuple[httpx.Response, np.ndarray[Any, Any]]]:
    indices = wanted.indices
    if indices is not None and wanted.listed <= MAX_LISTED:
        response = yield from _fetch_indices(path, indices)
        if response is not None:
            block = np.asarray(to_value(from_cframe(response.content)))
            # A service that does not know the parameter answers with everything.
            return response, block if block.shape == wanted.shape else wanted.crop(block[wanted.covering])
    response = yield from operations.fetch_key(path, wanted.covering)
    return response, wanted.crop(np.asarray(to_value(from_cframe(response.content))))


def _fetch_indices(path: PathLike, indices: str) -> Operation[httpx.Response | None]:
    if len(indices) <= MAX_QUERY:
        return (yield from operations.fetch(path, indices=indices))
    try:
        return (yield from operations.fetch_listed(path, indices))
    except (errors.TooLarge, httpx.HTTPStatusError) as error:
        # A service that is older takes no body; indices that touch too many chunks are better read as slices.
        if not isinstance(error, errors.TooLarge) and error.response.status_code != httpx.codes.METHOD_NOT_ALLOWED:
            raise
        return None
