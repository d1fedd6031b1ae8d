"""Turns itself into another program that dies with the process that started it.

Run as a file, not imported: `python -I -S launch.py PARENT_PID DEATH_SIGNAL DEMOTE PROGRAM ARGUMENT...`

The process keeps its id, so the supervisor sees the program itself. On Linux the kernel sends DEATH_SIGNAL when the
supervisor ends, even by SIGKILL. Elsewhere no such promise exists: a killed supervisor leaves the servers running
until the next start, which ends them by their remembered ids (`leftovers.py`).

DEMOTE is `1` to give up being root, which PostgreSQL demands. The program then runs as `nobody`, but keeps the one
capability of reaching files whatever their mode. So a data folder or an installation below a private folder such as
root's home works without loosening anybody's permissions.
"""

import ctypes
import os
import pwd
import struct
import sys

# Numbers from linux/prctl.h, linux/securebits.h and linux/capability.h.
PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def _check(result: int, what: str) -> None:
    if result != 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")


def _demote(libc: ctypes.CDLL) -> None:
    nobody = pwd.getpwnam("nobody")
    # Without this bit access(2) ignores capabilities of a process that is not root, and PostgreSQL asks access(2)
    # whether its own program can be run. Some containers do not allow it; then the installation must be readable.
    if libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) != 0:
        _check(libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "cannot keep the capabilities")
    os.setgroups([])
    os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
    os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    kept = 1 << CAP_DAC_OVERRIDE
    # Effective, permitted, inheritable: first the low words, then the high ones.
    sets = struct.pack("6I", kept, kept, kept, 0, 0, 0)
    _check(libc.capset(header, sets), "cannot reduce the capabilities")
    _check(
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0),
        "cannot keep file access",
    )


def main() -> None:
    """Prepare this process, then become the program."""
    parent, death_signal, demote, *argv = sys.argv[1:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if demote == "1":
            _demote(libc)
        # After the change of user, because that change clears it.
        _check(
            libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0), "cannot follow the supervisor"
        )
        if os.getppid() != int(parent):  # it ended before the line above
            sys.exit(1)
    elif demote == "1":
        sys.exit("PostgreSQL does not run as root here: start the stack as another user")
    os.execv(argv[0], argv)


main()
