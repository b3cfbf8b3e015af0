"""The manifest: the whole index at one seq, as lines of JSON, kept compressed until the next change.

It is built at once, in a read transaction that lasts as long as the disk needs, never as long as a slow reader does.
"""

from __future__ import annotations

import io
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import zstandard

from .catalog import Catalog

LEVEL = 3
PIECE_BYTES = 256 * 1024
_LINES = 500
_GZIP_WBITS = 31


@dataclass(frozen=True, slots=True)
class Manifest:
    """One state of the index, ready to be sent."""

    tag: str
    """``EPOCH:SEQ``; with ``:offline`` behind it while the publisher does not see its data."""
    compressed: bytes
    """Lines in zstd."""

    def pieces(self, encoding: str) -> Iterator[bytes]:
        """Yield the body in the content encoding ``zstd``, ``gzip`` or ``identity``."""
        if encoding == "zstd":
            view = memoryview(self.compressed)
            yield from (bytes(view[i : i + PIECE_BYTES]) for i in range(0, len(view), PIECE_BYTES))
            return
        plain = zstandard.ZstdDecompressor().read_to_iter(io.BytesIO(self.compressed), write_size=PIECE_BYTES)
        if encoding == "identity":
            yield from plain
            return
        packer = zlib.compressobj(wbits=_GZIP_WBITS)
        yield from filter(None, map(packer.compress, plain))
        yield packer.flush()


class Manifests:
    """Builds manifests, each once however many ask. Methods block."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._building = threading.Lock()
        self._last: Manifest | None = None

    def tag(self, *, online: bool) -> str:
        """Return the tag that a manifest has now."""
        identity = self._catalog.identity
        return _tag(identity.epoch, identity.seq, online=online)

    def current(self, *, online: bool) -> Manifest:
        """Return the manifest of the present state."""
        with self._building:
            if self._last is None or self._last.tag != self.tag(online=online):
                self._last = self._build(online=online)
            return self._last

    def _build(self, *, online: bool) -> Manifest:
        packer = zstandard.ZstdCompressor(level=LEVEL).compressobj()
        with self._catalog.snapshot(online=online) as (header, entries):
            parts = [packer.compress(header.model_dump_json().encode() + b"\n")]
            while lines := b"".join(entry.manifest_line() for entry in islice(entries, _LINES)):
                parts.append(packer.compress(lines))
            parts.append(packer.flush())
        return Manifest(_tag(header.epoch, header.seq, online=online), b"".join(parts))


def _tag(epoch: str, seq: int, *, online: bool) -> str:
    return f"{epoch}:{seq}" if online else f"{epoch}:{seq}:offline"


def chosen_encoding(accepted: str) -> str:
    """Return the best of our content encodings that an ``Accept-Encoding`` allows."""
    allowed = set()
    for offer in accepted.lower().split(","):
        name, _, parameter = offer.partition(";")
        if parameter.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            allowed.add(name.strip())
    return next((name for name in ("zstd", "gzip") if name in allowed), "identity")
