"""New datasets made of others: expressions, joined and grown arrays, unfolded files, files from elsewhere."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO

from caterva2.errors import BadRequest, InvalidExpression, NotFound, QuotaExceeded, RootNotFound
from caterva2.paths import ARRAY_SUFFIX, PERSONAL, is_array, is_hdf5
from caterva2_formats.archives import ArchiveLimits, archive_stem, is_archive, read_archive
from caterva2_formats.directory import FrameSource, open_file
from caterva2_formats.opening import OpenFile
from caterva2_service.threads import Threads

from ..auth.principal import Principal
from ..compute.blocks import write_array
from ..compute.expressions import Expressions, Missing
from ..compute.joining import concatenated, grown, stacked, unchanged_chunks
from ..library import Library, Resource
from .multipart import UploadedFile
from .provider import Foreign
from .records import ExpressionRecord, MemberRecord
from .resource import SpaceResource
from .store import Spaces

READ_BYTES = 2**20


class Builder:
    """Makes new datasets in spaces."""

    def __init__(
        self, spaces: Spaces, library: Library, expressions: Expressions, threads: Threads, foreign: Foreign
    ) -> None:
        self._foreign = foreign
        self._spaces = spaces
        self._library = library
        self._expressions = expressions
        self._threads = threads

    # --- expressions ---------------------------------------------------------------------
    async def expression(
        self, principal: Principal, path: str, expression: str, operands: Mapping[str, str], *, compute: bool
    ) -> str:
        """Store an expression, or its value, at a path; return the path.

        Raises
        ------
        InvalidExpression
            If it is not allowed, or does not fit its operands.
        """
        if not is_array(path):
            raise InvalidExpression("Invalid name or expression: the name must end with .b2nd")
        await self._spaces.target(principal, path)
        try:
            bound = await self._expressions.bind(principal, expression, operands)
        except InvalidExpression as error:
            known = "not in the list of available datasets" in error.detail
            what = "Expression error" if known else "Invalid name or expression"
            raise InvalidExpression(f"{what}: {error}") from None
        if isinstance(bound, Missing):
            name, missing = next(iter(bound.operands.items()))
            raise InvalidExpression(f"Expression error: {name} ({missing}) is not in the list of available datasets")
        if compute:
            async with self._spaces.writing(principal, path) as staged:
                await self._expressions.store(bound, staged)
            return path
        used = {name: operands[name] for name in operands if name in bound.operands}
        record = ExpressionRecord(expression, used, bound.layout.shape, bound.layout.dtype)
        return await self._spaces.write_record(principal, path, record)

    # --- joining ---------------------------------------------------------------------
    async def join(self, principal: Principal, srcs: Sequence[str], dst: str, axis: int, *, stack: bool) -> str:
        """Store arrays joined along an existing or a new axis; return the path. Raises BadRequest, NotFound."""
        path = dst if dst.startswith("@") else f"{PERSONAL}/{dst}"
        if not PurePosixPath(path).suffix:
            path += ARRAY_SUFFIX
        if not is_array(path):
            raise BadRequest("Stack/concat destination must be a .b2nd file")
        await self._spaces.target(principal, path)
        opened = []
        for src in srcs:
            try:
                opened.append(await self._library.open(principal, src))
            except RootNotFound:
                raise BadRequest("Only stacking/concatenating from existing roots is allowed") from None
        joined = (stacked if stack else concatenated)(opened, axis)
        async with self._spaces.writing(principal, path) as staged:
            await write_array(staged, joined.layout, joined.region, self._threads)
        return path

    async def append(self, principal: Principal, path: str, file: UploadedFile) -> list[int]:
        """Grow an array along its first axis by an uploaded frame; return its new shape.

        Raises
        ------
        BadRequest
            If it is not an array that can grow, or the data do not fit.
        UnsafeContent
        """
        root, rel = await self._spaces.target(principal, path)
        if not rel or not await self._spaces.is_file(principal, root, rel):
            raise BadRequest("Target file does not exist or is not a file")
        if not is_array(rel):
            raise BadRequest("Target file must be a NDArray")
        async with self._spaces.receiving(principal, root, file) as uploaded:
            await self._foreign.threads.run(self._foreign.sandbox.inspect, uploaded, "appended.b2nd")
            added = await self._threads.run(self._open_frame, uploaded)
            # One after the other: two that append at the same time would both start from the same array.
            async with self._spaces.exclusive(principal, root, rel):
                target = await self._library.open(principal, path)
                if not isinstance(target, SpaceResource) or not isinstance(target.source, FrameSource):
                    raise BadRequest("Target file must be a NDArray that is stored, not described")
                return await self._grow(principal, path, target, target.source, added)

    async def _grow(
        self, principal: Principal, path: str, target: SpaceResource, source: FrameSource, added: Resource
    ) -> list[int]:
        joined = grown(target, added)
        keep = unchanged_chunks(source.layout, joined.layout)

        def stored(nchunk: int) -> Awaitable[bytes] | None:
            return target.chunk(nchunk) if nchunk < keep else None

        failed = "Append failed because "
        async with self._spaces.writing(principal, path, failed=failed, locked=True) as staged:
            frame = source.frame
            await write_array(
                staged,
                joined.layout,
                joined.region,
                self._threads,
                stored=stored,
                coding=frame.coding,
                vlmeta=frame.vlmeta_raw,
            )
        return list(joined.layout.shape)

    def _open_frame(self, path: Path) -> Resource:
        source = open_file(OpenFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC)), "appended.b2nd")
        return SpaceResource("the data to append", source, 0.0, self._threads)

    # --- unfolding ---------------------------------------------------------------------
    async def unfold(self, principal: Principal, path: str) -> str:
        """Make a directory beside an HDF5 file or archive, with what is in it; return the directory's name.

        Raises
        ------
        BadRequest, UnsafeContent, TooLarge, QuotaExceeded
        """
        root, rel = await self._spaces.target(principal, path)
        if not rel or not await self._spaces.is_file(principal, root, rel):
            raise BadRequest("Target file does not exist or is not a file")
        if not is_hdf5(rel) and not is_archive(rel):
            raise BadRequest("Target file must be a zip, tar or hdf5 container")
        fresh = not await self._spaces.is_directory(principal, root, _beside(rel))
        try:
            await (self._unfold_hdf5 if is_hdf5(rel) else self._unfold_archive)(principal, root, rel)
        except BaseException as error:
            if fresh:
                with suppress(NotFound):
                    await self._spaces.remove(principal, f"{root}/{_beside(rel)}")
            if isinstance(error, QuotaExceeded):
                raise QuotaExceeded("Unfold failed because quota limit has been exceeded.") from None
            raise
        return _stem(rel)

    async def _unfold_hdf5(self, principal: Principal, root: str, rel: str) -> None:
        file = self._spaces.stored_path(principal, root, rel)
        found = await self._foreign.threads.run(self._foreign.hdf5.unfold, str(file))
        if not any(each.member is not None for each in found):
            raise BadRequest("No arrays found in HDF5 file")
        folder = f"{root}/{_beside(rel)}"
        for each in found:
            if each.member is None:
                await self._spaces.write_plain(principal, f"{folder}/{each.path}", each.content)
            else:
                record = MemberRecord(f"{root}/{rel}", each.member)
                await self._spaces.write_record(principal, f"{folder}/{each.path}", record)

    async def _unfold_archive(self, principal: Principal, root: str, rel: str) -> None:
        room = await self._spaces.room(principal, root)
        limits = ArchiveLimits() if room is None else ArchiveLimits(nbytes=room)
        async with self._spaces.unpacked(principal, root, rel) as archive:
            members = read_archive(archive, limits)
            while (member := await self._threads.run(next, members, None)) is not None:
                name, stream = member
                await self._spaces.upload(principal, f"{root}/{_beside(rel)}/{name}", "", self._pieces(stream))

    async def _pieces(self, stream: IO[bytes]) -> AsyncIterator[bytes]:
        while piece := await self._threads.run(stream.read, READ_BYTES):
            yield piece


def _beside(rel: str) -> str:
    return rel.removesuffix(rel.rpartition("/")[2]) + _stem(rel)


def _stem(rel: str) -> str:
    return archive_stem(rel) if is_archive(rel) else PurePosixPath(rel).stem
