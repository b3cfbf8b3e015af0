"""Datasets that tests publish, and the comparison of what a reader gets with what the publisher has."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import blosc2
import httpx
import numpy as np

import caterva2
from caterva2.errors import Caterva2Error

from .processes import wait_until

SHAPE, CHUNKS, BLOCKS = (40, 30), (10, 10), (5, 5)


def write_array(path: Path, value: int, *, shape: tuple[int, ...] = SHAPE) -> None:
    """Write an array that holds `value` everywhere, whole or not at all, as careful programs do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.tmp")
    partial.unlink(missing_ok=True)
    data = np.full(shape, value, dtype="int64")
    chunks, blocks = (CHUNKS, BLOCKS) if len(shape) == 2 else (None, None)
    blosc2.asarray(data, urlpath=str(partial), mode="w", chunks=chunks, blocks=blocks)
    partial.replace(path)


def read_array(client: caterva2.Client, path: str) -> np.ndarray[Any, Any] | None:
    """Return the array that a subscriber answers, None while it has none or cannot answer."""
    try:
        return np.asarray(client.fetch(path))
    except (httpx.HTTPError, Caterva2Error, TimeoutError):
        return None


def wait_for_value(client: caterva2.Client, path: str, value: int, *, timeout_s: float = 20) -> None:
    """Wait until a subscriber answers `value` everywhere in an array; a mix of versions fails at once."""

    def arrived() -> bool:
        data = read_array(client, path)
        if data is None:
            return False
        assert data.min() == data.max(), f"{path} is a mix of versions {sorted(set(data.ravel().tolist()))}"
        return bool(data.flat[0] == value)

    wait_until(arrived, timeout_s=timeout_s, what=f"{path} is {value}")


def wait_for_list(client: caterva2.Client, root: str, expected: set[str], *, timeout_s: float = 20) -> None:
    """Wait until a subscriber lists exactly `expected`."""

    def listed() -> bool:
        try:
            return set(client.get_list(root)) == expected
        except (httpx.HTTPError, Caterva2Error, TimeoutError):
            return False

    try:
        wait_until(listed, timeout_s=timeout_s, what="")
    except AssertionError:
        raise AssertionError(f"{root} lists {sorted(client.get_list(root))}, not {sorted(expected)}") from None


def wait_subscribed(client: caterva2.Client, root: str, *, timeout_s: float = 30) -> None:
    """Subscribe to a root as soon as the subscriber knows it, and wait until it can be listed."""

    def subscribed() -> bool:
        try:
            return client.subscribe(root) == "Ok" and bool(client.get_list(root))
        except (httpx.HTTPError, Caterva2Error, TimeoutError):
            return False

    wait_until(subscribed, timeout_s=timeout_s, what=f"{root} can be followed")


def settle() -> None:
    """Let the clock of the file system tick, so that the next write has another time of change."""
    time.sleep(0.02)
