"""Opening files below a directory, and telling their versions apart.

Names have passed `caterva2.paths`; still, a symbolic link in a root may point anywhere. Files are opened from the
directory's descriptor by ``openat2`` with RESOLVE_BENEATH, or segment by segment where the kernel lacks it (U7).
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import stat as stats
import struct
from functools import cache

from caterva2.errors import DatasetNotFound, UnsafeContent, VersionChanged

from .base import Stamp

_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_HOW = struct.pack("<QQQ", _FLAGS, 0, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS)
_OUTSIDE = (errno.EXDEV, errno.ELOOP)
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EACCES)


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the identity of the state that `status` shows."""
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _is_at(status: os.stat_result, stamp: Stamp) -> bool:
    return (
        status.st_mtime_ns == stamp.mtime_ns
        and status.st_ctime_ns == stamp.ctime_ns
        and status.st_size == stamp.size
        and status.st_ino == stamp.ino
        and status.st_dev == stamp.dev
    )


def etag_of(stamp: Stamp, member: str = "") -> str:
    """Return the version of a dataset: 32 hex digits.

    Parameters
    ----------
    stamp
        Stamp of the file that holds its bytes.
    member
        Name of the dataset inside that file, if it is one of several.
    """
    numbers = struct.pack("<QQQqq", stamp.dev, stamp.ino, stamp.size, stamp.mtime_ns, stamp.ctime_ns)
    return hashlib.blake2b(numbers + member.encode(), digest_size=16).hexdigest()


def open_beneath(root: int, path: str) -> int:
    """Open a regular file below a directory; a symbolic link as last segment may lead to a file below it too.

    Parameters
    ----------
    root
        Descriptor of the directory.
    path
        Relative path, without ``..``.

    Returns
    -------
    int
        Descriptor, for reading. The caller closes it.

    Raises
    ------
    DatasetNotFound
        If there is no regular file of this name that lies below the directory.
    """
    try:
        fd = _open_plain(root, path)
    except OSError as error:
        if error.errno not in (*_OUTSIDE, *_MISSING):
            raise
        if error.errno not in _OUTSIDE:
            raise DatasetNotFound() from None
        fd = _open_link(root, path)
    if stats.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise DatasetNotFound()


def _open_plain(root: int, path: str) -> int:
    """Open without following any symbolic link. Raises OSError with ELOOP or EXDEV where there is one."""
    if _has_openat2():
        return _openat2(root, path)
    *parents, name = path.split("/")
    current = os.dup(root)
    try:
        for segment in parents:
            below = os.open(segment, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
            os.close(current)
            current = below
        return os.open(name, _FLAGS | os.O_NOFOLLOW, dir_fd=current)
    finally:
        os.close(current)


def _open_link(root: int, path: str) -> int:
    base = os.path.realpath(f"/proc/self/fd/{root}")
    *parents, _ = path.split("/")
    folder = os.path.join(base, *parents)
    target = os.path.realpath(os.path.join(base, path))
    if os.path.realpath(folder) != folder or not target.startswith(base.rstrip("/") + "/"):
        raise DatasetNotFound()
    try:
        return _open_plain(root, os.path.relpath(target, base))
    except OSError:
        raise DatasetNotFound() from None


def _openat2(root: int, path: str) -> int:
    name = os.fsencode(path)
    fd = int(_libc().syscall(_SYS_OPENAT2, root, name, _HOW, len(_HOW)))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@cache
def _has_openat2() -> bool:
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(_openat2(fd, "proc"))
    except (OSError, AttributeError):
        return False
    else:
        return True
    finally:
        os.close(fd)


class OpenFile:
    """One version of a file, held open: reads give its bytes or fail, never those of another version (F15, F16).

    Parameters
    ----------
    fd
        Descriptor, which this object owns from now on.
    path
        Absolute path by which the file was opened, to notice when another one takes its place; None to watch only
        the file itself.
    """

    def __init__(self, fd: int, path: str | None = None) -> None:
        self.fd = fd
        self.path = path
        self.stamp = stamp_of(os.fstat(fd))

    @property
    def mtime(self) -> float:
        """Unix time of the last change in seconds."""
        return self.stamp.mtime_ns / 1e9

    def check(self) -> None:
        """Compare the stamps of descriptor and path with the version. Raises VersionChanged."""
        try:
            same = _is_at(os.fstat(self.fd), self.stamp) and (
                self.path is None or _is_at(os.stat(self.path), self.stamp)
            )
        except OSError:
            same = False
        if not same:
            raise VersionChanged("the file was changed while it was read")

    def read_at(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`. Raises VersionChanged or UnsafeContent if there are fewer."""
        data = os.pread(self.fd, length, offset)
        while len(data) < length:
            more = os.pread(self.fd, length - len(data), offset + len(data))
            if not more:
                self.check()
                raise UnsafeContent("the file ends before its content does")
            data += more
        return data

    def close(self) -> None:
        """Close the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
