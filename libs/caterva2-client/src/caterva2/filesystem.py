"""A subscriber as a filesystem of fsspec: ``cat2://HOST:PORT/ROOT/sub/name``.

>>> import fsspec
>>> with fsspec.open("cat2://localhost:8002/foo/README.md") as file:
...     file.readline()

Plain files are their content; datasets are the Blosc2 frames that `Client.download` stores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

from . import _operations as operations
from . import _transfer, errors, paths
from ._address import DEFAULT_URLBASE, quote_path
from ._auth import Auth
from ._client import Client
from ._locator import SCHEMES, split_locator

BLOCK_SIZE = 1024 * 1024


class Caterva2FileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Files and datasets of a subscriber; the first level of a path is a root.

    Parameters
    ----------
    urlbase
        Base of the subscriber's URLs.
    auth
        As for `Client`.
    timeout
        As for `Client`.
    """

    protocol = tuple(SCHEMES)
    root_marker = ""

    def __init__(self, urlbase: str = DEFAULT_URLBASE, auth: Auth = None, timeout: float | None = 5, **options: Any):
        super().__init__(**options)
        self.client = Client(urlbase, auth, timeout)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        text = str(path)
        return split_locator(text)[1] if "://" in text else text.strip("/")

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, str]:
        return {"urlbase": split_locator(path)[0]} if "://" in path else {}

    def unstrip_protocol(self, name: str) -> str:
        """Return the full URL of a path."""
        scheme, _, host = self.client.urlbase.partition("://")
        return f"{'cat2s' if scheme == 'https' else 'cat2'}://{host}/{self._strip_protocol(name)}"

    # --- what is there ---------------------------------------------------------------------
    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Return what is in a directory or root; raises FileNotFoundError."""
        where = self._strip_protocol(path)
        names = self._children(where)
        if not detail:
            return [f"{where}/{name.rstrip('/')}".strip("/") for name in names]
        return [self._entry(f"{where}/{name}".strip("/")) for name in names]

    def _children(self, where: str) -> list[str]:
        """Return names in a directory; those of directories end in a slash."""
        if not where:
            return [f"{name}/" for name in self.client.get_roots()]
        listed = self._listed(where)
        if listed == [where.rpartition("/")[2]] and "/" in where and self._is_file(where):
            raise NotADirectoryError(where)
        if not listed and "/" in where:
            raise FileNotFoundError(where)
        return sorted({name if "/" not in name else name.partition("/")[0] + "/" for name in listed})

    def _listed(self, where: str) -> list[str]:
        try:
            return self.client.get_list(where)
        except errors.NotFound as error:
            raise FileNotFoundError(where) from error

    def _is_file(self, path: str) -> bool:
        try:
            return self.client.get_info(path).get("kind") != "group"
        except errors.NotFound:
            return False

    def _entry(self, path: str) -> dict[str, Any]:
        if path.endswith("/"):
            return {"name": path.rstrip("/"), "size": 0, "type": "directory"}
        return self.info(path)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return name, type and size in bytes of a path; raises FileNotFoundError."""
        where = self._strip_protocol(path)
        if "/" not in where:
            if where and where not in self.client.get_roots():
                raise FileNotFoundError(where)
            return {"name": where, "size": 0, "type": "directory"}
        try:
            info = self.client.get_info(where)
        except errors.NotFound as error:
            if not self._listed(where):
                raise FileNotFoundError(where) from error
            return {"name": where, "size": 0, "type": "directory"}
        if info.get("kind") == "group":
            return {"name": where, "size": 0, "type": "directory"}
        return {"name": where, "size": self._size(where, info), "type": "file", "mtime": info.get("mtime")}

    def _size(self, path: str, info: dict[str, Any]) -> int:
        if not paths.is_dataset(path):
            return int(info.get("nbytes", info.get("size", 0)))
        # What the frame of a dataset takes is known by whoever sends it.
        return self._range(path, 0, 1)[1]

    # --- reading ---------------------------------------------------------------------
    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return the bytes of a file from `start` up to `end`, which may be negative."""
        where = self._strip_protocol(path)
        if not paths.is_dataset(where) and not paths.is_hdf5(where):
            return bytes(self.client.fetch(where, (slice(start, end),)))
        if start is None and end is None:
            return self.client._run(operations.fetch_stored(where)).content
        first, last, _step = slice(start, end).indices(self.info(where)["size"])
        return self._range(where, first, last)[0] if last > first else b""

    def _range(self, path: str, first: int, last: int) -> tuple[bytes, int]:
        """Return bytes of a stored file, and its size."""
        response = self.client._run(operations.fetch_stored(path, f"bytes={first}-{last - 1}"))
        if response.status_code != 206:
            # Answers that are computed are sent whole.
            return response.content[first:last], len(response.content)
        return response.content, int(response.headers["content-range"].rpartition("/")[2])

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> Caterva2File:
        if mode != "rb":
            raise NotImplementedError("files are written as a whole: use put() or pipe()")
        options.pop("autocommit", None)
        return Caterva2File(self, path, mode, block_size or BLOCK_SIZE, **options)

    def get_file(self, rpath: str, lpath: str, **_: Any) -> None:
        """Store a file on the local disk."""
        if self.isdir(rpath):
            Path(lpath).mkdir(parents=True, exist_ok=True)
            return
        self.client.download(self._strip_protocol(rpath), lpath, progress=False)

    # --- changes ---------------------------------------------------------------------
    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        """Send a local file."""
        if not Path(lpath).is_dir():
            self.client.upload(lpath, self._strip_protocol(rpath), progress=False)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Send bytes as a file."""
        if mode == "create" and self.exists(path):
            raise FileExistsError(path)
        where = self._strip_protocol(path)
        self.client._run(_transfer.upload_content(where.rpartition("/")[2], value, where))

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Do nothing: directories come into being with what is in them."""

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Do nothing: directories come into being with what is in them."""

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        self.client.remove(self._strip_protocol(path))

    def rmdir(self, path: str) -> None:
        """Remove a directory and all that is in it."""
        self.client.remove(self._strip_protocol(path))

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copy a file at the subscriber."""
        self.client.copy(self._strip_protocol(path1), self._strip_protocol(path2))

    def created(self, path: str) -> Any:
        """Refuse: subscribers do not know when a file was made."""
        raise NotImplementedError

    def ukey(self, path: str) -> str:
        """Return text that changes when a file does."""
        freshness = self.client.read_info(self._strip_protocol(path))[1]
        return f"{self.client.urlbase}/{quote_path(path)}@{freshness.version}"


class Caterva2File(AbstractBufferedFile):  # type: ignore[misc]
    """A file that is read in blocks."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        found: bytes = self.fs.cat_file(self.path, start, end)
        return found
