"""Datasets that are described instead of stored: expressions, and datasets inside HDF5 files.

A record is a small JSON file in the place, and with the ``.b2nd`` name, of the array that it describes, so that it is
listed, moved, copied and removed like any other. It names other datasets by their API paths, which are resolved with
the rights of whoever reads. No frame of foreign bytes can be mistaken for one: those begin otherwise, and uploads
must be frames.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from caterva2.errors import UnsafeContent

MAGIC = b'{"caterva2_record":'
MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ExpressionRecord:
    """An expression over other datasets, evaluated when it is read."""

    expression: str
    operands: dict[str, str] = field(default_factory=dict)
    """API path of each variable."""
    shape: tuple[int, ...] = ()
    """Shape and type when the record was written, for people who look at the file; not used to evaluate."""
    dtype: str = "float64"


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """A dataset inside an HDF5 file."""

    file: str
    """API path of the HDF5 file."""
    member: str
    """Name inside it, without a leading slash."""


Record = ExpressionRecord | MemberRecord
_KINDS: dict[str, type[ExpressionRecord] | type[MemberRecord]] = {
    "expression": ExpressionRecord,
    "hdf5": MemberRecord,
}


def encode(record: Record) -> bytes:
    """Return the bytes of the file that holds a record."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(record, cls))
    facts = {name: getattr(record, name) for name in record.__dataclass_fields__}
    return json.dumps({"caterva2_record": kind, "version": 1, **facts}, separators=(", ", ":")).encode()


def read(fd: int) -> Record | None:
    """Return the record that an open file holds, or None if it is something else. Raises UnsafeContent."""
    if os.pread(fd, len(MAGIC), 0) != MAGIC:
        return None
    data = os.pread(fd, MAX_BYTES + 1, 0)
    try:
        document: dict[str, Any] = json.loads(data)
        cls = _KINDS[document["caterva2_record"]]
        if len(data) > MAX_BYTES or document["version"] != 1:
            raise ValueError
        if cls is ExpressionRecord:
            operands = {str(name): str(path) for name, path in document["operands"].items()}
            shape = tuple(int(n) for n in document["shape"])
            return ExpressionRecord(str(document["expression"]), operands, shape, str(document["dtype"]))
        return MemberRecord(str(document["file"]), str(document["member"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UnsafeContent("the description of the dataset is damaged") from None
