"""Changing what is in a space: uploads, removals, moves, copies. Every change is atomic and counted."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

import msgpack

from caterva2.errors import BadRequest, NotFound, QuotaExceeded, RootNotFound
from caterva2.paths import COMPRESSED_SUFFIX, PERSONAL, PUBLIC, SHARED, check_path, check_segment, split
from caterva2.wire import Kind
from caterva2_formats.base import Skeleton
from caterva2_formats.chunks import decompress
from caterva2_formats.directory import kind_of, listed_name
from caterva2_formats.info import coding_of
from caterva2_service.log import get_logger
from caterva2_service.threads import Threads

from ..answers import closable
from ..auth.principal import Principal
from ..db import Quotas, Usage
from ..library import Library, Resource
from ..rights import Rights
from . import records
from .provider import Foreign, SpaceProvider
from .staging import FrameWriter, PlainFileWriter, RawFileWriter, Staging
from .tree import Place, Tree, stored_name

SITE = "site"
WRITE_BYTES = 4 * 2**20
"""Bytes that are collected before a thread writes them."""

_log = get_logger(__name__)
Writer = RawFileWriter | PlainFileWriter


class Spaces:
    """The special roots as a place to write to.

    Parameters
    ----------
    quota
        Bytes that all spaces together may take; None for no limit.
    changed
        Told the place of every file or directory that was changed.
    """

    def __init__(
        self,
        directory: Path,
        *,
        provider: SpaceProvider,
        library: Library,
        rights: Rights,
        quotas: Quotas,
        quota: int | None,
        threads: Threads,
        foreign: Foreign,
        changed: Callable[[Path], None],
    ) -> None:
        self._directory = directory.resolve()
        self._provider = provider
        self._library = library
        self._rights = rights
        self._quotas = quotas
        self._quota = quota
        self._threads = threads
        self._foreign = foreign
        self._changed = changed
        self._staging = Staging(self._directory / "staging")
        self._trash = self._staging.directory / "trash"
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def close(self) -> None:
        """Remove what was begun and not finished."""
        self._staging.close()

    # --- what is used ---------------------------------------------------------------------
    async def count(self) -> None:
        """Measure what is on disk, which may have been changed by hand, and set the counts of the quotas by it."""
        await self._quotas.set_limit(SITE, self._quota)
        sizes = await self._threads.run(self._measure)
        for scope, nbytes in sizes.items():
            await self._quotas.set_used(scope, nbytes)

    def _measure(self) -> dict[str, int]:
        personal = self._directory / "personal"
        sizes = {entry.name: Tree(entry, self._trash).nbytes() for entry in personal.glob("*") if entry.is_dir()}
        common = sum(Tree(self._directory / name, self._trash).nbytes() for name in ("public", "shared"))
        return {**sizes, SITE: common + sum(sizes.values())}

    async def usage(self, principal: Principal) -> tuple[Usage, Usage]:
        """Return what the site and the user use and may use. Raises Unavailable."""
        return await self._quotas.usage(SITE), await self._quotas.usage(str(principal.user_id))

    async def usage_of_users(self) -> dict[str, Usage]:
        """Return what users use and may use, by their id; who is absent uses nothing and has no limit."""
        return await self._quotas.all()

    async def set_user_quota(self, user_id: UUID, limit_bytes: int | None) -> None:
        """Allow a user's ``@personal`` so many bytes (None: any number)."""
        await self._quotas.set_limit(str(user_id), limit_bytes)

    async def remove_personal(self, user_id: UUID) -> None:
        """Remove all personal files of a user who is gone."""
        tree = Tree(self._directory / "personal", self._trash)
        try:
            nbytes = await self._threads.run(tree.remove, str(user_id))
        except (NotFound, FileNotFoundError):
            return
        self._changed(tree.directory / str(user_id))
        await self._quotas.release([SITE], nbytes)
        await self._quotas.forget(str(user_id))

    # --- writing ---------------------------------------------------------------------
    async def target(self, principal: Principal, path: str, *, detail: str | None = None) -> tuple[str, str]:
        """Return root and path below it of something that `principal` may write. Raises as `Rights.require_write`."""
        root, rel = split(path)
        if detail is None:
            await self._rights.require_write(principal, root)
        else:
            await self._rights.require_write(principal, root, detail=detail)
        return root, rel

    async def upload(self, principal: Principal, path: str, filename: str, content: AsyncIterable[bytes]) -> str:
        """Store what arrives at a path, in place of what is there.

        Parameters
        ----------
        path
            API path. If it is a root, an existing directory, or ends with a slash, `filename` is appended.
        filename
            Name that the sender gave.
        content
            Bytes of the file. Plain files are packed as they arrive.

        Returns
        -------
        str
            API path of what was stored.

        Raises
        ------
        UnsafeContent
            If the bytes are not what the suffix says.
        QuotaExceeded, BadRequest, StorageFull
        """
        root, rel = await self.target(principal, path)
        tree = self.tree(principal, root)
        if path.endswith("/") or await self._threads.run(tree.is_directory, rel):
            name = check_segment(filename.replace("\\", "/").rpartition("/")[2])
            rel = check_path(f"{rel}/{name}" if rel else name)
        listed, packed = _listed(rel)
        with self._staging.new() as staged:
            raw = packed or kind_of(listed) is not Kind.FILE
            await self._receive(principal, root, staged, content, raw=raw)
            if raw:
                # In a process of its own, which is thrown away (U3).
                await self._foreign.threads.run(self._foreign.sandbox.inspect, staged, listed, packed=packed)
            await self._place(principal, root, tree, staged, stored_name(listed), "Upload failed because ")
        return f"{root}/{rel}"

    async def _receive(
        self, principal: Principal, root: str, staged: Path, content: AsyncIterable[bytes], *, raw: bool
    ) -> None:
        """Write what arrives into a staged file, and stop as soon as it is more than the quotas leave."""
        room = await self.room(principal, root)
        opened: Callable[[Path], Writer] = RawFileWriter if raw else PlainFileWriter
        with opened(staged) as writer:
            pending = bytearray()
            async for piece in content:
                pending += piece
                if len(pending) >= WRITE_BYTES:
                    await self._threads.run(writer.write, bytes(pending))
                    pending.clear()
                    if room is not None and writer.nbytes > room:
                        raise QuotaExceeded("Upload failed because quota limit has been exceeded.")
            await self._threads.run(writer.write, bytes(pending))
            await self._threads.run(writer.finish)

    async def room(self, principal: Principal, root: str) -> int | None:
        """Return how many bytes the quotas leave; None for any number. Raises Unavailable."""
        left = [
            usage.limit_bytes - usage.used_bytes
            for usage in [await self._quotas.usage(scope) for scope in scopes(principal, root)]
            if usage.limit_bytes is not None
        ]
        return min(left, default=None)

    async def _place(
        self,
        principal: Principal,
        root: str,
        tree: Tree,
        staged: Path,
        stored: str,
        failed: str = "",
        *,
        locked: bool = False,
    ) -> None:
        """Give a finished file its name, and count it. `locked` says that the caller holds the lock of the path."""
        charged = scopes(principal, root)
        nbytes = (await self._threads.run(staged.stat)).st_size
        await self._reserve(charged, nbytes, failed)
        try:
            async with contextlib.nullcontext() if locked else self._locked(tree, stored):
                freed = await self._threads.run(tree.put, staged, stored)
        except BaseException:
            await self._quotas.release(charged, nbytes)
            raise
        self._changed(tree.directory / stored)
        if freed:
            await self._quotas.release(charged, freed)

    async def _reserve(self, charged: list[str], nbytes: int, failed: str) -> None:
        try:
            await self._quotas.reserve(charged, nbytes)
        except QuotaExceeded:
            raise QuotaExceeded(f"{failed or 'The '}quota limit has been exceeded.") from None

    async def write_plain(self, principal: Principal, path: str, content: bytes, *, exist_ok: bool = True) -> str:
        """Store a small plain file. Raises BadRequest if it must not exist and does."""
        root, rel = await self.target(principal, path)
        tree = self.tree(principal, root)
        if not exist_ok and await self._threads.run(tree.find, rel) is not None:
            raise BadRequest("File exists at the given path")
        with self._staging.new() as staged:
            await self._threads.run(_write_plain, staged, content)
            await self._place(principal, root, tree, staged, stored_name(rel))
        return f"{root}/{rel}"

    async def write_record(self, principal: Principal, path: str, record: records.Record) -> str:
        """Store the description of a dataset."""
        root, rel = await self.target(principal, path)
        with self._staging.new() as staged:
            await self._threads.run(staged.write_bytes, records.encode(record))
            await self._place(principal, root, self.tree(principal, root), staged, rel)
        return f"{root}/{rel}"

    @contextlib.asynccontextmanager
    async def writing(
        self, principal: Principal, path: str, *, failed: str = "", locked: bool = False
    ) -> AsyncIterator[Path]:
        """Yield a file to be made; when the block ends well it is stored at `path`.

        Parameters
        ----------
        failed
            Beginning of the sentence that says that a quota is exceeded.
        locked
            Whether the caller is inside of `exclusive` for the path.
        """
        root, rel = await self.target(principal, path)
        tree = self.tree(principal, root)
        with self._staging.new() as staged:
            yield staged
            await self._place(principal, root, tree, staged, stored_name(rel), failed, locked=locked)

    @contextlib.asynccontextmanager
    async def receiving(self, principal: Principal, root: str, content: AsyncIterable[bytes]) -> AsyncIterator[Path]:
        """Yield a file that holds what arrives, for as long as the block lasts. Raises QuotaExceeded."""
        with self._staging.new() as staged:
            await self._receive(principal, root, staged, content, raw=True)
            yield staged

    @contextlib.asynccontextmanager
    async def unpacked(self, principal: Principal, root: str, rel: str) -> AsyncIterator[Path]:
        """Yield a file with the content of a plain file, which may be stored packed. Raises DatasetNotFound."""
        resource = await self._library.open(principal, f"{root}/{rel}")
        with self._staging.new() as staged:
            with RawFileWriter(staged) as writer:
                layout = resource.layout
                async for _, chunk in resource.chunks(range(layout.nchunks if layout is not None else 0)):
                    await self._threads.run(writer.write, await self._threads.run(decompress, chunk))
                await self._threads.run(writer.finish)
            yield staged

    @contextlib.asynccontextmanager
    async def exclusive(self, principal: Principal, root: str, rel: str) -> AsyncIterator[None]:
        """Let nobody else change a path meanwhile."""
        async with self._locked(self.tree(principal, root), rel):
            yield

    async def is_file(self, principal: Principal, root: str, rel: str) -> bool:
        """Tell whether there is a file or dataset at a path."""
        place = await self._threads.run(self.tree(principal, root).find, _listed(rel)[0])
        return place is not None and not place.is_directory

    async def is_directory(self, principal: Principal, root: str, rel: str) -> bool:
        """Tell whether there is a directory at a path."""
        return await self._threads.run(self.tree(principal, root).is_directory, rel)

    def stored_path(self, principal: Principal, root: str, rel: str) -> Path:
        """Return where on disk a file is that is stored as it is."""
        return self.tree(principal, root).directory / rel

    # --- removing, moving, copying ---------------------------------------------------------------------
    async def remove(self, principal: Principal, path: str) -> str:
        """Remove a file, or a directory with all that is in it. Raises NotFound."""
        root, rel = await self.target(principal, path)
        if not rel:
            raise BadRequest("A root cannot be removed")
        rel = _listed(rel)[0]
        tree = self.tree(principal, root)
        async with self._locked(tree, rel):
            nbytes = await self._threads.run(tree.remove, rel)
        self._changed(tree.directory / rel)
        await self._quotas.release(scopes(principal, root), nbytes)
        return path

    async def move(self, principal: Principal, src: str, dst: str) -> str:
        """Move a file or directory; return its new API path.

        If `dst` is a root, a directory or has no suffix, the name of `src` is appended to it.
        """
        only = "Only moving {} @personal or @shared or @public roots is allowed"
        root, rel = await self.target(principal, src, detail=only.format("from"))
        place, tree = await self._existing(principal, root, rel)
        to_root, to_rel, target = await self._destination(principal, rel, dst, only.format("to"))
        stored = _stored_as(rel, to_rel, place)
        charged, discharged = scopes(principal, to_root), scopes(principal, root)
        async with self._locked(tree, rel, target, to_rel):
            await self._quotas.reserve([s for s in charged if s not in discharged], place.nbytes)
            freed = await self._threads.run(tree.move, place, target, stored)
        self._changed(tree.directory / place.stored)
        self._changed(target.directory / stored)
        await self._quotas.release([s for s in discharged if s not in charged], place.nbytes)
        await self._quotas.release(charged, freed)
        return f"{to_root}/{to_rel}"

    async def copy(self, principal: Principal, src: str, dst: str) -> str:
        """Copy a file or directory of any root; return its new API path. `dst` is as in `move`."""
        root, rel = split(src)
        try:
            listed = await self._library.list(principal, src)
        except RootNotFound:
            raise BadRequest("Only copying from existing roots is allowed") from None
        if not listed:
            raise NotFound("The specified path does not exist")
        detail = "Only copying to @personal or @shared or @public roots is allowed"
        to_root, to_rel, _ = await self._destination(principal, rel or root, dst, detail)
        if listed == [rel.rpartition("/")[2]]:
            await self._copy_one(principal, f"{root}/{rel}", f"{to_root}/{to_rel}")
        else:
            if f"{to_root}/{to_rel}/".startswith(f"{root}/{rel}/" if rel else f"{root}/"):
                raise BadRequest("a directory cannot be copied into itself")
            for name in listed:
                await self._copy_one(principal, f"{src.rstrip('/')}/{name}", f"{to_root}/{to_rel}/{name}")
        return f"{to_root}/{to_rel}"

    async def _copy_one(self, principal: Principal, src: str, dst: str) -> None:
        root, rel = split(src)
        if root in (PUBLIC, SHARED, PERSONAL):
            place, tree = await self._existing(principal, root, _listed(rel)[0])
            to_root, to_rel = split(dst)
            stored = _stored_as(_listed(rel)[0], to_rel, place)
            with self._staging.new() as staged:
                await self._threads.run(tree.copy_out, place.stored, staged)
                await self._place(principal, to_root, self.tree(principal, to_root), staged, stored)
            return
        resource = await self._library.open(principal, src)
        if kind_of(dst) is not resource.kind:
            raise _other_kind(rel, split(dst)[1])
        async with self.writing(principal, dst) as staged:
            await self._import(resource, staged)

    async def _import(self, resource: Resource, staged: Path) -> None:
        """Write a dataset that is stored elsewhere as a file of a space."""
        layout = resource.layout
        if layout is None:
            raise BadRequest(f"{resource.path} cannot be read")
        skeleton = await resource.skeleton()
        if skeleton is not None:
            await self._import_file(resource, skeleton, staged)
        elif resource.kind in (Kind.HDF5, Kind.FILE):
            opened: Callable[[Path], Writer] = RawFileWriter if resource.kind is Kind.HDF5 else PlainFileWriter
            with opened(staged) as writer:
                async for _, chunk in resource.chunks(range(layout.nchunks)):
                    await self._threads.run(writer.write, await self._threads.run(decompress, chunk))
                await self._threads.run(writer.finish)
        else:
            with FrameWriter(staged, layout, **frame_attributes(resource.info)) as frame:
                async for _, chunk in resource.chunks(range(layout.nchunks)):
                    await self._threads.run(frame.add, chunk)
                await self._threads.run(frame.finish)

    async def _import_file(self, resource: Resource, skeleton: Skeleton, staged: Path) -> None:
        """Copy a stored frame byte for byte."""
        numbers = [part for part in skeleton.parts if isinstance(part, int)]
        with RawFileWriter(staged) as writer:
            async with aclosing(closable(resource.chunks(numbers))) as chunks:
                for part in skeleton.parts:
                    data = part if isinstance(part, bytes) else (await anext(chunks))[1]
                    await self._threads.run(writer.write, data)
            await self._threads.run(writer.finish)

    async def _existing(self, principal: Principal, root: str, rel: str) -> tuple[Place, Tree]:
        if not rel:
            raise BadRequest("A root cannot be moved")
        tree = self.tree(principal, root)
        place = await self._threads.run(tree.find, _listed(rel)[0])
        if place is None:
            raise NotFound("The specified path does not exist")
        return place, tree

    async def _destination(self, principal: Principal, rel: str, dst: str, detail: str) -> tuple[str, str, Tree]:
        to_root, to_rel = await self.target(principal, dst, detail=detail)
        target = self.tree(principal, to_root)
        to_rel = _listed(to_rel)[0] if to_rel else ""
        without_suffix = not PurePosixPath(to_rel).suffix
        if without_suffix or dst.endswith("/") or await self._threads.run(target.is_directory, to_rel):
            name = _listed(rel)[0].rpartition("/")[2]
            to_rel = check_path(f"{to_rel}/{name}" if to_rel else name)
        return to_root, to_rel, target

    # --- places and locks ---------------------------------------------------------------------
    def tree(self, principal: Principal, root: str) -> Tree:
        """Return the files of a special root, for `principal`."""
        return Tree(self._provider.directory(principal, root), self._trash)

    @contextlib.asynccontextmanager
    async def _locked(self, *places: Tree | str) -> AsyncIterator[None]:
        """Let nobody else change the same paths; given as pairs of a tree and a listed or stored path."""
        pairs = zip(places[::2], places[1::2], strict=True)
        keys = {f"{tree.directory}/{_listed(str(rel))[0]}" for tree, rel in pairs if isinstance(tree, Tree)}
        async with contextlib.AsyncExitStack() as stack:
            for key in sorted(keys):
                await stack.enter_async_context(self._locks.setdefault(key, asyncio.Lock()))
            yield


def scopes(principal: Principal, root: str) -> list[str]:
    """Return whose quotas a file in a root counts against."""
    return [SITE, str(principal.user_id)] if root == PERSONAL else [SITE]


def frame_attributes(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a copy of a dataset is to be described: compression parameters and user attributes."""
    vlmeta = info.get("schunk", info).get("vlmeta", {})
    packed = {name: msgpack.packb(value) for name, value in vlmeta.items()}
    return {"coding": coding_of(dict(info)), "vlmeta": packed}


def _write_plain(staged: Path, content: bytes) -> None:
    with PlainFileWriter(staged) as writer:
        writer.write(content)
        writer.finish()


def _listed(rel: str) -> tuple[str, bool]:
    """Return the listed form of a path that may be given as it is stored, and whether it was."""
    listed = listed_name(rel)
    return listed, listed != rel


def _stored_as(rel: str, to_rel: str, place: Place) -> str:
    """Return under which name something that exists is stored elsewhere. Raises BadRequest."""
    if place.is_directory:
        return to_rel
    if kind_of(rel) is not kind_of(to_rel):
        raise _other_kind(rel, to_rel)
    return to_rel + COMPRESSED_SUFFIX if place.stored != _listed(rel)[0] else to_rel


def _other_kind(rel: str, to_rel: str) -> BadRequest:
    name, new = rel.rpartition("/")[2], to_rel.rpartition("/")[2]
    return BadRequest(f"{name} cannot become {new}: the suffix says what a file holds")


def empty_notebook() -> bytes:
    """Return a notebook without cells."""
    return json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1).encode()
