"""Digests of the chunks of a version, so that readers of the version before keep the chunks that did not change.

They are computed when they are asked for, and kept in the index until the dataset changes again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from caterva2.errors import BadRequest, StorageFailed
from caterva2.wire import NO_DIGEST
from caterva2_formats.chunks import digest

from .catalog import Catalog
from .chunks import Sources, check_ranges

BUDGET_S = 3.0
"""Longest time that one request may take; digests that are not known by then are left open."""
MAX_CHUNKS = 1_000_000
_SIZE = len(NO_DIGEST)


class Digests:
    """Digests of chunks by version. Methods block."""

    def __init__(self, catalog: Catalog, sources: Sources, *, budget_s: float = BUDGET_S) -> None:
        self._catalog = catalog
        self._sources = sources
        self._budget_s = budget_s

    def of(self, path: str, etag: str | None, ranges: Sequence[tuple[int, int]] | None) -> tuple[str, list[str | None]]:
        """Return the version and the digest of each of its chunks, in hexadecimal; None where it is not known.

        Parameters
        ----------
        etag
            Version that the reader wants; None for the present one.
        ranges
            Half-open ranges of the chunks that the reader asks for; None for all.

        Raises
        ------
        VersionChanged
            If the present version is another one, or becomes it meanwhile.
        BadRequest
            If there are more chunks than one answer holds.
        """
        with self._sources.lend(path, etag) as source:
            nchunks = source.layout.nchunks
            if nchunks > MAX_CHUNKS:
                raise BadRequest(f"digests are given for at most {MAX_CHUNKS} chunks")
            wanted = [(0, nchunks)] if ranges is None else ranges
            check_ranges(wanted, nchunks)
            kept = self._catalog.digests(path, source.etag)
            known = bytearray(kept if kept is not None and len(kept) == nchunks * _SIZE else nchunks * _SIZE)
            end = time.monotonic() + self._budget_s
            news = False
            for nchunk in _unknown(known, wanted):
                if time.monotonic() > end:
                    break
                known[nchunk * _SIZE : (nchunk + 1) * _SIZE] = digest(self._sources.chunk(path, source, nchunk))
                news = True
            if news:
                self._keep(path, source.etag, bytes(known))
            return source.etag, _listed(known, wanted, nchunks)

    def _keep(self, path: str, etag: str, known: bytes) -> None:
        entry = self._catalog.get(path)
        if entry is None or entry.etag != etag:
            return
        try:
            self._catalog.keep_digests(path, etag, known)
        except StorageFailed:
            return  # they are computed again


def _unknown(known: bytearray, ranges: Iterable[tuple[int, int]]) -> Iterable[int]:
    for start, stop in ranges:
        for nchunk in range(start, stop):
            if known[nchunk * _SIZE : (nchunk + 1) * _SIZE] == NO_DIGEST:
                yield nchunk


def _listed(known: bytearray, ranges: Iterable[tuple[int, int]], nchunks: int) -> list[str | None]:
    listed: list[str | None] = [None] * nchunks
    for start, stop in ranges:
        for nchunk in range(start, stop):
            found = bytes(known[nchunk * _SIZE : (nchunk + 1) * _SIZE])
            listed[nchunk] = None if found == NO_DIGEST else found.hex()
    return listed


def parse_ranges(text: str | None) -> list[tuple[int, int]] | None:
    """Read ranges of chunks as ``0:10,42:43``.

    Raises
    ------
    BadRequest
        If the text is something else.
    """
    if text is None:
        return None
    try:
        pairs = [part.split(":") for part in text.split(",")]
        return [(int(start), int(stop)) for start, stop in pairs]
    except ValueError:
        raise BadRequest("ranges of chunks are written as 0:10,42:43") from None
