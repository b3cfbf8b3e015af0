"""Archives that people upload: their regular files, one after another, within limits (requirement U8).

Nothing here writes: names are checked, content is handed out as streams, and whoever stores it does so as any other
upload. Links, devices, encrypted members and names that lead elsewhere make the whole archive refused.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from caterva2 import paths
from caterva2.errors import InvalidName, TooLarge, UnsafeContent

ARCHIVE_SUFFIXES = (".zip", ".b2z", ".tar", ".tgz", ".tar.gz")

MAX_TAR_HEADER_BYTES = 2**20

_END_OF_ZIP = b"PK\x05\x06"
_END_SIZE = 22
_MAX_COMMENT = 65_535
_ENCRYPTED = 0x1
_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile, struct.error, EOFError),
    *(ValueError, KeyError, IndexError, OverflowError, NotImplementedError, RuntimeError),
)
"""What the readers of the standard library raise on archives that are damaged or exotic."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How much an archive may hold."""

    members: int = 10_000
    nbytes: int = 2**40
    """Bytes of all files together: the room that is left for them."""
    ratio: float = 10.0
    """Uncompressed bytes for each byte of a member, and of the archive as a whole."""
    slack: int = 2**20
    """Bytes that are always allowed: short texts compress well."""


def is_archive(name: str) -> bool:
    """Tell whether a name is that of an archive that can be read here."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def archive_stem(name: str) -> str:
    """Return the last level of an archive's name without its suffix."""
    last = name.rpartition("/")[2]
    suffix = next((s for s in sorted(ARCHIVE_SUFFIXES, key=len, reverse=True) if last.lower().endswith(s)), "")
    return last[: len(last) - len(suffix)]


def read_archive(file: Path, limits: ArchiveLimits | None = None) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield checked path and content of each regular file in an archive.

    A stream is to be read before the next one is asked for. Hidden files and those that macOS adds are left out.

    Parameters
    ----------
    file
        A zip or tar file, the latter perhaps compressed with gzip; what it is is told from its content.
    limits
        How much it may hold.

    Raises
    ------
    UnsafeContent
        If the file is no archive, is damaged, or holds something else than regular files with good names. Also
        raised by reading a stream.
    TooLarge
        If it holds more than `limits`. Also raised by reading a stream.
    """
    limits = limits or ArchiveLimits()
    budget = _Budget(limits, file.stat().st_size)
    seen: set[str] = set()
    with _reporting_damage(), file.open("rb") as raw:
        members = _zip_members(raw, limits) if _is_zip(raw) else _tar_members(raw, limits)
        for count, (name, size, stream) in enumerate(members, 1):
            if count > limits.members:
                raise TooLarge(f"the archive holds more than {limits.members} files")
            path = _checked(name, seen)
            if path is not None:
                yield path, io.BufferedReader(_Counted(stream, size, budget))


@contextmanager
def _reporting_damage() -> Iterator[None]:
    try:
        yield
    except (UnsafeContent, TooLarge, InvalidName):
        raise
    except _BROKEN:
        raise UnsafeContent("the archive is damaged, or of a kind that is not supported") from None


def _checked(name: str, seen: set[str]) -> str | None:
    segments = name.split("/")
    if (segments[-1].startswith(".") and segments[-1] not in (".", "..")) or "__MACOSX" in segments:
        return None
    try:
        path = paths.check_path(name)
    except InvalidName as error:
        raise UnsafeContent(f"the archive holds a file whose name is not allowed: {error.detail}") from None
    if ".." in segments or path.casefold() in seen:
        raise UnsafeContent(f"the archive holds {paths.printable(name)} more than once, but for upper and lower case")
    seen.add(path.casefold())
    return path


# --- zip ---------------------------------------------------------------------
def _is_zip(raw: IO[bytes]) -> bool:
    head = raw.read(4)
    raw.seek(0)
    return head in (b"PK\x03\x04", _END_OF_ZIP)


def _zip_members(raw: IO[bytes], limits: ArchiveLimits) -> Iterator[tuple[str, int, IO[bytes]]]:
    _check_zip_directory(raw, limits)
    with zipfile.ZipFile(raw) as archive:
        for member in archive.infolist():
            if member.is_dir():
                continue
            kind = member.external_attr >> 28
            if kind not in (0, 0x8):
                raise UnsafeContent(f"the archive holds {paths.printable(member.filename)}, which is no regular file")
            if member.flag_bits & _ENCRYPTED:
                raise UnsafeContent("the archive is encrypted")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise UnsafeContent("the archive uses a compression other than deflate")
            yield member.filename, member.compress_size, archive.open(member)


def _check_zip_directory(raw: IO[bytes], limits: ArchiveLimits) -> None:
    """Check the size of the directory before `zipfile` holds all of it in memory."""
    size = raw.seek(0, io.SEEK_END)
    raw.seek(max(0, size - _END_SIZE - _MAX_COMMENT))
    tail = raw.read()
    raw.seek(0)
    at = tail.rfind(_END_OF_ZIP)
    if at < 0 or at + _END_SIZE > len(tail):
        raise UnsafeContent("the archive is damaged, or of a kind that is not supported")
    count, directory = struct.unpack_from("<HI", tail, at + 10)
    if count > limits.members or directory > limits.members * 1024:
        raise TooLarge(f"the archive holds more than {limits.members} files")


# --- tar ---------------------------------------------------------------------
class _Member(tarfile.TarInfo):
    """A member whose header makes `tarfile` neither read backwards nor hold a file's worth of header in memory."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str | None, errors: str) -> Self:
        member = super().frombuf(buf, encoding or "utf-8", errors)
        if member.size < 0 or (member.type not in tarfile.REGULAR_TYPES and member.size > MAX_TAR_HEADER_BYTES):
            raise UnsafeContent("the archive is damaged: a header has an impossible size")
        return member


def _tar_members(raw: IO[bytes], limits: ArchiveLimits) -> Iterator[tuple[str, int, IO[bytes]]]:
    compressed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    with tarfile.open(fileobj=raw, mode="r|gz" if compressed else "r|", tarinfo=_Member) as archive:
        for count, member in enumerate(archive):
            if count >= limits.members * 2:
                raise TooLarge(f"the archive holds more than {limits.members} files and directories")
            if member.isdir():
                continue
            stream = archive.extractfile(member) if member.isreg() and not member.issparse() else None
            if stream is None:
                raise UnsafeContent(f"the archive holds {paths.printable(member.name)}, which is no regular file")
            yield member.name, member.size, stream


# --- limits ---------------------------------------------------------------------
class _Budget:
    """What is left of the limits of one archive."""

    def __init__(self, limits: ArchiveLimits, size: int) -> None:
        self.limits = limits
        self._left = min(limits.nbytes, int(size * limits.ratio) + limits.slack)
        self._detail = (
            "there is not enough room for what the archive holds"
            if self._left == limits.nbytes
            else f"the archive holds more than {limits.ratio:g} times its own size"
        )

    def take(self, nbytes: int) -> None:
        """Account for bytes that were read. Raises TooLarge."""
        self._left -= nbytes
        if self._left < 0:
            raise TooLarge(self._detail)


class _Counted(io.RawIOBase):
    """A member's content, counted while it is read."""

    def __init__(self, stream: IO[bytes], size: int, budget: _Budget) -> None:
        self._stream = stream
        self._budget = budget
        self._left = int(size * budget.limits.ratio) + budget.limits.slack

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _reporting_damage():
            data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge("the archive holds a file that is compressed far more than data ever is")
        self._budget.take(len(data))
        buffer[: len(data)] = data
        return len(data)
