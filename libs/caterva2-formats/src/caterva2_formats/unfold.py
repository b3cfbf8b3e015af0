"""Unfolding: an HDF5 file as a directory of datasets (reference API section 1.6)."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from caterva2 import paths
from caterva2.errors import InvalidName, UnsafeContent

from .attributes import plain_value
from .hdf5 import MAX_MEMBERS, Handle, address_of, check_dataset, is_dataset, is_group, is_hard_link, walk

logger = logging.getLogger(__name__)

ATTRIBUTES_NAME = "!_attrs_.json"
"""File in which the attributes of a group are kept."""


@dataclass(frozen=True, slots=True)
class Unfolded:
    """One file of an unfolded HDF5 file."""

    path: str
    """Path below the new directory, checked by `caterva2.paths.check_path`."""
    member: str | None
    """Name of a dataset inside the HDF5 file, by hard links alone; None for the attributes of a group."""
    content: bytes = field(default=b"", repr=False)
    """JSON of the attributes of a group."""


def unfold(handle: Handle) -> list[Unfolded]:
    """Return what a directory must hold to show everything that an HDF5 file holds.

    That is a JSON file of attributes for the file and each group, and a dataset for each link to one: soft links and
    every hard link count. What cannot be an array is left out with a log line.

    Parameters
    ----------
    handle
        The file; see `caterva2_formats.hdf5.Handles.acquire`.

    Raises
    ------
    UnsafeContent
        If the file is damaged or holds too many objects.
    Unavailable
        If the file is being written.
    """
    with handle.reading() as file:
        names = {address_of(member): name for name, member in walk(file)}
        return list(_unfold(file, "", names, {address_of(file)}))


def _unfold(group: Any, prefix: str, names: dict[int, str], seen: set[int]) -> Iterator[Unfolded]:
    yield Unfolded(prefix + ATTRIBUTES_NAME, None, attributes_json(group.attrs))
    for name in sorted(group):
        path = prefix + name
        try:
            member = group[name]
            paths.check_path(path)
        except InvalidName as error:
            logger.warning("%s is left out: %s", paths.printable(path), error.detail)
            continue
        except (KeyError, OSError, RuntimeError, ValueError):
            logger.warning("%s leads nowhere", paths.printable(path))
            continue
        address = address_of(member) if member.file == group.file else None
        if address is None:
            logger.warning("%s is left out: it leads to another file", paths.printable(path))
        elif is_dataset(member):
            yield from _dataset(member, path, names.get(address))
        elif is_group(member) and address not in seen and is_hard_link(group, name):
            if len(seen) >= MAX_MEMBERS:
                raise UnsafeContent(f"the HDF5 file holds more than {MAX_MEMBERS} groups")
            seen.add(address)
            yield from _unfold(member, path + "/", names, seen)


def _dataset(member: Any, path: str, name: str | None) -> Iterator[Unfolded]:
    try:
        check_dataset(member)
        listed = paths.check_path(path + paths.ARRAY_SUFFIX)
    except (UnsafeContent, InvalidName) as error:
        logger.warning("%s is left out: %s", paths.printable(path), error.detail)
        return
    if name is not None:
        yield Unfolded(listed, name)


# --- attributes of groups ---------------------------------------------------------------------
def attributes_json(attributes: Mapping[str, Any]) -> bytes:
    """Return attributes as JSON, indented by two spaces.

    Bytes become text, or ``{"__bytes__": base64}``. If something does not fit into JSON, each value is encoded by
    itself as a string of JSON, and what fails is the string ``[Error: ...]``.
    """
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name in _names(attributes):
        try:
            values[name] = _jsonable(plain_value(attributes[name]))
            json.dumps(values[name], allow_nan=True)
        except (TypeError, ValueError, OSError, RuntimeError, KeyError, RecursionError) as error:
            values.pop(name, None)
            errors[name] = f"[Error: {error}]"
    if errors:
        values = {name: json.dumps(value) for name, value in values.items()} | errors
    return json.dumps(values, indent=2).encode()


def _names(attributes: Mapping[str, Any]) -> list[str]:
    try:
        return list(attributes)
    except (RuntimeError, OSError, KeyError):
        return []


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"__bytes__": base64.b64encode(value).decode()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _jsonable(value.tolist())
    return value
