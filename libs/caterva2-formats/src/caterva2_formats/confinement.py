"""Taking rights away from the present process, for good: files, network, programs, memory, time (requirement U9).

Each measure is in force where the kernel has it; `confine` says which are. Linux only; elsewhere there are the
resource limits alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
from collections.abc import Iterable
from functools import cache

MEASURES = ("network", "limits", "landlock", "seccomp")
"""Names of all measures: those of `confine`, and ``network`` for `leave_network`."""

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SIGKILL = 9

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000

_LANDLOCK_CREATE = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT = 446
_LANDLOCK_VERSION = 1
_RULE_PATH_BENEATH = 1
_READ_FILE = 1 << 2
# Rights over files that each version of Landlock can take away: all that it knows.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}

_SECCOMP_FILTER = 2
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# Numbers on x86_64 and aarch64 of what a reader of one open file never needs; -1 where there is none.
_FORBIDDEN = {
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, -1),
    "vfork": (58, -1),
    "clone": (56, 220),
    "clone3": (435, 435),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "bpf": (321, 280),
    "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "open_by_handle_at": (304, 265),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "unlink": (87, -1),
    "unlinkat": (263, 35),
    "rename": (82, -1),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "mkdir": (83, -1),
    "mkdirat": (258, 34),
    "rmdir": (84, -1),
    "symlink": (88, -1),
    "symlinkat": (266, 36),
    "link": (86, -1),
    "linkat": (265, 37),
    "truncate": (76, 45),
    "chmod": (90, -1),
    "fchmodat": (268, 53),
    "chown": (92, -1),
    "fchownat": (260, 54),
}


def confine(readable: Iterable[int], *, memory_bytes: int, cpu_s: int) -> list[str]:
    """Take away from this process, which must have a single thread, all that reading open files does not need.

    Parameters
    ----------
    readable
        Descriptors of files that may be opened again through ``/proc/self/fd``.
    memory_bytes
        Address space that may be added to the present one.
    cpu_s
        Seconds of processor time.

    Returns
    -------
    list of str
        The measures in force.
    """
    _limit(memory_bytes, cpu_s)
    measures = ["limits"]
    if not hasattr(os, "memfd_create"):
        return measures
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if _landlock(readable):
        measures.append("landlock")
    if _seccomp():
        measures.append("seccomp")
    return measures


def leave_network() -> bool:
    """Move this process, which must have a single thread, into a network without any address; tell whether it did."""
    return _syscall_by_name("unshare", _CLONE_NEWUSER | _CLONE_NEWNET) == 0


def _limit(memory_bytes: int, cpu_s: int) -> None:
    used = 0
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        used = 2**30
    limits = {
        resource.RLIMIT_AS: used + memory_bytes,
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))


# --- Landlock ---------------------------------------------------------------------
def _landlock(readable: Iterable[int]) -> bool:
    version = _syscall(_LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION)
    if version < 1:
        return False
    rights = struct.pack("<Q", _FILE_RIGHTS[min(version, 5)])
    if version >= 4:
        rights += struct.pack("<Q", 0b11)
    if version >= 6:
        rights += struct.pack("<Q", 0b11)
    ruleset = _syscall(_LANDLOCK_CREATE, rights, len(rights), 0)
    if ruleset < 0:
        return False
    try:
        for fd in readable:
            _syscall(_LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("<Qi", _READ_FILE, fd), 0)
        return _syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0
    finally:
        os.close(ruleset)


# --- seccomp ---------------------------------------------------------------------
class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _seccomp() -> bool:
    machine = platform.machine()
    if machine not in _AUDIT_ARCH:
        return False
    column = list(_AUDIT_ARCH).index(machine)
    numbers = [pair[column] for pair in _FORBIDDEN.values() if pair[column] >= 0]
    code = _filter(_AUDIT_ARCH[machine], numbers, high=0x40000000 if machine == "x86_64" else 0x7FFFFFFF)
    program = _Program(len(code) // 8, code)
    return _prctl(_PR_SET_SECCOMP, _SECCOMP_FILTER, ctypes.byref(program)) == 0


def _filter(arch: int, numbers: list[int], *, high: int) -> bytes:
    """Return a BPF program that answers EPERM to the system calls of these numbers, and to those from `high` on."""
    load, jump_equal, jump_from, answer = 0x20, 0x15, 0x35, 0x06
    allow, refuse, kill = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("<HBBI", code, if_true, if_false, value)

    steps = [step(load, 4), step(jump_equal, arch, 1, 0), step(answer, kill), step(load, 0)]
    steps.append(step(jump_from, high, len(numbers) + 1, 0))
    steps += [step(jump_equal, number, len(numbers) - i, 0) for i, number in enumerate(numbers)]
    return b"".join((*steps, step(answer, allow), step(answer, refuse)))


# --- calls ---------------------------------------------------------------------
@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *arguments: bytes | int | None) -> int:
    converted = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return int(_libc().syscall(ctypes.c_long(number), *converted))


def _syscall_by_name(name: str, argument: int) -> int:
    column = {"x86_64": 0, "aarch64": 1}.get(platform.machine())
    return -1 if column is None else _syscall(_FORBIDDEN[name][column], argument)


def _prctl(option: int, *arguments: object) -> int:
    values = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    values += [ctypes.c_ulong(0)] * (4 - len(values))
    return int(_libc().prctl(option, *values))
