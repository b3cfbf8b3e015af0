"""What can be sent to a subscriber: local files, bytes, arrays, and expressions over its datasets."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from . import _operations as operations
from ._address import PathLike, remote_path
from ._facts import Facts
from ._transfer import Progress, upload, upload_content
from ._transport import Operation
from .paths import ARRAY_SUFFIX


def upload_any(
    content: Any, path: PathLike, compute: bool | None, progress: Progress | None
) -> Operation[PurePosixPath]:
    """Send something to a path. Returns its path at the subscriber.

    Parameters
    ----------
    content
        Path of a local file; or bytes; or an array of numpy or blosc2, or what becomes one; or a lazy expression.
    path
        The new path; for local files also an existing directory and a slash.
    compute
        Whether the values of an expression are stored, and not the expression.

    Raises
    ------
    TypeError
        If `content` cannot be sent.
    ValueError
        If an array is to be stored under another suffix than ``.b2nd``.
    """
    if isinstance(content, str | Path):
        return (yield from upload(content, str(path), progress))
    name = remote_path(path).name
    if isinstance(content, bytes | bytearray | memoryview):
        return (yield from upload_content(name, bytes(content), str(path)))
    return (yield from _upload_container(content, path, compute))


def _upload_container(content: Any, path: PathLike, compute: bool | None) -> Operation[PurePosixPath]:
    import blosc2

    from ._arrays import to_cframe

    name = remote_path(path).name
    if isinstance(content, blosc2.SChunk):
        return (yield from upload_content(name, bytes(content.to_cframe()), str(path)))
    if isinstance(content, blosc2.LazyUDF):
        raise TypeError("a subscriber runs no Python code of users: send the computed array")
    if not name.endswith(ARRAY_SUFFIX):
        raise ValueError(f"an array is stored under a name that ends in {ARRAY_SUFFIX}, not as '{name}'")
    if isinstance(content, blosc2.LazyExpr):
        remote = remote_operands(content)
        if remote is not None:
            return (yield from operations.upload_expression(path, str(content.expression), remote, bool(compute)))
        content = content.compute()
    return (yield from upload_content(name, to_cframe(content), str(path)))


def remote_operands(expression: Any) -> dict[str, str] | None:
    """Return the path of each operand of a lazy expression, or None if not all are at a subscriber."""
    operands = expression.operands
    if not operands or not all(isinstance(operand, Facts) for operand in operands.values()):
        return None
    return {variable: str(operand) for variable, operand in operands.items()}
