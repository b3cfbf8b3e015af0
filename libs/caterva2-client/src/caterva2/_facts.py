"""What is known of a remote dataset or file without asking again: shared by the blocking and the asynchronous kinds."""

from __future__ import annotations

from html import escape
from math import prod
from pathlib import PurePath, PurePosixPath
from typing import Any

from ._address import PathLike
from ._dtypes import DType, StructuredDType, dtype_of, parse_dtype
from ._freshness import Freshness


class RemotePath:
    """A path at a subscriber that can be used wherever a path is wanted.

    It equals the same path as text or as a `pathlib.PurePosixPath`, and has the same hash as the latter.
    """

    path: PurePosixPath

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"<{type(self).__name__.removeprefix('Async')}: {self.path}>"

    def __eq__(self, other: object) -> Any:
        return same_path(self, other)

    def __ne__(self, other: object) -> Any:
        same = same_path(self, other)
        return same if same is NotImplemented else not same

    def __hash__(self) -> int:
        return hash(self.path)

    def __truediv__(self, other: PathLike) -> PurePosixPath:
        return self.path / other

    @property
    def parent(self) -> PurePosixPath:
        """Path of the directory or root that holds this."""
        return self.path.parent

    @property
    def parts(self) -> tuple[str, ...]:
        """Levels of the path, the root's name first."""
        return self.path.parts

    @property
    def stem(self) -> str:
        """Last level of the path without its suffix."""
        return self.path.stem

    @property
    def suffix(self) -> str:
        """Suffix of the last level of the path, with its dot."""
        return self.path.suffix

    def as_posix(self) -> str:
        """Return the path as text."""
        return str(self.path)


def same_path(mine: RemotePath, other: object) -> Any:
    """Compare as paths: with text, with a pathlib path, or with another remote path; else NotImplemented."""
    if isinstance(other, RemotePath):
        return mine.path == other.path
    if isinstance(other, str):
        return str(mine.path) == other
    if isinstance(other, PurePath):
        return str(mine.path) == str(other)
    return NotImplemented


def facts_table(title: str, meta: dict[str, Any], freshness: Freshness) -> str:
    """Return what is known of a dataset as an HTML table, for notebooks."""
    where = meta.get("schunk", meta)
    rows: dict[str, Any] = {
        name: meta[name] for name in ("shape", "chunks", "blocks", "dtype", "expression", "error") if name in meta
    }
    rows |= {
        name: f"{where[name]:,} bytes" for name in ("nbytes", "cbytes", "size") if isinstance(where.get(name), int)
    }
    if where.get("cratio"):
        rows["cratio"] = f"{where['cratio']:.2f}"
    if meta.get("mtime"):
        rows["mtime"] = meta["mtime"]
    if freshness.stale:
        rows["stale"] = "the publisher cannot be reached; there may be a newer version"
    rows |= {f"@{name}": value for name, value in (where.get("vlmeta") or {}).items()}
    cells = "".join(
        f"<tr><th>{escape(str(name))}</th><td>{escape(str(value))}</td></tr>" for name, value in rows.items()
    )
    return f"<table><caption>{escape(title)}</caption>{cells}</table>"


class Facts(RemotePath):
    """A path and what the subscriber says of it."""

    meta: dict[str, Any]
    """What ``/api/info`` answered; it does not change when the dataset does."""
    freshness: Freshness
    """How fresh the last answer was, of the info or of data."""

    @property
    def vlmeta(self) -> dict[str, Any]:
        """User attributes; empty if there are none."""
        where = self.meta.get("schunk", self.meta)
        found = where.get("vlmeta")
        return found if isinstance(found, dict) else {}

    @property
    def nbytes(self) -> int:
        """Uncompressed size in bytes."""
        meta = self.meta
        if "shape" in meta:
            return int(prod(meta["shape"], start=self._dtype().itemsize))
        return int(meta.get("nbytes", meta.get("size", 0)))

    @property
    def cbytes(self) -> int:
        """Compressed size in bytes, where the subscriber knows it."""
        return int(self.meta.get("schunk", self.meta).get("cbytes") or 0)

    @property
    def version(self) -> str | None:
        """Opaque version of the data in the last answer."""
        return self.freshness.version

    @property
    def source(self) -> str | None:
        """``cache``, ``link`` or ``mixed``: where the bytes of the last answer came from."""
        return self.freshness.source

    @property
    def age(self) -> float | None:
        """Seconds for which the last answer's version was not compared with the publisher's."""
        return self.freshness.age

    @property
    def stale(self) -> bool:
        """Whether the publisher could not be reached for the last answer, so that there may be a newer version."""
        return self.freshness.stale

    def _repr_html_(self) -> str:
        return facts_table(str(self.path), self.meta, self.freshness)

    def _fact(self, name: str) -> Any:
        try:
            return self.meta[name]
        except KeyError:
            kind = type(self).__name__.removeprefix("Async")
            raise AttributeError(f"'{kind}' object has no attribute '{name}'.") from None

    def _dtype(self) -> Any:
        return parse_dtype(self.meta.get("dtype", "uint8"))


class ArrayFacts(Facts):
    """What is known of a dataset."""

    @property
    def dtype(self) -> DType | StructuredDType:
        """Type of an element: its text, with the attributes of numpy's dtype."""
        return dtype_of(self._fact("dtype"))

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(self._fact("shape"))

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        return tuple(self._fact("chunks"))

    @property
    def blocks(self) -> tuple[int, ...]:
        """Shape of a block."""
        return tuple(self._fact("blocks"))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def _has_field(self, text: str) -> bool:
        """Tell whether text that is no slice names a field; otherwise it is a filter. Raises ValueError."""
        names = self._dtype().names
        if names is None:
            raise ValueError(f"'{text}' is not a slice, and a field or a filter needs a structured dataset")
        return text in names

    @property
    def is_array(self) -> bool:
        """Whether this is an n-dimensional array, and not a frame of bytes."""
        return "shape" in self.meta
