"""Link economy: how many bytes came over the link, and how many the cache saved, by root, dataset and reader."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from caterva2_service.metrics import Metrics

_REMEMBERED = 1000
"""Datasets, and readers, that are counted singly; beyond, those with the fewest bytes are forgotten."""


@dataclass(slots=True)
class Bytes:
    """Compressed bytes since the start."""

    link: int = 0
    cache: int = 0


class Economy:
    """Counts bytes. For roots and datasets each byte over the link counts once, however many readers waited for it."""

    def __init__(self, metrics: Metrics) -> None:
        self._lock = threading.Lock()
        self._roots: dict[str, Bytes] = {}
        self._datasets: dict[str, Bytes] = {}
        self._readers: dict[str, Bytes] = {}
        link = metrics.counter("link_bytes", "Compressed bytes that came over the link", ("root",))
        cache = metrics.counter("cache_bytes", "Compressed bytes that came from the cache", ("root",))
        self._link = lru_cache(_REMEMBERED)(link.labels)
        self._cache = lru_cache(_REMEMBERED)(cache.labels)

    def came(self, root: str, path: str, nbytes: int) -> None:
        """Count bytes that came over the link."""
        self._link(root).inc(nbytes)
        with self._lock:
            for table, name in ((self._roots, root), (self._datasets, f"{root}/{path}")):
                _entry(table, name).link += nbytes

    def saved(self, root: str, path: str, nbytes: int, reader: str) -> None:
        """Count bytes that the cache had for a reader."""
        self._cache(root).inc(nbytes)
        with self._lock:
            for table, name in ((self._roots, root), (self._datasets, f"{root}/{path}")):
                _entry(table, name).cache += nbytes
            _entry(self._readers, reader).cache += nbytes

    def served(self, reader: str, nbytes: int) -> None:
        """Count bytes that a reader waited for while they came over the link."""
        with self._lock:
            _entry(self._readers, reader).link += nbytes

    def report(self) -> dict[str, Any]:
        """Return what was counted, largest first."""
        with self._lock:
            tables = {"roots": self._roots, "datasets": self._datasets, "readers": self._readers}
            return {name: _shown(table) for name, table in tables.items()}


def combined(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the reports of several processes as one."""
    tables: dict[str, dict[str, Bytes]] = {}
    for report in reports:
        for name, rows in report.items():
            table = tables.setdefault(name, {})
            for key, row in rows.items():
                entry = table.setdefault(key, Bytes())
                entry.link += row["link_bytes"]
                entry.cache += row["cache_bytes"]
    return {name: _shown(table) for name, table in tables.items()}


def _entry(table: dict[str, Bytes], name: str) -> Bytes:
    found = table.get(name)
    if found is None:
        if len(table) >= _REMEMBERED:
            del table[min(table, key=lambda known: table[known].link + table[known].cache)]
        found = table[name] = Bytes()
    return found


def _shown(table: dict[str, Bytes]) -> dict[str, dict[str, int]]:
    ordered = sorted(table.items(), key=lambda item: -(item[1].link + item[1].cache))
    return {name: {"link_bytes": found.link, "cache_bytes": found.cache} for name, found in ordered}
