"""The special roots as the library sees them: paths of a space to resources."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from caterva2.errors import DatasetNotFound, UnsafeContent, VersionChanged
from caterva2.paths import ARRAY_SUFFIX, COMPRESSED_SUFFIX, PERSONAL, is_array, is_hdf5
from caterva2_formats.base import DatasetSource, Found
from caterva2_formats.confined import ConfinedHDF5
from caterva2_formats.directory import DirectoryRoot, kind_of, listed_name
from caterva2_formats.opening import OpenFile, open_beneath
from caterva2_formats.sandbox import Sandbox
from caterva2_service.threads import Threads

from ..auth.principal import Principal, require_user
from ..library import Library, Resource
from . import records
from .groups import Group, group_of
from .resource import MemberSource, SpaceResource, UnreadableResource

ATTEMPTS = 3
"""How often a file that changes while it is opened is tried again."""


class Evaluator(Protocol):
    """What makes a resource of an expression."""

    async def resource(
        self, principal: Principal, path: str, record: records.ExpressionRecord, *, etag: str, mtime: float
    ) -> Resource:
        """Return the expression at `path` as a resource."""
        ...


@dataclass(frozen=True, slots=True)
class Foreign:
    """What looks at foreign bytes, in confined processes, and the threads that wait for them."""

    sandbox: Sandbox
    hdf5: ConfinedHDF5
    threads: Threads


class SpaceProvider:
    """Provider of ``@public``, ``@shared`` and ``@personal``; see `library.Provider`.

    Files that somebody put into the directories by hand are served like those that were uploaded.

    Parameters
    ----------
    directory
        Holds ``public``, ``shared`` and ``personal/USER-ID``.
    """

    def __init__(
        self, directory: Path, threads: Threads, library: Library, evaluator: Evaluator, foreign: Foreign
    ) -> None:
        self._directory = directory.resolve()
        self._threads = threads
        self._foreign = foreign
        self._library = library
        self._evaluator = evaluator

    def directory(self, principal: Principal, root: str) -> Path:
        """Return where the files of a special root are, for `principal`. Raises NotAuthenticated."""
        if root == PERSONAL:
            return self._directory / "personal" / str(require_user(principal).user_id)
        return self._directory / root.removeprefix("@")

    async def list(self, principal: Principal, root: str, rel: str) -> list[str]:
        """Return the sorted listed paths below ``root/rel``."""
        directory = self.directory(principal, root)
        found = await self._threads.run(_list, DirectoryRoot(directory), rel)
        if not found and rel:
            group = await self._group(directory, rel)
            return [] if group is None else group.names
        return found

    async def info(self, principal: Principal, root: str, rel: str) -> Mapping[str, Any]:
        """Return what ``/api/info`` answers. Raises DatasetNotFound."""
        try:
            return (await self.open(principal, root, rel)).info
        except DatasetNotFound:
            group = await self._group(self.directory(principal, root), rel)
            if group is None:
                raise
            return group.info

    async def _group(self, directory: Path, rel: str) -> Group | None:
        if not any(is_hdf5(parent.as_posix()) for parent in PurePosixPath(rel).parents):
            return None
        return await self._foreign.threads.run(self._look_for_group, directory, rel)

    async def open(self, principal: Principal, root: str, rel: str) -> Resource:
        """Open the present version of ``root/rel``. Raises DatasetNotFound."""
        directory = self.directory(principal, root)
        opened = await self._threads.run(self._open, directory, root, rel)
        if not isinstance(opened, _Described):
            return opened
        if isinstance(opened.record, records.ExpressionRecord):
            return await self._evaluator.resource(
                principal, opened.path, opened.record, etag=opened.found.etag, mtime=_mtime(opened.found)
            )
        return await self._member(principal, opened, opened.record)

    async def _member(self, principal: Principal, described: _Described, record: records.MemberRecord) -> Resource:
        # The file is looked up with the rights of the reader, wherever the description of its dataset was put.
        file = await self._library.open(principal, record.file)
        root, _, rel = record.file.partition("/")
        directory = self.directory(principal, root)
        # Opened as a resource, which closes itself, also where the reader goes away meanwhile.
        return await self._foreign.threads.run(
            self.open_in_file, directory, described.path, rel, record.member, file.mtime or 0.0
        )

    # --- in a thread ---------------------------------------------------------------------
    def look_into(self, directory: Path, root: str, rel: str) -> SpaceResource | UnreadableResource | records.Record:
        """Open what is stored at ``root/rel``, or return what the file there describes. Blocks.

        Raises
        ------
        DatasetNotFound, VersionChanged
        """
        opened = self._open(directory, root, rel)
        return opened.record if isinstance(opened, _Described) else opened

    def open_in_file(self, directory: Path, path: str, file: str, member: str, mtime: float) -> SpaceResource:
        """Open a dataset of an HDF5 file of a space under the API path `path`. Blocks. Raises Caterva2Error."""
        return SpaceResource(path, self._open_member(directory, file, member), mtime, self._foreign.threads)

    def _open(self, directory: Path, root: str, rel: str) -> SpaceResource | UnreadableResource | _Described:
        files = DirectoryRoot(directory)
        if not directory.is_dir():
            raise DatasetNotFound
        for _ in range(ATTEMPTS):
            found = _find(files, rel)
            if found is None:
                return self._open_inside(directory, root, rel)
            path = f"{root}/{found.path}"
            try:
                source = files.open(found.path)
            except UnsafeContent as error:
                record = _record(directory, found.path)
                if record is not None:
                    return _Described(path, found, record)
                return UnreadableResource(path, kind_of(found.path), found.etag, _mtime(found), error.detail)
            except VersionChanged:
                continue
            if source.etag == found.etag:
                return SpaceResource(path, source, _mtime(found), self._threads)
            source.close()
        raise VersionChanged("the file changes all the time")

    def _open_inside(self, directory: Path, root: str, rel: str) -> SpaceResource:
        """Open ``x.h5/group/dataset``, without an unfold."""
        segments = rel.split("/")
        for n in range(1, len(segments)):
            file, member = "/".join(segments[:n]), "/".join(segments[n:])
            if not is_hdf5(file):
                continue
            found = DirectoryRoot(directory).find(file)
            if found is None:
                continue
            try:
                source = self._open_member(directory, file, member)
            except DatasetNotFound:
                if not is_array(member):
                    raise
                source = self._open_member(directory, file, member.removesuffix(ARRAY_SUFFIX))
            return SpaceResource(f"{root}/{rel}", source, _mtime(found), self._foreign.threads)
        raise DatasetNotFound

    def _look_for_group(self, directory: Path, rel: str) -> Group | None:
        """Return the group ``x.h5/group``; None if there is no such thing. Blocks."""
        for parent in PurePosixPath(rel).parents:
            file = parent.as_posix()
            found = DirectoryRoot(directory).find(file) if is_hdf5(file) else None
            if found is None:
                continue
            opener = partial(_open_file, directory, file)
            entries = self._foreign.hdf5.unfold(str(directory / file), opener=opener)
            return group_of(entries, f"{rel.removeprefix(file).removeprefix('/')}/", found)
        return None

    def _open_member(self, directory: Path, file: str, member: str) -> DatasetSource:
        def opener() -> OpenFile:
            return _open_file(directory, file)

        return MemberSource(self._foreign.hdf5.open_member(str(directory / file), member, opener=opener), member)


class _Described:
    """A dataset that is described by a record."""

    def __init__(self, path: str, found: Found, record: records.Record) -> None:
        self.path = path
        self.found = found
        self.record = record


def _find(files: DirectoryRoot, rel: str) -> Found | None:
    # Clients of the original may name a plain file as it is stored: README.md.b2 is README.md.
    found = files.find(rel)
    if found is None and rel.endswith(COMPRESSED_SUFFIX) and listed_name(rel) != rel:
        found = files.find(listed_name(rel))
    return found


def _list(files: DirectoryRoot, rel: str) -> list[str]:
    if not files.available():
        return []
    if rel and (found := _find(files, rel)) is not None:
        return [found.path.rpartition("/")[2]]
    prefix = f"{rel}/" if rel else ""
    return sorted(found.path.removeprefix(prefix) for found in files.below(rel or "."))


def _record(directory: Path, rel: str) -> records.Record | None:
    try:
        opened = _open_file(directory, rel)
    except DatasetNotFound:
        return None
    try:
        return records.read(opened.fd)
    except UnsafeContent:
        return None
    finally:
        opened.close()


def _open_file(directory: Path, rel: str) -> OpenFile:
    try:
        root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise DatasetNotFound from None
    try:
        return OpenFile(open_beneath(root, rel), str(directory / rel))
    finally:
        os.close(root)


def _mtime(found: Found) -> float:
    return found.stamp.mtime_ns / 1e9
