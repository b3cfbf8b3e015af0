"""Whole files between a subscriber and the local disk: streamed, resumed after interruptions, never half there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import httpx

from . import errors
from ._address import PathLike, quote_path, remote_path
from ._transport import Attachment, Call, Operation, Readable, parse_json
from .paths import COMPRESSED_SUFFIX

Progress = Callable[[int, int | None], None]
"""Called with the bytes moved so far and the bytes to move in all, where that is known."""

MAX_INTERRUPTIONS = 5
"""Interruptions of a download without a single new byte after which it is given up."""

_COMPRESSED_NAME = re.compile(r';\s*filename\*?\s*=\s*"[^"]*' + re.escape(COMPRESSED_SUFFIX) + '"')


def local_target(path: PurePosixPath, localpath: str | Path | None) -> Path:
    """Return where a download goes: under its own path, into a directory, or to the file that is named."""
    if localpath is None:
        return Path(*path.parts)
    target = Path(localpath)
    return target / path.name if target.is_dir() else target


def download(path: PathLike, localpath: str | Path | None, progress: Progress | None = None) -> Operation[Path]:
    """Store a dataset or file on the local disk.

    The bytes go to ``NAME.part`` beside the target, which is put in place when it is whole. An interrupted download
    goes on where it stopped, in this call or in a later one, if the server's version is still the same.

    Returns
    -------
    Path
        The local file: a Blosc2 frame for datasets, the content itself for other files.

    Raises
    ------
    OSError
        If the local disk cannot be written.
    """
    remote = remote_path(path)
    target = local_target(remote, localpath)
    target.parent.mkdir(parents=True, exist_ok=True)
    with PartFile(target.with_name(target.name + ".part"), str(remote), progress) as part:
        interruptions = 0
        while True:
            reached = part.size
            call = Call(
                "GET", f"/api/fetch/{quote_path(remote)}", headers=part.request_headers(), patient=True, sink=part
            )
            try:
                response = yield call
                break
            except errors.RangeInvalid:
                part.discard()
            except (httpx.TransportError, TimeoutError):
                interruptions = 1 if part.size > reached else interruptions + 1
                if not part.resumable or interruptions > MAX_INTERRUPTIONS:
                    raise
        part.finish(target, packed=_COMPRESSED_NAME.search(response.headers.get("content-disposition", "")) is not None)
    return target


class PartFile:
    """A download on its way: the bytes that arrived, and the version of which they are a part.

    A context manager that keeps, or if they are of no further use removes, what was left on the disk.
    """

    def __init__(self, path: Path, remote: str, progress: Progress | None = None) -> None:
        self.path = path
        self.began = False
        self._note = path.with_name(path.name + ".json")
        self._remote = remote
        self._progress = progress
        self._etag = self._noted_etag()
        self._total: int | None = None
        self._file: BinaryIO = path.open("ab" if self._etag else "wb")

    def __enter__(self) -> PartFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
        if not self.resumable:
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        """Bytes that arrived."""
        return self._file.tell()

    @property
    def resumable(self) -> bool:
        """Whether the rest can be asked for later."""
        return self._etag is not None

    def _noted_etag(self) -> str | None:
        try:
            note = json.loads(self._note.read_text())
            return str(note["etag"]) if note["remote"] == self._remote and self.path.exists() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def request_headers(self) -> dict[str, str]:
        """Return the headers that ask for what is missing."""
        headers = {"accept-encoding": "identity"}
        if self._etag and self.size:
            headers |= {"range": f"bytes={self.size}-", "if-range": self._etag}
        return headers

    def begin(self, response: httpx.Response) -> None:
        """Start again, unless the answer is the rest of what is there."""
        self.began = True
        length = response.headers.get("content-length")
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            self.discard()
        self._total = None if length is None else self.size + int(length)
        etag = response.headers.get("etag")
        if etag and not etag.startswith("W/") and response.headers.get("accept-ranges", "bytes") == "bytes":
            self._etag = etag
            self._note.write_text(json.dumps({"remote": self._remote, "etag": etag}))

    def write(self, piece: bytes) -> None:
        """Append a piece."""
        self._file.write(piece)
        if self._progress is not None:
            self._progress(self.size, self._total)

    def discard(self) -> None:
        """Forget what arrived."""
        self._etag = None
        self._file.seek(0)
        self._file.truncate()

    def finish(self, target: Path, *, packed: bool) -> None:
        """Put the whole file in place, out of its frame if it came `packed` in one."""
        self._file.close()
        if packed:
            unpacked = target.with_name(target.name + ".unpacked")
            try:
                unpack(self.path, unpacked)
                unpacked.replace(target)
            finally:
                unpacked.unlink(missing_ok=True)
        else:
            self.path.replace(target)
        self._etag = None


def unpack(frame: Path, target: Path) -> None:
    """Write the content of a super-chunk, chunk by chunk, to `target`.

    Raises
    ------
    ValueError
        If `frame` is not a Blosc2 frame.
    """
    import blosc2

    try:
        container = blosc2.open(str(frame), mode="r")
    except RuntimeError as error:
        raise ValueError(f"{frame} is not a Blosc2 frame") from error
    schunk = getattr(container, "schunk", container)
    with target.open("wb") as file:
        for nchunk in range(schunk.nchunks):
            file.write(schunk.decompress_chunk(nchunk))


def upload(localpath: str | Path, path: str, progress: Progress | None = None) -> Operation[PurePosixPath]:
    """Send a local file. Returns its path at the subscriber.

    `path` is a directory, where it ends in a slash and exists, or the path of the new file.
    """
    local = Path(localpath)
    with local.open("rb") as file:
        content = file if progress is None else _Watched(file, local.stat().st_size, progress)
        return (yield from upload_content(local.name, content, path))


class _Watched:
    """A file that tells how much of it was read."""

    def __init__(self, file: BinaryIO, total: int, progress: Progress) -> None:
        self._file = file
        self._total = total
        self._progress = progress
        self.seek, self.tell, self.fileno = file.seek, file.tell, file.fileno

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._progress(self._file.tell(), self._total)
        return piece


def upload_content(filename: str, content: Readable | bytes, path: str) -> Operation[PurePosixPath]:
    """Send a file, or bytes, as a file called `filename`. Returns its path at the subscriber."""
    url = f"/api/upload/{quote_path(remote_path(path))}" + ("/" if path.endswith("/") else "")
    # Sending the same file to the same place once more does no harm, so that interruptions are no matter.
    call = Call("POST", url, attachment=Attachment(filename, content), patient=True, repeatable=True)
    return parse_json((yield call), PurePosixPath)
