"""HDF5 files: as published roots, and their datasets one by one. The only module that imports h5py.

A foreign HDF5 file can name other files (external links, external storage, virtual datasets), ask for filters that
are loaded from disk, or hold chunks that fill the memory: all of these are refused (U5). Each access takes a shared
lock for its duration only, so that writers are respected and never locked out for long (U6).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat as stats
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np

from caterva2 import paths
from caterva2.errors import ChunkNotFound, DatasetNotFound, InvalidName, Unavailable, UnsafeContent
from caterva2.wire import Kind

from . import info
from .assemble import BLOCK_BYTES, PIECE_BYTES, even_blocks, partition
from .attributes import pack_attributes
from .base import MAX_NDIM, Found, Layout, Skeleton, Stamp
from .chunks import Special, check_chunk, check_header, pack_chunk, padded_nbytes, special_chunk
from .dtypes import Dtype, check_dtype, storage_dtype, to_storage
from .frames import Coding, array_layout, read_frame, unpack_value
from .opening import OpenFile, etag_of, stamp_of

logger = logging.getLogger(__name__)

MAX_CHUNK_BYTES = 64 * 2**20
"""Largest chunk of an HDF5 dataset, uncompressed."""
MAX_MEMBERS = 1_000_000
SETTLED_S = 10.0
"""Age in seconds below which a file that cannot be opened counts as being written."""
RETRY_S = 2.0

BLOSC2 = 32026
_BITSHUFFLE = 32008
# deflate, shuffle, fletcher32, szip, nbit, scale-offset; bzip2, lzf, blosc, lz4, zfp, zstd, blosc2.
FILTERS = frozenset({1, 2, 3, 4, 5, 6, 307, 32000, 32001, 32004, 32013, 32015, BLOSC2})
# Its decoder crashed on mutated files: only for files that their owner publishes.
TRUSTED_FILTERS = FILTERS | {_BITSHUFFLE}

_RECOMPRESSED = Coding()


@cache
def library() -> Any:
    """Return h5py with the filters of hdf5plugin, and without any other."""
    # Before HDF5 starts: it must not load filters from wherever a variable points to.
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"
    import h5py
    import hdf5plugin  # noqa: F401  (registers its filters)

    return h5py


# --- open files ---------------------------------------------------------------------
class Handle:
    """One version of an HDF5 file, held open without a lock; shared by those who read it."""

    def __init__(self, opened: OpenFile) -> None:
        self.opened = opened
        self.users = 0
        self._file: Any = None

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """Give the h5py file for a short while, under a shared lock, if it still is at this version.

        Raises
        ------
        Unavailable
            If a writer has the file open.
        VersionChanged
            If the file was changed.
        UnsafeContent
            If the file is no HDF5 file.
        """
        with _shared_lock(self.opened.fd):
            self.opened.check()
            if self._file is None:
                self._file = _open_h5(self.opened)
            yield self._file
            self.opened.check()

    def close(self) -> None:
        """Close file and descriptor."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.opened.close()


@contextmanager
def _shared_lock(fd: int) -> Iterator[None]:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Unavailable("the HDF5 file is being written; try again later", retry_after_s=RETRY_S) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise
        # File systems without locks: the version is compared before and after each access all the same.
        yield
        return
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


def _open_h5(opened: OpenFile) -> Any:
    try:
        # By descriptor: the path may lead to another file by now.
        return library().File(f"/proc/self/fd/{opened.fd}", "r", locking=False)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        opened.check()
        if "already open" in str(error) or time.time() - opened.mtime < SETTLED_S:
            raise Unavailable(
                "the HDF5 file is incomplete or being written; try again later", retry_after_s=RETRY_S
            ) from None
        raise UnsafeContent("the file is not an HDF5 file, or it is damaged") from None


class Openable(Protocol):
    """What `OpenFiles` keeps: one version of a file, held open."""

    opened: OpenFile
    users: int

    def close(self) -> None:
        """Close what is held open."""
        ...


H = TypeVar("H", bound=Openable)


class OpenFiles(Generic[H]):
    """A bounded number of open HDF5 files, the least recently used closed first.

    Parameters
    ----------
    limit
        Number of files that stay open while nobody reads them.
    make
        Makes a handle of an open file.
    """

    def __init__(self, limit: int = 32, *, make: Callable[[OpenFile], H]) -> None:
        self._limit = limit
        self._make = make
        self._lock = threading.Lock()
        self._handles: OrderedDict[str, H] = OrderedDict()
        self._closed = False

    def acquire(self, path: str, opener: Callable[[], OpenFile] | None = None) -> H:
        """Return the present version of a file; give it back by `release`.

        Parameters
        ----------
        path
            Path of the file.
        opener
            Function that opens it, where the path must not be followed blindly.

        Raises
        ------
        DatasetNotFound
            If there is no such file.
        """
        with self._lock:
            handle = self._handles.get(path)
            if handle is None or handle.opened.stamp != _stamp(path):
                self._drop(path)
                handle = self._handles[path] = self._make(opener() if opener else _open(path))
            self._handles.move_to_end(path)
            handle.users += 1
            for old in [key for key, other in self._handles.items() if not other.users][: -self._limit or None]:
                self._drop(old)
            return handle

    def release(self, handle: H) -> None:
        """Give back what `acquire` returned."""
        with self._lock:
            handle.users -= 1
            if self._closed:
                # Threads that are left to end by themselves may open files late: nobody else would close those.
                self._handles.clear()
            if not handle.users and handle not in self._handles.values():
                handle.close()

    def _drop(self, path: str) -> None:
        handle = self._handles.pop(path, None)
        if handle is not None and not handle.users:
            handle.close()

    def close(self) -> None:
        """Close every file that nobody reads; the others close when they are given back."""
        with self._lock:
            self._closed = True
            for path in list(self._handles):
                self._drop(path)


class Handles(OpenFiles[Handle]):
    """Open HDF5 files that this process reads itself; see `OpenFiles`."""

    def __init__(self, limit: int = 32) -> None:
        super().__init__(limit, make=Handle)


def _stamp(path: str) -> Stamp | None:
    try:
        return stamp_of(os.stat(path))
    except OSError:
        return None


def _open(path: str) -> OpenFile:
    try:
        opened = OpenFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY), path)
    except OSError:
        raise DatasetNotFound() from None
    if not stats.S_ISREG(os.fstat(opened.fd).st_mode):
        opened.close()
        raise DatasetNotFound()
    return opened


# --- what a file holds ---------------------------------------------------------------------
def walk(group: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and h5py object of everything below a group, each object once, by its first hard link.

    Soft and external links are not followed.
    """
    yield from _walk(group, "", {address_of(group)})


def _walk(group: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    for name in sorted(group):
        if not is_hard_link(group, name):
            continue
        try:
            member = group[name]
        except (KeyError, OSError, RuntimeError, ValueError) as error:
            logger.warning("%s cannot be read: %s", paths.printable(prefix + name), error)
            continue
        address = address_of(member)
        if address in seen:
            continue
        if len(seen) >= MAX_MEMBERS:
            raise UnsafeContent(f"the HDF5 file holds more than {MAX_MEMBERS} objects")
        seen.add(address)
        yield prefix + name, member
        # Deeper names could not be listed; and a file may nest groups as deep as it likes.
        if is_group(member) and prefix.count("/") < paths.MAX_DEPTH:
            yield from _walk(member, f"{prefix}{name}/", seen)


def address_of(member: Any) -> int:
    """Return what identifies an object in its file, whatever the links to it are called."""
    return int(library().h5o.get_info(member.id).addr)


def is_dataset(member: Any) -> bool:
    """Tell whether an h5py object is a dataset."""
    return isinstance(member, library().Dataset)


def is_group(member: Any) -> bool:
    """Tell whether an h5py object is a group."""
    return isinstance(member, library().Group)


def is_hard_link(group: Any, name: str) -> bool:
    """Tell whether `name` is the object itself, not a reference to another place or file."""
    return isinstance(group.get(name, getlink=True), library().HardLink)


def find_member(file: Any, member: str) -> Any:
    """Return the dataset or group of this name, reached by hard links alone. Raises DatasetNotFound."""
    h5py = library()
    found = file
    for segment in member.split("/"):
        if not isinstance(found, h5py.Group) or segment in ("", ".", ".."):
            raise DatasetNotFound()
        try:
            link = found.get(segment, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise DatasetNotFound()
            found = found[segment]
        except (KeyError, OSError, RuntimeError, ValueError):
            raise DatasetNotFound() from None
    return found


def dtype_of(dataset: Any) -> Dtype:
    """Return the type of a dataset's elements, without what only HDF5 knows about it. Raises UnsafeContent."""
    try:
        dtype = dataset.dtype
    except (TypeError, ValueError, RuntimeError, KeyError):
        raise UnsafeContent("the dataset's elements are of a type that arrays cannot have") from None
    if dtype.hasobject:
        raise UnsafeContent("the dataset's elements have no fixed size (variable-length strings, references)")
    # Enumerations and references carry Python metadata, which is no part of the bytes.
    plain = np.dtype(dtype.base.str) if dtype.fields is None and dtype.subdtype is None else dtype
    return check_dtype(plain)


def check_dataset(dataset: Any, filters: frozenset[int] = FILTERS) -> tuple[int, ...]:
    """Check that a dataset can be read safely (U5), and return the numbers of its filters. Raises UnsafeContent."""
    if len(dataset.shape or ()) > MAX_NDIM:
        raise UnsafeContent(f"arrays of more than {MAX_NDIM} dimensions are not supported")
    if dataset.external is not None:
        raise UnsafeContent("the dataset keeps its data in other files")
    if dataset.is_virtual:
        raise UnsafeContent("the dataset is a view of other datasets (virtual)")
    plist = dataset.id.get_create_plist()
    used = tuple(plist.get_filter(i)[0] for i in range(plist.get_nfilters()))
    for number in used:
        if number not in filters:
            raise UnsafeContent(f"the dataset uses filter {number}, which is not allowed here")
    dtype = dtype_of(dataset)
    if dataset.chunks and prod(dataset.chunks) * dtype.itemsize > MAX_CHUNK_BYTES:
        raise UnsafeContent(f"the dataset's chunks hold more than {MAX_CHUNK_BYTES} bytes")
    return used


@dataclass(frozen=True, slots=True)
class Stored:
    """How a dataset's chunks lie in its file: one row a chunk, by its number in C order; size 0 where there is none."""

    offsets: np.ndarray[Any, Any]
    sizes: np.ndarray[Any, Any]
    masks: np.ndarray[Any, Any]


def stored_chunks(dataset: Any, nchunks: int) -> Stored:
    """Return where the chunks of a chunked dataset lie."""
    offsets, sizes = np.zeros(nchunks, dtype=np.int64), np.zeros(nchunks, dtype=np.int64)
    masks = np.zeros(nchunks, dtype=np.uint32)
    grid = tuple(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))

    def note(chunk: Any) -> None:
        number = 0
        for start, length, n in zip(chunk.chunk_offset, dataset.chunks, grid, strict=True):
            if start // length >= n:
                return
            number = number * n + start // length
        offsets[number], sizes[number], masks[number] = chunk.byte_offset, chunk.size, chunk.filter_mask

    dataset.id.chunk_iter(note)
    return Stored(offsets, sizes, masks)


def inner_chunk(frame: bytes) -> bytes:
    """Take the compressed chunk out of the small frame that HDF5's Blosc2 filter wraps around it.

    The caller checks the chunk. Raises UnsafeContent if the lengths are impossible.
    """
    if len(frame) < 128:
        raise UnsafeContent("an HDF5 chunk holds no Blosc2 frame")
    (start,) = struct.unpack_from(">i", frame, 11)
    if not 0 < start <= len(frame) - 32:
        raise UnsafeContent("an HDF5 chunk holds no Blosc2 frame")
    (length,) = struct.unpack_from("<i", frame, start + 12)
    if not 32 <= length <= len(frame) - start:
        raise UnsafeContent("an HDF5 chunk holds no Blosc2 frame")
    return frame[start : start + length]


# --- datasets ---------------------------------------------------------------------
class HDF5Source:
    """One dataset of one version of an HDF5 file; see `caterva2_formats.base.DatasetSource`.

    Parameters
    ----------
    handles
        Where the file's handle came from; `close` gives it back there.
    handle
        The file.
    member
        Name of the dataset inside the file, without a leading slash.
    filters
        Numbers of the HDF5 filters that may be used.
    """

    def __init__(self, handles: Handles, handle: Handle, member: str, filters: frozenset[int] = FILTERS) -> None:
        self._handles = handles
        self._handle = handle
        self._member = member
        self._closed = False
        self._stored: Stored | None = None
        self._lock = threading.Lock()
        self.etag = etag_of(handle.opened.stamp, member)
        with handle.reading() as file:
            dataset = find_member(file, member)
            if not is_dataset(dataset):
                raise DatasetNotFound()
            used = check_dataset(dataset, filters)
            self._dtype = dtype_of(dataset)
            self._chunked = dataset.chunks is not None
            self._null = dataset.shape is None
            self._fill = _fill_bytes(dataset, self._dtype)
            inner = _inner_layout(dataset, self._dtype) if used == (BLOSC2,) else None
            self._passed = inner is not None
            self.layout, self.coding = inner or _own_layout(dataset, self._dtype)
            storage = 0 if self._null else dataset.id.get_storage_size()
            self.attributes = pack_attributes(dataset.attrs)
            """Attributes, packed as frames hold them."""
        self.info = info.frame_info(
            self.layout,
            self.coding,
            vlmeta={name: unpack_value(name, value) for name, value in self.attributes.items()},
            cbytes=storage,
            nbytes=self.layout.nchunks * self.layout.chunksize,
            mtime=handle.opened.mtime,
        )

    @property
    def compresses(self) -> bool:
        """Whether chunks are compressed when they are read. See `DatasetSource.compresses`."""
        return not self._passed

    def chunk(self, nchunk: int) -> bytes:
        """Return compressed chunk `nchunk`. See `DatasetSource.chunk`.

        Chunks that hold Blosc2 are passed through, others are compressed with zstd, level 1. Chunks that were never
        written are one repeated fill value.
        """
        if not 0 <= nchunk < self.layout.nchunks:
            raise ChunkNotFound(f"there is no chunk {nchunk}: the dataset has {self.layout.nchunks}")
        if self._chunked:
            stored = self._stored_chunks()
            if not stored.sizes[nchunk]:
                return self._filled()
            if self._passed and not stored.masks[nchunk]:
                passed = self._pass_through(nchunk, int(stored.offsets[nchunk]), int(stored.sizes[nchunk]))
                if passed is not None:
                    return passed
        elif self._null:
            return self._filled()
        return pack_chunk(self._read(nchunk), self.layout)

    def _stored_chunks(self) -> Stored:
        with self._lock:
            if self._stored is None:
                with self._handle.reading() as file:
                    self._stored = stored_chunks(find_member(file, self._member), self.layout.nchunks)
            return self._stored

    def _pass_through(self, nchunk: int, offset: int, size: int) -> bytes | None:
        opened = self._handle.opened
        with _shared_lock(opened.fd):
            opened.check()
            frame = opened.read_at(offset, size)
            opened.check()
        try:
            chunk = inner_chunk(frame)
            check_chunk(chunk, self.layout, nchunk)
        except UnsafeContent:
            # Other blocks than the first chunk's are legal in HDF5: such a chunk is compressed anew.
            return None
        return chunk

    def _read(self, nchunk: int) -> np.ndarray[Any, Any]:
        layout = self.layout
        grid = tuple(-(-n // c) for n, c in zip(layout.shape, layout.chunks, strict=True))
        index = np.unravel_index(nchunk, grid) if grid else ()
        where = tuple(
            slice(int(i) * c, min((int(i) + 1) * c, n))
            for i, c, n in zip(index, layout.chunks, layout.shape, strict=True)
        )
        with self._handle.reading() as file:
            dataset = find_member(file, self._member)
            try:
                data = dataset[where]
            except (OSError, RuntimeError, ValueError, MemoryError):
                self._handle.opened.check()
                raise UnsafeContent(f"chunk {nchunk} is damaged: HDF5 cannot read it") from None
        return to_storage(np.asarray(data), self._dtype)

    def _filled(self) -> bytes:
        layout = self.layout
        blocksize = prod(layout.blocks) * layout.typesize
        if not any(self._fill):
            return special_chunk(Special.ZEROS, layout.chunksize, typesize=layout.typesize, blocksize=blocksize)
        if layout.typesize <= 255:
            return special_chunk(
                Special.VALUE, layout.chunksize, typesize=layout.typesize, blocksize=blocksize, value=self._fill
            )
        cells = np.empty(layout.chunks, dtype=storage_dtype(self._dtype))
        cells[...] = np.frombuffer(self._fill, dtype=cells.dtype)[0]
        return pack_chunk(cells, layout)

    def skeleton(self) -> Skeleton | None:
        """Return None: the dataset is not stored as a frame."""
        return None

    def close(self) -> None:
        """Give the file back."""
        if not self._closed:
            self._closed = True
            self._handles.release(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _fill_bytes(dataset: Any, dtype: Dtype) -> bytes:
    """Return the bytes of the element that stands for what was never written."""
    if dataset.id.get_create_plist().fill_value_defined() != library().h5d.FILL_VALUE_USER_DEFINED:
        return bytes(dtype.itemsize)
    try:
        value = dataset.fillvalue
    except (TypeError, ValueError, RuntimeError):
        raise UnsafeContent("the fill value of the dataset cannot be read") from None
    array = np.asarray(value) if dtype.subdtype is not None else np.asarray(value, dtype=dtype)
    if array.nbytes != dtype.itemsize:
        raise UnsafeContent("the fill value of the dataset does not fit its elements")
    return array.tobytes()


def _own_layout(dataset: Any, dtype: Dtype) -> tuple[Layout, Coding]:
    """Return the layout of a dataset whose chunks are compressed here."""
    shape = dataset.shape or ()
    chunks = dataset.chunks or partition(shape, dtype.itemsize, target=PIECE_BYTES)
    blocks = even_blocks(chunks, partition(chunks, dtype.itemsize, target=BLOCK_BYTES))
    layout = array_layout(shape, chunks, blocks, str(dtype))
    return layout, replace(_RECOMPRESSED, blocksize=prod(blocks) * dtype.itemsize if layout.nchunks else 0)


def _inner_layout(dataset: Any, dtype: Dtype) -> tuple[Layout, Coding] | None:
    """Return layout and coding as the first stored chunk of a Blosc2-filtered dataset declares them.

    Returns None where chunks cannot be passed through: none is stored, or they are cut otherwise than arrays are.
    """
    if not dataset.id.get_num_chunks():
        return None
    first = dataset.id.get_chunk_info(0)
    if first.filter_mask or first.size > 2 * MAX_CHUNK_BYTES:
        return None
    _, data = dataset.id.read_direct_chunk(first.chunk_offset)

    def read_at(offset: int, length: int) -> bytes:
        if offset + length > len(data):
            raise UnsafeContent("an HDF5 chunk holds no Blosc2 frame")
        return bytes(data[offset : offset + length])

    try:
        frame = read_frame(read_at, len(data))
        header = check_header(inner_chunk(data))
        blocks = frame.layout.blocks
        if frame.layout.kind is not Kind.ARRAY:
            # One axis needs no array layer: the filter leaves it out.
            blocks = (header.blocksize // dtype.itemsize,)
        alone = frame.layout.shape == dataset.chunks or frame.layout.kind is not Kind.ARRAY
        if len(blocks) != len(dataset.chunks) or frame.layout.nchunks != 1 or not alone:
            return None
        if header.nbytes != padded_nbytes(dataset.chunks, blocks, dtype.itemsize):
            return None
        layout = array_layout(dataset.shape, dataset.chunks, blocks, str(dtype))
        check_chunk(inner_chunk(data), layout, 0)
    except UnsafeContent:
        return None
    return layout, replace(frame.coding, blocksize=header.blocksize)


# --- roots ---------------------------------------------------------------------
class HDF5Root:
    """One HDF5 file as a published root; see `caterva2_formats.base.RootSource`.

    The dataset ``/arrays/3d`` is listed as ``arrays/3d.b2nd``. What cannot be an array is left out.

    Parameters
    ----------
    file
        Path of the HDF5 file.
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        self._path = os.path.abspath(file)
        self._handles = Handles(limit=1)
        self._lock = threading.Lock()
        self._listing: tuple[Stamp, dict[str, str]] | None = None

    def available(self) -> bool:
        """Tell whether the file is there."""
        return os.path.isfile(self._path) and os.access(self._path, os.R_OK)

    def watch_paths(self) -> list[str]:
        """Return the file."""
        return [self._path]

    def scan(self) -> Iterator[Found]:
        """Yield every dataset that is an array. See `RootSource.scan`."""
        if not self.available():
            raise Unavailable("the HDF5 file of the root cannot be read", retry_after_s=RETRY_S)
        stamp, members = self._members()
        for path, member in members.items():
            yield Found(path, etag_of(stamp, member), stamp)

    def below(self, path: str) -> Iterator[Found]:
        """Yield every dataset: a change of the file may concern all."""
        yield from self.scan()

    def find(self, path: str) -> Found | None:
        """Return the present state of one dataset, or None."""
        if not self.available():
            return None
        stamp, members = self._members()
        member = members.get(path)
        return Found(path, etag_of(stamp, member), stamp) if member is not None else None

    def open(self, path: str) -> HDF5Source:
        """Open the present version of a dataset. See `RootSource.open`."""
        if not self.available():
            raise DatasetNotFound()
        _, members = self._members()
        if path not in members:
            raise DatasetNotFound()
        return open_member(self._handles, self._path, members[path], filters=TRUSTED_FILTERS)

    def _members(self) -> tuple[Stamp, dict[str, str]]:
        """Return the version of the file and its datasets: member by listed path."""
        with self._lock:
            if self._listing is not None and self._listing[0] == _stamp(self._path):
                return self._listing
            handle = self._handles.acquire(self._path)
            try:
                with handle.reading() as file:
                    members = dict(_listed(file))
            finally:
                self._handles.release(handle)
            self._listing = handle.opened.stamp, members
            return self._listing

    def close(self) -> None:
        """Close the file."""
        self._handles.close()


def _listed(file: Any) -> Iterator[tuple[str, str]]:
    for name, member in walk(file):
        if not is_dataset(member):
            continue
        try:
            check_dataset(member, TRUSTED_FILTERS)
            yield paths.check_path(name + paths.ARRAY_SUFFIX), name
        except (UnsafeContent, InvalidName) as error:
            logger.warning("dataset %s is left out: %s", paths.printable(name), error.detail)


def open_member(
    handles: Handles,
    path: str,
    member: str,
    *,
    filters: frozenset[int] = FILTERS,
    opener: Callable[[], OpenFile] | None = None,
) -> HDF5Source:
    """Open one dataset of an HDF5 file.

    Parameters
    ----------
    handles
        Open files, shared by all who read.
    path
        Path of the HDF5 file.
    member
        Name of the dataset inside it, without a leading slash. Only hard links are followed.
    filters
        Numbers of the HDF5 filters that may be used.
    opener
        As in `Handles.acquire`.

    Raises
    ------
    DatasetNotFound
        If there is no such file, or no such dataset in it.
    UnsafeContent
        If file or dataset fail a check (U5).
    Unavailable
        If the file is being written (U6).
    """
    handle = handles.acquire(path, opener)
    try:
        return HDF5Source(handles, handle, member, filters)
    except BaseException:
        handles.release(handle)
        raise
