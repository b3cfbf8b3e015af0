"""Slices as files that other programs read."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np

from caterva2.errors import BadRequest

Array = np.ndarray[Any, Any]


def as_npy(array: Array) -> bytes:
    """Return an array in numpy's format. Raises BadRequest if it holds Python objects."""
    if array.dtype.hasobject:
        raise BadRequest("a dataset of Python objects cannot be exported")
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def as_csv(array: Array) -> bytes:
    """Return an array of at most two axes as text, one row a line; records get a line of field names.

    Numbers are written with as many digits as tell them from every other number of their type.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if array.dtype.names is not None:
        writer.writerow(array.dtype.names)
        writer.writerows([_cell(value) for value in record] for record in array.reshape(-1))
    else:
        rows = array.reshape(1, 1) if array.ndim == 0 else array.reshape(len(array), -1)
        writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue().encode()


def _cell(value: Any) -> str:
    if isinstance(value, bytes):
        text = value.decode(errors="replace")
    else:
        text = str(value)
    # Spreadsheets run cells that begin like this.
    return f"'{text}" if isinstance(value, (bytes, str)) and text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
