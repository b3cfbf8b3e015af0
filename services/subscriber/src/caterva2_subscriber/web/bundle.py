"""The built GUI in memory, compressed once."""

from __future__ import annotations

import gzip
import mimetypes
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

DIRECTORY = Path(__file__).parent.parent / "static" / "app"
INDEX = "index.html"

_BASE = b'<base href="/" />'
_MISSING = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Caterva2</title>
<h1>Caterva2</h1>
<p>The web GUI was not built. In a checkout: <code>make gui</code>. Everything it shows is also at
<a href="docs">the REST interface</a>.</p>
</html>
"""
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the bundle."""

    body: bytes
    gzipped: bytes | None
    """None if compression does not make it smaller."""
    media_type: str


class Bundle:
    """The files of the GUI, by their path.

    Parameters
    ----------
    urlbase
        Where people find the subscriber; its path becomes the base of every link.
    directory
        Where the built files are.
    """

    def __init__(self, urlbase: str, directory: Path = DIRECTORY) -> None:
        self.prefix = urlsplit(urlbase).path.rstrip("/")
        """Path below which everything lies; empty at the root of a host."""
        self._assets: dict[str, Asset] = {}
        for file in sorted(directory.rglob("*")) if directory.is_dir() else ():
            if file.is_file():
                self._assets[file.relative_to(directory).as_posix()] = _asset(file.name, file.read_bytes())
        found = self._assets.pop(INDEX, None)
        page = found.body if found is not None else _MISSING.encode()
        based = page.replace(_BASE, f'<base href="{escape(self.prefix)}/" />'.encode())
        self.index = _asset(INDEX, based)
        """The one page, which draws every screen."""
        self.is_built = found is not None

    def get(self, path: str) -> Asset | None:
        """Return a file of the bundle, or None."""
        return self._assets.get(path)


def _asset(name: str, body: bytes) -> Asset:
    media_type = _TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    # mtime=0: the same bytes on every replica.
    packed = gzip.compress(body, 9, mtime=0)
    return Asset(body, packed if len(packed) < len(body) else None, media_type)
