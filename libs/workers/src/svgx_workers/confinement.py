"""Confine the worker process, so that foreign code in it can reach nothing but the job.

A file or a document may use a fault in a renderer to run its own code. On each system, resource limits apply to the
process. On Linux, three features of the kernel also confine the process: `no_new_privs`, a seccomp filter, and a
Landlock rule set. They forbid using the network, reaching other processes, writing files, and reading files other than
modules, libraries and fonts. A feature that the kernel lacks is left out. The seccomp filter is written for x86_64 and
aarch64 only. No library is needed, because the features take only a few system calls with fixed numbers.
"""

import ctypes
import os
import platform
import resource
import sys
from collections.abc import Iterable
from pathlib import Path

from svgx_workers.seccomp import filter_program

_PR_SET_SECCOMP = 22  # linux/prctl.h
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2  # linux/seccomp.h

_LANDLOCK_CREATE_RULESET = 444  # the same number on all architectures
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_RULE_PATH_BENEATH = 1
_ACCESS_READ_FILE = 1 << 2
_ACCESS_READ_DIR = 1 << 3
_FILE_ACCESS_KINDS_BY_VERSION = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""The number of kinds of file access that each version of Landlock can refuse. Later versions have no further kind."""

PARTS = ("no_new_privs", "landlock", "seccomp")
"""The parts of the confinement that Linux provides."""

MAX_OPEN_FILES = 256
"""Maximum number of open files of the process. More are not needed, because fonts are opened one by one."""

_SYSTEM_FOLDERS = ("/usr", "/lib", "/lib64", "/etc/fonts", "/opt/homebrew", "/nix/store")
"""Folders with libraries and fonts."""
_DEVICES = ("/dev/null", "/dev/urandom")


def confine(memory_bytes: int) -> list[str]:
    """Confine this process, and return the parts (see `PARTS`) that are in force.

    memory_bytes: address space of the process; 0 sets no limit.
    """
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        *(((resource.RLIMIT_AS, memory_bytes),) if memory_bytes else ()),
    ):
        _, hard_limit = resource.getrlimit(limit)
        bound = value if hard_limit == resource.RLIM_INFINITY else min(value, hard_limit)
        resource.setrlimit(limit, (bound, bound))
    if sys.platform != "linux":
        return []
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return []  # without `no_new_privs`, the kernel accepts neither of the other parts
    parts = ["no_new_privs"]
    if _apply_landlock(libc, _readable_paths()):
        parts.append("landlock")
    if _filter_system_calls(libc):
        parts.append("seccomp")
    return parts


def _readable_paths() -> list[str]:
    """Return the paths that jobs read: Python's modules, the system's libraries and fonts, this process in `/proc`."""
    modules = [path for path in sys.path if path]
    return [
        *_SYSTEM_FOLDERS,
        *_DEVICES,
        sys.prefix,
        sys.base_prefix,
        *modules,
        f"/proc/{os.getpid()}",
    ]


class _RulesetAttr(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def _apply_landlock(libc: ctypes.CDLL, readable: Iterable[str]) -> bool:
    """Allow opening only files beneath `readable`, and only for reading. Return whether Landlock is in force.

    So the worker cannot read the service's environment in `/proc`. From version 4 of Landlock on, also refuse TCP. From
    version 6 on, also refuse abstract Unix sockets and signals to other processes.
    """
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    attr = _RulesetAttr((1 << _FILE_ACCESS_KINDS_BY_VERSION.get(version, 16)) - 1)
    size = 8
    if version >= 4:
        attr.net, size = 0b11, 16  # binding and connecting TCP sockets
    if version >= 6:
        attr.scoped, size = 0b11, 24  # abstract Unix sockets, and signals to other processes
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, ctypes.byref(attr), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _allow_reading(libc, ruleset, path)
        return bool(libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow_reading(libc: ctypes.CDLL, ruleset: int, path: str) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        access = _ACCESS_READ_FILE | (_ACCESS_READ_DIR if Path(path).is_dir() else 0)
        rule = _PathBeneathAttr(access, fd)
        libc.syscall(
            _LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, ctypes.byref(rule), 0
        )
    finally:
        os.close(fd)


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction))]


def _filter_system_calls(libc: ctypes.CDLL) -> bool:
    """Refuse the system calls that `svgx_workers.seccomp` lists.

    Return False if the kernel has no seccomp filters, or if `filter_program` does not know the architecture.
    """
    program = filter_program(platform.machine(), os.getpid())
    if program is None:
        return False
    instructions = (_Instruction * len(program))(*(_Instruction(*each) for each in program))
    attr = _Program(len(program), instructions)
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(attr), 0, 0) == 0)
