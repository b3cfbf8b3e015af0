"""`AsyncRoot`, `AsyncFile` and `AsyncDataset`: what `_file` and `_dataset` offer, to be awaited."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from . import paths
from ._address import PathLike, remote_path
from ._base import uploaded
from ._facts import ArrayFacts, Facts
from ._file import inside
from ._freshness import Freshness
from ._transfer import Progress

if TYPE_CHECKING:
    from ._async_client import AsyncClient
    from ._chunked import ChunkGrid


class AsyncRoot:
    """A root: a tree of datasets and files."""

    def __init__(self, client: AsyncClient, name: str) -> None:
        self.client = client
        self.name = str(name)

    async def file_list(self) -> list[str]:
        """Return the paths of all datasets and files, relative to the root, as of now."""
        return await self.client.get_list(self.name)

    async def get(self, path: PathLike) -> AsyncFile | AsyncDataset:
        """Return what is at a path inside the root. Raises NotFound."""
        found = refer(self.client, PurePosixPath(self.name) / remote_path(path))
        await found.load()
        return found

    async def upload(
        self,
        localpath: Any = None,
        dataset: PathLike | None = None,
        compute: bool | None = None,
        *,
        local_dset: Any = None,
        remotepath: PathLike | None = None,
        progress: Progress | bool | None = None,
    ) -> AsyncFile | AsyncDataset:
        """Send something into this root; see `Root.upload`."""
        content, target = uploaded(localpath, dataset, local_dset, remotepath)
        where = f"{self.name}/{inside(content, target)}"
        return await self.client.upload(content, where, compute, progress=progress)

    async def load_from_url(self, url: str, remotepath: PathLike | None = None) -> AsyncFile | AsyncDataset:
        """Make the subscriber download a file into this root; see `Root.load_from_url`."""
        return await self.client.load_from_url(url, self.name if remotepath is None else f"{self.name}/{remotepath}")

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Root: {self.name}>"


class AsyncFile(Facts):
    """A file at a subscriber; ``await file[10:20]`` reads a part of it."""

    def __init__(self, client: AsyncClient, path: PathLike) -> None:
        self.client = client
        self.path = remote_path(path)
        self.root = AsyncRoot(client, self.path.parts[0])
        self.name = str(PurePosixPath(*self.path.parts[1:]))
        self.meta = {}
        self.freshness = Freshness()
        self._version_of_meta: str | None = None

    async def load(self) -> dict[str, Any]:
        """Ask for the info anew. Returns it. Raises NotFound."""
        self.meta, self.freshness = await self.client.read_info(self.path)
        self._version_of_meta = self.freshness.version
        return self.meta

    def get_download_url(self) -> str:
        """Return the URL of the whole file, as a Blosc2 frame."""
        return self.client.get_download_url(self.path)

    async def __getitem__(self, item: Any) -> Any:
        return await self.slice(item, as_blosc2=False)

    async def slice(self, key: Any, as_blosc2: bool = True) -> Any:
        """Return a part of the content; see `File.slice`."""
        return await self._read(key, as_blosc2=as_blosc2)

    async def _read(self, key: Any = None, *, as_blosc2: bool, field: str | None = None) -> Any:
        shape = tuple(self.meta["shape"]) if "shape" in self.meta else None
        found = await self.client.read(self.path, key, as_blosc2=as_blosc2, field=field, shape=shape, grid=self._grid())
        self.freshness = found.freshness
        return found.value

    def _grid(self) -> ChunkGrid | None:
        return None

    async def fetch(self, slice_: Any = None) -> Any:
        """Return the content, or a part of it, as an array or bytes."""
        return await self.slice(slice_, as_blosc2=False)

    async def download(self, localpath: str | Path | None = None, *, progress: Progress | bool | None = None) -> Path:
        """Store this on the local disk; see `Client.download`."""
        return await self.client.download(self.path, localpath, progress=progress)

    async def unfold(self) -> PurePosixPath:
        """Make the datasets of a container file reachable beside it; see `Client.unfold`."""
        return await self.client.unfold(self.path)

    async def move(self, dst: PathLike) -> AsyncFile | AsyncDataset:
        """Move this to `dst`. Returns what is there now."""
        return await self.client.move(self.path, dst)

    async def copy(self, dst: PathLike) -> AsyncFile | AsyncDataset:
        """Copy this to `dst`. Returns the copy."""
        return await self.client.copy(self.path, dst)

    async def remove(self) -> PurePosixPath:
        """Remove this. Returns its path."""
        return await self.client.remove(self.path)

    async def concatenate(self, srcs: Sequence[PathLike], dst: PathLike, axis: int) -> AsyncFile | AsyncDataset:
        """Join this and other arrays along an axis; see `Client.concatenate`."""
        return await self.client.concatenate([self.path, *srcs], dst, axis)

    async def stack(self, srcs: Sequence[PathLike], dst: PathLike, axis: int) -> AsyncFile | AsyncDataset:
        """Stack this and other arrays along a new axis; see `Client.stack`."""
        return await self.client.stack([self.path, *srcs], dst, axis)


class AsyncDataset(ArrayFacts, AsyncFile):
    """A remote n-dimensional array, or frame of bytes; ``await ds[0:10, ::2]`` reads a part of it."""

    async def __getitem__(self, item: Any) -> Any:
        if isinstance(item, str):
            is_field = self._has_field(item)
            return await (self._read(field=item, as_blosc2=True) if is_field else self._read(item, as_blosc2=True))
        return await self.slice((None,) if item is None else item, as_blosc2=False)

    def _grid(self) -> ChunkGrid | None:
        from ._chunked import ChunkGrid

        return ChunkGrid.of(self.meta, self._version_of_meta)

    async def plan(self, key: Any = None) -> dict[str, Any]:
        """Return what reading a slice would cost; see `Client.plan`."""
        return await self.client.plan(self.path, key)

    async def append(self, data: Any) -> tuple[int, ...]:
        """Append an array along the first axis; see `Dataset.append`."""
        return await self.client.append(self.path, data)


def refer(client: AsyncClient, path: PathLike) -> AsyncFile | AsyncDataset:
    """Return what is at a path without asking for it."""
    return (AsyncDataset if paths.is_dataset(str(path)) else AsyncFile)(client, path)
