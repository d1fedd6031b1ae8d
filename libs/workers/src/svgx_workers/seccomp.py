"""The seccomp filter of a worker process: a program that refuses the system calls that no job needs.

The program is classic BPF: instructions with an operation code, two relative jumps and a value. It refuses network
access, starting and reaching other processes, changing priorities, memory and queues that outlast the process,
writing and changing files, tracing, and the parts of the kernel that most attacks on the kernel use. A refused call
fails with EPERM. The call numbers are from the kernel's `asm/unistd.h` for each architecture.
"""

from collections.abc import Mapping, Sequence

Instruction = tuple[int, int, int, int]
"""Operation code, jump if true, jump if false, value."""

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_JUMP_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

_ALLOW = 0x7FFF0000  # linux/seccomp.h
_KILL_PROCESS = 0x80000000
_REFUSE = 0x00050001  # SECCOMP_RET_ERRNO with EPERM
_NO_SUCH_CALL = 0x00050026  # SECCOMP_RET_ERRNO with ENOSYS: the C library then uses an older call

_NUMBER_OFFSET = 0  # struct seccomp_data
_ARCHITECTURE_OFFSET = 4
_ARGUMENTS_OFFSET = 16

_CLONE_THREAD = 0x00010000  # linux/sched.h
_WRITE_FLAGS = 0o1 | 0o2 | 0o100 | 0o1000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC
_FIRST_X32_NUMBER = 0x40000000

_AUDIT_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h

_REFUSED_CALLS: Mapping[str, Mapping[str, int]] = {
    "x86_64": {
        "socket": 41, "connect": 42, "accept": 43, "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47,
        "bind": 49, "listen": 50, "socketpair": 53, "accept4": 288, "recvmmsg": 299, "sendmmsg": 307,
        "fork": 57, "vfork": 58, "execve": 59, "execveat": 322, "unshare": 272, "setns": 308,
        "kill": 62, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297,
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
        "creat": 85, "truncate": 76, "rename": 82, "mkdir": 83, "rmdir": 84, "link": 86, "unlink": 87, "symlink": 88,
        "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94, "mknod": 133,
        "mkdirat": 258, "mknodat": 259, "fchownat": 260, "unlinkat": 263, "renameat": 264, "linkat": 265,
        "symlinkat": 266, "fchmodat": 268, "renameat2": 316, "name_to_handle_at": 303, "open_by_handle_at": 304,
        "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280, "setxattr": 188, "lsetxattr": 189,
        "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199,
        "pivot_root": 155, "chroot": 161, "mount": 165, "umount2": 166, "reboot": 169, "init_module": 175,
        "finit_module": 313, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250,
        "perf_event_open": 298, "bpf": 321, "userfaultfd": 323,
        "sched_setparam": 142, "sched_setscheduler": 144, "sched_setaffinity": 203,
        "sched_setattr": 314, "ioprio_set": 251, "migrate_pages": 256, "move_pages": 279,
        "shmget": 29, "shmat": 30, "shmctl": 31, "shmdt": 67, "semget": 64, "semop": 65, "semctl": 66,
        "semtimedop": 220, "msgget": 68, "msgsnd": 69, "msgrcv": 70, "msgctl": 71, "mq_open": 240, "mq_unlink": 241,
    },
    "aarch64": {
        "socket": 198, "socketpair": 199, "bind": 200, "listen": 201, "accept": 202, "connect": 203, "sendto": 206,
        "recvfrom": 207, "sendmsg": 211, "recvmsg": 212, "accept4": 242, "recvmmsg": 243, "sendmmsg": 269,
        "execve": 221, "execveat": 281, "unshare": 97, "setns": 268,
        "kill": 129, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240,
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
        "mknodat": 33, "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37, "renameat": 38, "truncate": 45,
        "fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55, "renameat2": 276,
        "name_to_handle_at": 264, "open_by_handle_at": 265, "utimensat": 88, "setxattr": 5, "lsetxattr": 6,
        "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16,
        "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51, "reboot": 142, "init_module": 105,
        "finit_module": 273, "kexec_load": 104, "add_key": 217, "request_key": 218, "keyctl": 219,
        "perf_event_open": 241, "bpf": 280, "userfaultfd": 282,
        "sched_setparam": 118, "sched_setscheduler": 119, "sched_setaffinity": 122,
        "sched_setattr": 274, "ioprio_set": 30, "migrate_pages": 238, "move_pages": 239,
        "shmget": 194, "shmat": 196, "shmctl": 195, "shmdt": 197, "semget": 190, "semop": 193, "semctl": 191,
        "semtimedop": 192, "msgget": 186, "msgsnd": 189, "msgrcv": 188, "msgctl": 187, "mq_open": 180, "mq_unlink": 181,
    },
}  # fmt: skip
_REFUSED_CALLS_EVERYWHERE = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_open": 434,
    "openat2": 437, "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442, "fchmodat2": 452,
    "setxattrat": 463, "removexattrat": 466, "open_tree_attr": 467, "file_setattr": 469,
}  # fmt: skip
"""Calls that have one number on all architectures."""
_CLONE3 = 435
"""The call `clone3`. It fails with ENOSYS, because the filter cannot read its flags."""

_SIGNAL_CALLS = {
    "x86_64": {"tkill": 200, "tgkill": 234},
    "aarch64": {"tkill": 130, "tgkill": 131},
}
"""Calls that are allowed only with this process as the first argument. A process that aborts sends itself a signal."""
_PRLIMIT64 = {"x86_64": 302, "aarch64": 261}
"""The call `prlimit64`. It is allowed only with 0, this process, as its first argument."""
_OPEN_CALLS = {
    "x86_64": ((2, 1, _WRITE_FLAGS), (257, 2, _WRITE_FLAGS)),  # open, openat
    "aarch64": ((56, 2, _WRITE_FLAGS),),  # openat
}
"""The calls that open files, as (number, index of the flags argument, flags that are refused)."""
_SETPRIORITY = {"x86_64": 141, "aarch64": 140}
"""The call `setpriority`. It is allowed only for a process (PRIO_PROCESS), and only with 0, this process."""
_SIGNAL_OWNER_CALLS = {
    "x86_64": ((72, (8, 10, 15)), (16, (0x8901, 0x8902))),
    "aarch64": ((25, (8, 10, 15)), (29, (0x8901, 0x8902))),
}
"""The calls `fcntl` and `ioctl`, and the commands with which they choose the signal of a file and its receiver.

The commands are F_SETOWN, F_SETSIG and F_SETOWN_EX, and FIOSETOWN and SIOCSPGRP. The kernel would send the signal to
any process of the same user.
"""
_CLONE = {"x86_64": 56, "aarch64": 220}
"""The call `clone`. It is allowed only with the flag for a thread."""


def filter_program(machine: str, process_id: int) -> list[Instruction] | None:
    """Return the filter program for the process with this id, or None for an unknown architecture."""
    architecture = _AUDIT_ARCHITECTURES.get(machine)
    if architecture is None:
        return None
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_OFFSET),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
    ]
    if machine == "x86_64":
        program += [(_JUMP_AT_LEAST, 0, 1, _FIRST_X32_NUMBER), (_RETURN, 0, 0, _REFUSE)]
    for number in (*_REFUSED_CALLS[machine].values(), *_REFUSED_CALLS_EVERYWHERE.values()):
        program += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    program += [(_JUMP_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _NO_SUCH_CALL)]
    for number in _SIGNAL_CALLS[machine].values():
        program += _allow_if(number, 0, _JUMP_EQUAL, process_id)
    program += _allow_if(_PRLIMIT64[machine], 0, _JUMP_EQUAL, 0)
    program += _refuse_unless_zero(_SETPRIORITY[machine], 0)
    program += _allow_if(_SETPRIORITY[machine], 1, _JUMP_EQUAL, 0)
    program += _allow_if(_CLONE[machine], 0, _JUMP_ANY_BIT, _CLONE_THREAD)
    for number, argument, flags in _OPEN_CALLS[machine]:
        program += _refuse_if(number, argument, _JUMP_ANY_BIT, [flags])
    for number, commands in _SIGNAL_OWNER_CALLS[machine]:
        program += _refuse_if(number, 1, _JUMP_EQUAL, commands)
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _allow_if(number: int, argument: int, test: int, value: int) -> list[Instruction]:
    """Return the instructions that allow a call only if a test on the lower 32 bits of its argument is true."""
    return [
        (_JUMP_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _ARGUMENTS_OFFSET + 8 * argument),
        (test, 0, 1, value),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]


def _refuse_unless_zero(number: int, argument: int) -> list[Instruction]:
    """Return the instructions that refuse a call unless the lower 32 bits of its argument are 0.

    The instructions after them decide about a call with 0.
    """
    return [
        (_JUMP_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _ARGUMENTS_OFFSET + 8 * argument),
        (_JUMP_EQUAL, 1, 0, 0),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
    ]


def _refuse_if(number: int, argument: int, test: int, values: Sequence[int]) -> list[Instruction]:
    """Return the instructions that refuse a call only if the lower 32 bits of its argument pass a test with a value."""
    program = [
        (_JUMP_EQUAL, 0, 2 + 2 * len(values), number),
        (_LOAD, 0, 0, _ARGUMENTS_OFFSET + 8 * argument),
    ]
    for value in values:
        program += [(test, 0, 1, value), (_RETURN, 0, 0, _REFUSE)]
    return [*program, (_RETURN, 0, 0, _ALLOW)]
