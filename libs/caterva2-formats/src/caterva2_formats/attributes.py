"""Attributes of HDF5 objects as attributes of frames (reference API section 1.8)."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from caterva2.paths import printable

logger = logging.getLogger(__name__)

MAX_ATTRIBUTES_BYTES = 16 * 2**20
"""Packed bytes of all attributes of one object; what does not fit is left out."""


def pack_attributes(attributes: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the attributes of an HDF5 object, each packed by msgpack as frames hold them.

    What msgpack cannot hold (complex numbers, references, compounds) is left out with a log line.

    Parameters
    ----------
    attributes
        ``attrs`` of an h5py object.
    """
    packed: dict[str, bytes] = {}
    total = 0
    try:
        names = list(attributes)
    except (RuntimeError, OSError, KeyError):
        return packed
    for name in names:
        try:
            held = attributes[name]
            if getattr(held, "nbytes", 0) > MAX_ATTRIBUTES_BYTES:
                raise ValueError("it is too large")
            value: bytes = msgpack.packb(plain_value(held), strict_types=True)
        except (TypeError, ValueError, OverflowError, OSError, RuntimeError, KeyError) as error:
            logger.info("attribute %s is left out: %s", printable(name), error)
            continue
        if total + len(value) > MAX_ATTRIBUTES_BYTES:
            logger.info("attribute %s is left out: it is too large", printable(name))
            continue
        total += len(value)
        packed[name] = value
    return packed


def plain_value(value: Any) -> Any:
    """Return a value of an HDF5 attribute as text, bytes, numbers, or nested lists of them."""
    if isinstance(value, np.bytes_):
        return bytes(value)
    if isinstance(value, np.str_):
        return str(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if type(value).__name__ == "Empty":
        return b"" if value.dtype.kind in "SUO" else None
    return value


def vlmeta_of(info: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the attributes that ``/api/info`` shows, packed as frames hold them."""
    shown = info.get("schunk", info).get("vlmeta") or {}
    return {str(name): msgpack.packb(_from_json(value)) for name, value in shown.items()}


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"__bytes__"} and isinstance(value["__bytes__"], str):
            return base64.b64decode(value["__bytes__"])
        return {name: _from_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    return value
