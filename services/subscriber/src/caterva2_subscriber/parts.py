"""Parts of large chunks that were fetched for small windows, kept in memory: never in the cache, never as chunks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from caterva2_formats.parts import Singles

from .cache import VersionKey

MOST_PARTS = 2
"""Parts of one chunk that are fetched before the chunk itself is: who comes back walks through it."""
_REMEMBERED = 10_000
"""Chunks of which is known how many parts of them were fetched."""

Place = tuple[VersionKey, int]
"""A version, and the number of one of its chunks."""


class PartMemory:
    """Blocks by version, chunk and number, least recently used chunks first. For the event loop alone.

    Parameters
    ----------
    size
        Bound of the compressed bytes; 0 for no parts at all.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._used = 0
        self._blocks: OrderedDict[Place, dict[int, bytes]] = OrderedDict()
        self._asked: OrderedDict[Place, int] = OrderedDict()

    @property
    def used(self) -> int:
        """Compressed bytes that are kept."""
        return self._used

    def get(self, place: Place, numbers: Iterable[int]) -> dict[int, bytes]:
        """Return those of the blocks that are kept."""
        kept = self._blocks.get(place)
        if kept is None:
            return {}
        self._blocks.move_to_end(place)
        return {number: kept[number] for number in numbers if number in kept}

    def put(self, place: Place, singles: Singles) -> None:
        """Keep blocks, and let those of other chunks go where there is no room."""
        kept = self._blocks.setdefault(place, {})
        self._blocks.move_to_end(place)
        for number, single in singles.items():
            if number not in kept:
                kept[number] = single
                self._used += len(single)
        while self._used > self._size:
            self._drop(next(iter(self._blocks)))

    def may_ask(self, place: Place) -> bool:
        """Tell whether one more part of a chunk is worth fetching, or the chunk itself is."""
        return self._size > 0 and self._asked.get(place, 0) < MOST_PARTS

    def asked(self, place: Place) -> None:
        """Count a part that is fetched."""
        self._asked[place] = self._asked.get(place, 0) + 1
        self._asked.move_to_end(place)
        while len(self._asked) > _REMEMBERED:
            self._asked.popitem(last=False)

    def forget(self, place: Place) -> None:
        """Forget the parts of a chunk that is here as a whole."""
        self._asked.pop(place, None)
        if place in self._blocks:
            self._drop(place)

    def _drop(self, place: Place) -> None:
        self._used -= sum(map(len, self._blocks.pop(place).values()))
