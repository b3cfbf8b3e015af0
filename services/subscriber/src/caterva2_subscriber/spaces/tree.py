"""One directory with people's files, changed atomically and never outside of itself.

Paths have passed `caterva2.paths`. Directories are opened segment by segment without following symbolic links, and
everything happens relative to their descriptors, so that no race can lead out of the tree (U7). Methods block.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat as stats
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from caterva2.errors import BadRequest, NotFound
from caterva2.paths import COMPRESSED_SUFFIX, printable
from caterva2.wire import Kind
from caterva2_formats.directory import kind_of, listed_name

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Place:
    """Where a listed path is stored."""

    stored: str
    """Path on disk below the directory: plain files that were uploaded have ``.b2`` added."""
    is_directory: bool
    nbytes: int
    """Bytes on disk, of everything below it for a directory."""


def stored_name(rel: str) -> str:
    """Return the name under which new content of a listed path is stored. Raises BadRequest."""
    if kind_of(rel) is not Kind.FILE:
        return rel
    if rel.endswith(COMPRESSED_SUFFIX):
        raise BadRequest(f"{printable(rel)}: the suffix {COMPRESSED_SUFFIX} is for plain files that are stored packed")
    return rel + COMPRESSED_SUFFIX


class Tree:
    """The files of one space.

    Parameters
    ----------
    directory
        Need not exist; it is made when something is put into it.
    trash
        Directory on the same file system, where things go before they are deleted.
    """

    def __init__(self, directory: Path, trash: Path) -> None:
        self.directory = directory
        self._trash = trash

    def find(self, rel: str) -> Place | None:
        """Return where a listed path is stored, or None if there is nothing."""
        candidates = [rel] if kind_of(rel) is not Kind.FILE else [rel, rel + COMPRESSED_SUFFIX]
        for stored in candidates:
            with contextlib.suppress(FileNotFoundError), self._parent(stored) as (parent, name):
                status = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if stats.S_ISDIR(status.st_mode):
                    return Place(stored, True, _size_below(parent, name))
                if stats.S_ISREG(status.st_mode):
                    return Place(stored, False, status.st_size)
        return None

    def is_directory(self, rel: str) -> bool:
        """Tell whether a path is a directory; the tree itself always is."""
        if not rel:
            return True
        with contextlib.suppress(FileNotFoundError), self._parent(rel) as (parent, name):
            return stats.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
        return False

    def put(self, staged: Path, stored: str) -> int:
        """Move a finished file to its place, in place of what is there.

        Returns
        -------
        int
            Bytes on disk that the file replaced.

        Raises
        ------
        BadRequest
            If there is a directory of this name, or a file where a directory is needed.
        """
        with self._parent(stored, create=True) as (parent, name):
            freed = self._make_room(parent, name)
            os.rename(staged, name, dst_dir_fd=parent)
            freed += self._drop_plain(parent, name)
            os.fsync(parent)
        return freed

    def _make_room(self, parent: int, name: str) -> int:
        """Refuse a name that contradicts others; return the bytes of the file that is replaced."""
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            self._refuse_twin(parent, name)
            return 0
        if stats.S_ISDIR(status.st_mode):
            raise BadRequest(f"there is a directory {printable(name)} already")
        return status.st_size

    def _refuse_twin(self, parent: int, name: str) -> None:
        """Refuse a name under which another file or directory is listed, also if the case of letters differs."""
        listed = listed_name(name)
        for other in os.listdir(parent):
            if listed_name(other).casefold() != listed.casefold():
                continue
            if other != listed or stats.S_ISDIR(os.stat(other, dir_fd=parent, follow_symlinks=False).st_mode):
                raise BadRequest(f"there is {printable(listed_name(other))} already")

    def _drop_plain(self, parent: int, name: str) -> int:
        """Remove the uncompressed file that somebody dropped and that a new ``.b2`` replaces."""
        plain = name.removesuffix(COMPRESSED_SUFFIX)
        if plain == name or listed_name(name) != plain:
            return 0
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(plain, dir_fd=parent, follow_symlinks=False)
            if not stats.S_ISDIR(status.st_mode):
                os.unlink(plain, dir_fd=parent)
                return status.st_size
        return 0

    def remove(self, rel: str) -> int:
        """Remove a file, or a directory with everything in it; return the bytes that were freed. Raises NotFound."""
        place = self.find(rel)
        if place is None:
            raise NotFound("The specified path does not exist")
        # Out of the way in one step; what takes long then is invisible.
        self._trash.mkdir(parents=True, exist_ok=True)
        grave = self._trash / uuid.uuid4().hex
        with self._parent(place.stored) as (parent, name):
            os.rename(name, grave, src_dir_fd=parent)
            os.fsync(parent)
        if place.is_directory:
            shutil.rmtree(grave)
        else:
            grave.unlink()
        return place.nbytes

    def move(self, source: Place, target: Tree, stored: str) -> int:
        """Move a file or directory to another place; return the bytes that it replaced. Raises BadRequest."""
        with self._parent(source.stored) as (parent, name), target._parent(stored, create=True) as (there, new):
            if source.is_directory:
                return self._move_directory(parent, name, target, there, new, source.stored, stored)
            freed = self._make_room(there, new)
            os.rename(name, new, src_dir_fd=parent, dst_dir_fd=there)
            freed += self._drop_plain(there, new)
            os.fsync(there)
            os.fsync(parent)
        return freed

    def _move_directory(
        self, parent: int, name: str, target: Tree, there: int, new: str, source: str, stored: str
    ) -> int:
        if target.directory == self.directory and f"{stored}/".startswith(f"{source}/"):
            raise BadRequest("a directory cannot be moved into itself")
        try:
            os.rename(name, new, src_dir_fd=parent, dst_dir_fd=there)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise BadRequest(f"there is {printable(new)} already") from None
        os.fsync(there)
        os.fsync(parent)
        return 0

    def copy_out(self, stored: str, staged: Path) -> None:
        """Copy the bytes of a stored file."""
        with self._parent(stored) as (parent, name):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            with os.fdopen(fd, "rb") as source, staged.open("xb") as copy:
                shutil.copyfileobj(source, copy, 2**20)
                copy.flush()
                os.fsync(copy.fileno())

    def nbytes(self) -> int:
        """Return the bytes on disk of everything in the tree."""
        try:
            parent = os.open(self.directory.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            return _size_below(parent, self.directory.name)
        except FileNotFoundError:
            return 0
        finally:
            os.close(parent)

    @contextlib.contextmanager
    def _parent(self, stored: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        """Open the directory that holds a path; yield its descriptor and the name in it. Raises FileNotFoundError."""
        *folders, name = stored.split("/")
        if create:
            self.directory.mkdir(parents=True, exist_ok=True)
        current = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for folder in folders:
                below = self._enter(current, folder, create)
                os.close(current)
                current = below
            yield current, name
        except NotADirectoryError:
            raise FileNotFoundError(errno.ENOENT, "no such directory") from None
        finally:
            os.close(current)

    def _enter(self, parent: int, name: str, create: bool) -> int:
        try:
            return os.open(name, _DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            if not create:
                raise
            self._make_room(parent, name)
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o777, dir_fd=parent)
            return os.open(name, _DIRECTORY, dir_fd=parent)
        except NotADirectoryError:
            if create:
                raise BadRequest(f"{printable(name)} is a file, not a directory") from None
            raise


def _size_below(parent: int, name: str) -> int:
    total = 0
    for _, _, names, folder in os.fwalk(name, dir_fd=parent):
        for each in names:
            with contextlib.suppress(OSError):
                total += os.stat(each, dir_fd=folder, follow_symlinks=False).st_size
    return total
