"""The file system under a root: what must be known of it before a missing file counts as removed (F18)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from caterva2.paths import COMPRESSED_SUFFIX


class Top(NamedTuple):
    """Identity of the directory at the top of a root."""

    dev: int
    ino: int


class Tree:
    """A published directory, or a published HDF5 file, by its place in the file system. Methods block.

    Parameters
    ----------
    source
        The directory or file; it need not be there.
    """

    def __init__(self, source: Path) -> None:
        self.source = source

    def top(self) -> Top | None:
        """Return the identity of the directory, or None if it is not there, or if the root is a file.

        Files are replaced as a matter of course; a directory that is another one is a sign that its file system went.
        """
        try:
            state = self.source.stat()
        except OSError:
            return None
        return Top(state.st_dev, state.st_ino) if self.source.is_dir() else None

    def watched(self) -> tuple[Path, bool]:
        """Return the directory to watch, and whether with all that is below it.

        A file is watched by its directory: its own watch would end when another file takes its place.
        """
        return (self.source, True) if self.source.is_dir() else (self.source.parent, False)

    def device(self, path: str) -> int:
        """Return the device of the directory that holds a listed path, or of the nearest one above that is there.

        Raises
        ------
        OSError
            If not even the top is there, or a directory cannot be looked at.
        """
        directory = self.source.joinpath(path).parent if self.source.is_dir() else self.source
        while directory != self.source:
            try:
                return directory.stat().st_dev
            except (FileNotFoundError, NotADirectoryError):
                directory = directory.parent
        return self.source.stat().st_dev

    def files(self, path: str) -> Iterable[Path]:
        """Return the places where the bytes of a listed path may be."""
        if not self.source.is_dir():
            return (self.source,)
        file = self.source / path
        return (file, file.with_name(file.name + COMPRESSED_SUFFIX))

    def directories(self, places: Iterable[str]) -> set[str]:
        """Return those of some places, relative to the root, that are directories."""
        return {place for place in places if self.source.joinpath(place).is_dir()}

    def relative(self, place: str) -> str | None:
        """Return a path of the file system relative to the root; None if it is not below it."""
        try:
            return Path(place).relative_to(self.source).as_posix()
        except ValueError:
            return None
