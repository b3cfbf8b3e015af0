"""A dataset or file in little room: what search compares and lists show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from caterva2.wire import Kind

Shown = Literal["", "1d", "2d", "nd", "table", "file"]
_VALUE_CHARS = 200


@dataclass(frozen=True, slots=True)
class Summary:
    """One dataset or file in little room."""

    path: str
    """API path."""
    kind: str
    """`Kind`, or ``lazy`` for an expression."""
    dtype: str | None
    shape: tuple[int, ...] | None
    nbytes: int
    mtime: float | None
    """Unix time in seconds."""
    etag: str
    text: str = field(repr=False, default="")
    """Everything that is searched, in lower case."""

    def shown(self) -> dict[str, Any]:
        """Return what the API answers."""
        return {name: getattr(self, name) for name in _SHOWN}

    def is_shown_as(self, shown: Shown) -> bool:
        """Tell whether the dataset is of the kind that was asked for."""
        if not shown:
            return True
        if self.shape is None:
            return shown == "file"
        is_table = (self.dtype or "").startswith(("[", "{"))
        if shown == "table":
            return is_table
        axes = len(self.shape)
        return not is_table and {"1d": axes == 1, "2d": axes == 2, "nd": axes > 2}.get(shown, False)


_SHOWN = tuple(each.name for each in fields(Summary) if each.name != "text")


def summarize(path: str, kind: Kind, etag: str, mtime: float | None, info: Mapping[str, Any], nbytes: int) -> Summary:
    """Return the summary of a dataset or file from its info."""
    shape = info.get("shape")
    dtype = info.get("dtype")
    lazy = "expression" in info
    words = [path, dtype or "", "x".join(map(str, shape)) if shape is not None else "", "lazy" if lazy else kind.value]
    words += [f"{name}={value}" for name, value in brief_attributes(info).items()]
    if lazy:
        words.append(str(info["expression"]))
    return Summary(
        path=path,
        kind="lazy" if lazy else kind.value,
        dtype=dtype,
        shape=None if shape is None else tuple(shape),
        nbytes=nbytes,
        mtime=mtime,
        etag=etag,
        text=" ".join(words).lower(),
    )


def brief_attributes(info: Mapping[str, Any]) -> dict[str, str]:
    """Return the user attributes of a dataset as texts of limited length."""
    attributes = (info.get("schunk") or info).get("vlmeta") or {}
    return {name: str(value)[:_VALUE_CHARS] for name, value in attributes.items()}


def nbytes_of(info: Mapping[str, Any], default: int) -> int:
    """Return the uncompressed bytes of a dataset or file, as its info says."""
    schunk = info.get("schunk") or info
    return int(schunk.get("nbytes", info.get("size", default)))
