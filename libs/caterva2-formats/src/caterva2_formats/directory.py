"""Roots that are directories: Blosc2 files, HDF5 files as a whole, and any other files."""

from __future__ import annotations

import logging
import os
import stat as stats
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Self

from caterva2 import paths
from caterva2.errors import ChunkNotFound, DatasetNotFound, InvalidName, Unavailable
from caterva2.wire import Kind

from . import info
from .base import FILE_CHUNK_BYTES, Found, Layout, Skeleton
from .chunks import chunk_nbytes, compress
from .frames import Coding, bytes_layout, read_frame
from .opening import OpenFile, etag_of, open_beneath, stamp_of

logger = logging.getLogger(__name__)

_PLAIN_CODING = Coding(filters=(0, 0, 0, 0, 0, 0))


def kind_of(path: str) -> Kind:
    """Return what a listed path holds, by its name."""
    if paths.is_array(path):
        return Kind.ARRAY
    if paths.is_dataset(path):
        return Kind.FRAME
    return Kind.HDF5 if paths.is_hdf5(path) else Kind.FILE


def listed_name(stored: str) -> str:
    """Return the name under which a stored file is listed.

    ``README.md.b2`` is listed as ``README.md``; a ``.b2`` that would hide what the file is stays.
    """
    name = paths.listed(stored)
    if name in ("", stored) or name.endswith(("/", paths.COMPRESSED_SUFFIX)):
        return stored
    return name if kind_of(name) is Kind.FILE else stored


class DirectoryRoot:
    """A directory as a published root; see `caterva2_formats.base.RootSource`.

    Hidden files are listed. Symbolic links to files below the directory are followed; those that lead outside, and
    links to directories, are not.

    Parameters
    ----------
    directory
        Path of the directory, which may appear later.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = os.path.abspath(directory)

    def available(self) -> bool:
        """Tell whether the directory can be read."""
        return os.path.isdir(self._directory) and os.access(self._directory, os.R_OK | os.X_OK)

    def watch_paths(self) -> list[str]:
        """Return the directory."""
        return [self._directory]

    def scan(self) -> Iterator[Found]:
        """Yield every file. See `RootSource.scan`."""
        yield from self._walk("")

    def below(self, path: str) -> Iterator[Found]:
        """Yield what a scan would find at or below one path of the file system."""
        if "\0" in path:
            return
        relative = os.path.relpath(os.path.join(self._directory, path), self._directory)
        if relative == ".":
            yield from self._walk("")
            return
        if relative.startswith(".."):
            return
        full = os.path.join(self._directory, relative)
        # A symbolic link among the parents means that a scan would not come here.
        if os.path.realpath(os.path.dirname(full)) != self._real(os.path.dirname(relative)):
            return
        try:
            linked = stats.S_ISLNK(os.lstat(full).st_mode)
        except OSError:
            return
        if os.path.isdir(full):
            if not linked:
                yield from self._walk(relative)
        elif (found := self._found(relative)) is not None:
            yield found

    def _real(self, relative: str) -> str:
        return os.path.normpath(os.path.join(os.path.realpath(self._directory), relative))

    def _walk(self, below: str) -> Iterator[Found]:
        pending = [below]
        while pending:
            folder = pending.pop()
            try:
                with os.scandir(os.path.join(self._directory, folder)) as entries:
                    ordered = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                if folder == "":
                    raise Unavailable("the directory of the root cannot be read", retry_after_s=5) from error
                logger.warning("cannot read directory %s: %s", paths.printable(folder), error.strerror)
                continue
            for entry in _apart(ordered):
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append(name)
                elif (found := self._entry(name, entry)) is not None:
                    yield found

    def _entry(self, name: str, entry: os.DirEntry[str]) -> Found | None:
        if entry.is_symlink():
            return self._found(name)
        try:
            status = entry.stat()
        except OSError:
            return None
        return self._describe(name, status)

    def _describe(self, stored: str, status: os.stat_result) -> Found | None:
        if not stats.S_ISREG(status.st_mode):
            return None
        try:
            path = paths.check_path(listed_name(stored))
        except InvalidName as error:
            # Files on their way (*.tmp) come and go; all others deserve a word.
            level = logging.DEBUG if stored.lower().endswith(".tmp") else logging.WARNING
            logger.log(level, "a file is left out: %s", error.detail)
            return None
        if path != stored and stored.endswith(paths.COMPRESSED_SUFFIX):
            plain = os.path.join(self._directory, stored.removesuffix(paths.COMPRESSED_SUFFIX))
            if os.path.lexists(plain):
                logger.warning("%s is left out: there is a file of its name without .b2", paths.printable(stored))
                return None
        stamp = stamp_of(status)
        return Found(path, etag_of(stamp), stamp)

    def _found(self, stored: str) -> Found | None:
        try:
            opened = self._open_stored(stored)
        except DatasetNotFound:
            return None
        try:
            return self._describe(stored, os.fstat(opened.fd))
        finally:
            opened.close()

    def _open_stored(self, stored: str) -> OpenFile:
        try:
            root = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable("the directory of the root cannot be read", retry_after_s=5) from error
        try:
            return OpenFile(open_beneath(root, stored), os.path.join(self._directory, stored))
        finally:
            os.close(root)

    def find(self, path: str) -> Found | None:
        """Return the present state of one listed path, or None."""
        try:
            opened, _ = self._open_listed(path)
        except (DatasetNotFound, InvalidName):
            return None
        try:
            return Found(path, etag_of(opened.stamp), opened.stamp)
        finally:
            opened.close()

    def _open_listed(self, path: str) -> tuple[OpenFile, bool]:
        """Open the file that is listed as `path`, and tell whether it is stored with ``.b2`` added."""
        if paths.check_path(path) != path:
            raise DatasetNotFound()
        candidates = [path]
        if listed_name(path + paths.COMPRESSED_SUFFIX) == path:
            candidates.append(path + paths.COMPRESSED_SUFFIX)
        for stored in candidates:
            if listed_name(stored) != path:
                continue
            for spelled in self._spellings(stored):
                with suppress(DatasetNotFound):
                    return self._open_stored(spelled), stored != path
        raise DatasetNotFound()

    def _spellings(self, stored: str) -> Iterator[str]:
        yield stored
        if stored.isascii():
            return
        # Listed names are in Unicode form NFC; on disk they may be spelled otherwise.
        spelled = ""
        for segment in stored.split("/"):
            names = self._names(spelled)
            match = next((name for name in names if unicodedata.normalize("NFC", name) == segment), None)
            if match is None:
                return
            spelled = f"{spelled}/{match}" if spelled else match
        if spelled != stored:
            yield spelled

    def _names(self, folder: str) -> list[str]:
        """Return what is in a directory below the root that no symbolic link leads to."""
        full = os.path.join(self._directory, folder)
        try:
            return os.listdir(full) if os.path.realpath(full) == self._real(folder) else []
        except OSError:
            return []

    def open(self, path: str) -> FrameSource | FileSource:
        """Open the present version of a dataset or file. See `RootSource.open`."""
        try:
            opened, packed = self._open_listed(path)
        except InvalidName:
            raise DatasetNotFound() from None
        try:
            return open_file(opened, path, packed=packed)
        except BaseException:
            opened.close()
            raise

    def close(self) -> None:
        """Nothing is held open between calls."""


def _apart(entries: list[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
    """Yield entries of one directory, of those with one and the same listed name only the one that would be opened.

    Names that differ in case alone stay: a laboratory's dataset must not vanish because of how another one is called.
    """
    names = {entry.name for entry in entries}
    if all(map(str.isascii, names)) and len(set(map(str.lower, names))) == len(names):
        yield from entries
        return
    taken: set[str] = set()
    folded: dict[str, str] = {}
    for entry in entries:
        listed = entry.name if entry.name.isascii() else unicodedata.normalize("NFC", entry.name)
        if listed in taken or (listed != entry.name and listed in names):
            logger.warning("%s is left out: there is one of the same name, spelled otherwise", paths.printable(listed))
            continue
        taken.add(listed)
        twin = folded.setdefault(listed.casefold(), listed)
        if twin != listed:
            logger.warning(
                "%s and %s differ by upper and lower case alone: on some machines one hides the other",
                paths.printable(twin),
                paths.printable(listed),
            )
        yield entry


def open_file(opened: OpenFile, path: str, *, packed: bool = False) -> FrameSource | FileSource:
    """Return the dataset or file that an open file holds, after the checks of foreign bytes.

    Parameters
    ----------
    opened
        The file, which the result closes.
    path
        Name by which it is listed; its suffix says what it is.
    packed
        Whether it is a plain file that is stored compressed in a frame (``.b2``).

    Raises
    ------
    UnsafeContent
        If the bytes fail a check.
    """
    kind = kind_of(path)
    if kind in (Kind.ARRAY, Kind.FRAME) or packed:
        return FrameSource(opened, kind)
    return FileSource(opened, kind)


class _Source:
    """What the two kinds of sources share: one version of one file."""

    etag: str
    layout: Layout
    info: dict[str, Any]

    def __init__(self, opened: OpenFile) -> None:
        self._file = opened
        self.etag = etag_of(opened.stamp)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class FrameSource(_Source):
    """A Blosc2 frame: an array, a frame of bytes, or a plain file that is stored compressed.

    Parameters
    ----------
    opened
        The file, which this object closes.
    kind
        What it must hold.
    """

    compresses = False

    def __init__(self, opened: OpenFile, kind: Kind) -> None:
        super().__init__(opened)
        self.frame = read_frame(opened.read_at, opened.stamp.size, kind=kind)
        opened.check()
        self.layout = self.frame.layout
        self.info = info.frame_info(
            self.layout,
            self.frame.coding,
            vlmeta=self.frame.vlmeta,
            cbytes=self.frame.cbytes,
            nbytes=self.frame.nbytes,
            mtime=opened.mtime,
        )

    def chunk(self, nchunk: int) -> bytes:
        """Return compressed chunk `nchunk` as stored. See `DatasetSource.chunk`."""
        self._file.check()
        chunk = self.frame.chunk(nchunk)
        self._file.check()
        return chunk

    def skeleton(self) -> Skeleton | None:
        """Return what of the stored file is not chunks."""
        self._file.check()
        skeleton = self.frame.skeleton()
        self._file.check()
        return skeleton


class FileSource(_Source):
    """A file of any kind, cut into chunks of 16 MiB that are compressed as they are read.

    Parameters
    ----------
    opened
        The file, which this object closes.
    kind
        `Kind.FILE` or `Kind.HDF5`.
    """

    compresses = True

    def __init__(self, opened: OpenFile, kind: Kind) -> None:
        super().__init__(opened)
        size = opened.stamp.size
        self.layout = bytes_layout(kind, size, FILE_CHUNK_BYTES)
        if kind is Kind.HDF5:
            self.info = info.hdf5_file_info(size, opened.mtime)
            return
        self.info = info.frame_info(self.layout, _PLAIN_CODING, vlmeta={}, cbytes=size, nbytes=size, mtime=opened.mtime)

    def chunk(self, nchunk: int) -> bytes:
        """Return 16 MiB of the file, compressed. See `DatasetSource.chunk`."""
        layout = self.layout
        if not 0 <= nchunk < layout.nchunks:
            raise ChunkNotFound(f"there is no chunk {nchunk}: the file has {layout.nchunks}")
        self._file.check()
        data = self._file.read_at(nchunk * layout.chunksize, chunk_nbytes(layout, nchunk))
        self._file.check()
        return compress(data, typesize=1, shuffle=False)

    def skeleton(self) -> Skeleton | None:
        """Return None: the file is not stored as chunks."""
        return None
