"""Taking in a manifest as it arrives, in bounded memory, whatever its publisher sends.

A manifest of 200,000 entries is 130 MB of JSON in 8 MB of zstd. It is unpacked and parsed piece by piece in a thread,
and what is known already (same life of the index, same number of the last change) is not written again.
"""

from __future__ import annotations

from operator import itemgetter

import orjson
import zstandard

from caterva2.errors import Caterva2Error, Unavailable, UpstreamInvalid
from caterva2.paths import check_path
from caterva2.wire import Kind, ManifestHeader
from caterva2_service.log import get_logger

from ..catalog import Catalog, Change, Listed, Staged

log = get_logger(__name__)

MAX_ENTRIES = 10_000_000
MAX_LINE_BYTES = 4 * 2**20
_ROWS = 1000
"""Entries that are written together."""
_STEP_BYTES = 512
"""Compressed bytes that are unpacked at once: at most 16 MiB come out, as zstd makes 128 KiB of 4 bytes at best."""
_INT64 = 2**63

_fields = itemgetter(*Listed._fields)
_KINDS = frozenset(kind.value for kind in Kind)


class Intake:
    """One manifest on its way into the catalogue. For one thread at a time.

    Parameters
    ----------
    root
        The root that the manifest must be of.
    encoding
        Content encoding of its pieces.

    Raises
    ------
    UpstreamInvalid
        If the encoding is another one than zstd or none.
    """

    def __init__(self, catalog: Catalog, root: str, encoding: str) -> None:
        if encoding not in ("zstd", "", "identity"):
            raise UpstreamInvalid("The publisher sent a manifest in an encoding that was not asked for")
        self._catalog = catalog
        self._root = root
        self._unpacker = zstandard.ZstdDecompressor().decompressobj() if encoding == "zstd" else None
        self._rest = b""
        self._header: ManifestHeader | None = None
        self._staged: Staged | None = None
        self._entries: list[Listed] = []
        self._count = 0
        self._refused = 0

    def feed(self, piece: bytes) -> None:
        """Take in the next bytes.

        Raises
        ------
        UpstreamInvalid
            If they are no part of a manifest of the root.
        Unavailable
            If the publisher cannot see its data.
        """
        if self._unpacker is None:
            self._feed_lines(piece)
            return
        try:
            for start in range(0, len(piece), _STEP_BYTES):
                self._feed_lines(self._unpacker.decompress(piece[start : start + _STEP_BYTES]))
        except zstandard.ZstdError:
            raise _nonsense() from None

    def commit(self) -> tuple[ManifestHeader, list[Change] | None]:
        """Make the manifest, which has come to its end, the catalogue's; return its header and what is different now.

        Raises
        ------
        UpstreamInvalid
            If it is not whole.
        Unavailable
            If it has to be asked for again.
        """
        if self._rest:
            self._feed_lines(b"\n")
        if self._header is None or self._staged is None:
            raise UpstreamInvalid("The publisher sent an empty manifest")
        if self._count != self._header.count:
            raise UpstreamInvalid(f"The manifest holds {self._count} entries, but announced {self._header.count}")
        if self._refused:
            log.warning("a publisher lists names that are not allowed; they are left out", count=self._refused)
        self._stage()
        return self._header, self._staged.commit()

    def discard(self) -> None:
        """Remove what was written on the way."""
        if self._staged is not None:
            self._staged.discard()

    def _feed_lines(self, text: bytes) -> None:
        *lines, self._rest = (self._rest + text).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise _nonsense()
        for line in filter(None, lines):
            if self._header is None:
                self._begin(line)
            else:
                self._add(line, self._header)

    def _begin(self, line: bytes) -> None:
        try:
            header = ManifestHeader.model_validate_json(line)
        except ValueError:
            raise _nonsense() from None
        if header.root != self._root:
            raise UpstreamInvalid(f"The publisher serves root '{header.root[:80]}' instead of '{self._root}'")
        if not header.online:
            raise Unavailable("The publisher cannot see its data now")
        if not (0 <= header.seq < _INT64 and 0 <= header.count <= MAX_ENTRIES):
            raise _nonsense()
        self._header = header
        self._staged = self._catalog.stage(header)

    def _add(self, line: bytes, header: ManifestHeader) -> None:
        self._count += 1
        if self._count > header.count:
            raise UpstreamInvalid(f"The manifest holds more entries than the {header.count} that it announced")
        entry = _parse(line)
        if not is_canonical(entry.path):
            self._refused += 1
            return
        self._entries.append(entry)
        if len(self._entries) >= _ROWS:
            self._stage()

    def _stage(self) -> None:
        if self._staged is not None and self._entries:
            self._staged.add(self._entries)
        self._entries = []


def _parse(line: bytes) -> Listed:
    try:
        path, etag, kind, nbytes, mtime, seq, info = _fields(orjson.loads(line))
    except (ValueError, TypeError, KeyError):
        raise _nonsense() from None
    if not (
        type(path) is type(etag) is type(kind) is str
        and kind in _KINDS
        and type(nbytes) is type(seq) is int
        and 0 <= nbytes < _INT64
        and 0 <= seq < _INT64
        and type(mtime) in (float, int)
        and type(info) is dict
    ):
        raise _nonsense()
    return Listed(path, etag, kind, nbytes, float(mtime), seq, orjson.dumps(info).decode())


def is_canonical(path: str) -> bool:
    """Tell whether a publisher may call a dataset so."""
    try:
        return check_path(path) == path
    except Caterva2Error:
        return False


def _nonsense() -> UpstreamInvalid:
    return UpstreamInvalid("The publisher sent a manifest that makes no sense")
