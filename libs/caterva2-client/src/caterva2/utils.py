"""Module name under which programs written for the original import these; see `caterva2.cli` for today's."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ._address import check_urlbase

__all__ = ["Conf", "Socket", "get_conf", "get_parser", "run_parser", "urlbase_type", "walk_files"]


def urlbase_type(string: str) -> str:
    """Return a URL base, for use as the `type` of an argparse argument."""
    try:
        return check_urlbase(string)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"invalid HTTP(S) URL base: {string!r}") from error


class Socket(str):
    """An address where a service listens: ``host:port``, or the path of a Unix socket."""

    __slots__ = ("host", "port", "uds")

    host: str | None
    port: int | None
    uds: str | None

    def __init__(self, string: str) -> None:
        host, colon, port = string.rpartition(":")
        if colon:
            self.host, self.port, self.uds = host.strip("[]"), int(port), None
        else:
            self.host, self.port, self.uds = None, None, string


class Conf:
    """The content of a configuration file."""

    def __init__(self, content: dict[str, Any], prefix: str | None = None, id: str | None = None) -> None:
        self._content = content
        self.prefix = prefix
        self.id = id

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a dotted key; one that begins with a dot is below the prefix (and the id)."""
        if key.startswith(".") and self.prefix is not None:
            key = f"{self.prefix}.{self.id}{key}" if self.id else f"{self.prefix}{key}"
        found: Any = self._content
        for part in key.split("."):
            if not isinstance(found, dict) or part not in found:
                return default
            found = found[part]
        return found


def get_conf(prefix: str | None = None, allow_id: bool = False) -> Conf:
    """Return the configuration in the file that ``--conf`` names, or in ``caterva2.toml``; a missing file is empty.

    With `allow_id` the option ``--id`` chooses a section below `prefix`.

    Raises
    ------
    ValueError
        If the id cannot be part of a section's name.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--conf", default="caterva2.toml", type=Path)
    if allow_id:
        parser.add_argument("--id")
    known, _ = parser.parse_known_args()
    chosen: str | None = getattr(known, "id", None)
    if chosen is not None and (chosen in (".", "..") or "/" in chosen):
        raise ValueError(f"invalid identifier {chosen!r}")
    try:
        content = tomllib.loads(known.conf.read_text(encoding="utf-8"))
    except FileNotFoundError:
        content = {}
    return Conf(content, prefix, chosen)


def get_parser(loglevel: str = "warning", description: str | None = None) -> argparse.ArgumentParser:
    """Return a parser with the options that all programs have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--conf", default="caterva2.toml", type=Path, help="configuration file")
    parser.add_argument("--loglevel", default=loglevel, help="how much to log")
    return parser


def run_parser(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line."""
    return parser.parse_args()


def walk_files(root: str | Path, exclude: set[str] | None = None) -> Iterator[tuple[Path, Path]]:
    """Yield the absolute and the relative path of each file below a directory."""
    base = Path(root)
    for path in sorted(base.rglob("*")):
        relative = path.relative_to(base)
        if path.is_file() and str(relative) not in (exclude or ()):
            yield path, relative
