"""Replace this process with a program that ends when its supervisor ends.

This file is run, not imported: `python -I -S launch.py PARENT_PID DEATH_SIGNAL DEMOTE PROGRAM ARGUMENT...`

The process keeps its id, so the program itself is the supervisor's child. On Linux the kernel sends DEATH_SIGNAL when
the supervisor ends, even after SIGKILL. Other systems have no death signal. There, a killed supervisor leaves the
servers running, and the next start kills them by their stored ids (`orphans.py`).

With DEMOTE `1` the program runs as `nobody`, because PostgreSQL refuses to run as root. The program keeps the
capability to access files regardless of their mode. So a data folder or an installation below a private folder, such
as root's home, works without wider permissions.
"""

import ctypes
import os
import pwd
import struct
import sys

# Constants of linux/prctl.h, linux/securebits.h and linux/capability.h.
PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def _check(result: int, problem: str) -> None:
    if result != 0:
        sys.exit(f"{problem}: {os.strerror(ctypes.get_errno())}")


def _demote(libc: ctypes.CDLL) -> None:
    nobody = pwd.getpwnam("nobody")
    # Without this bit access(2) ignores the capabilities of a process that is not root, and PostgreSQL calls access(2)
    # on its own program. Some containers forbid this bit; the installation must then be readable for all users.
    if libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) != 0:
        _check(libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "cannot keep the capabilities")
    os.setgroups([])
    os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
    os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    kept_capability = 1 << CAP_DAC_OVERRIDE
    # Effective, permitted and inheritable set: first the low words, then the high words.
    sets = struct.pack("6I", kept_capability, kept_capability, kept_capability, 0, 0, 0)
    _check(libc.capset(header, sets), "cannot reduce the capabilities")
    _check(
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0),
        "cannot keep file access",
    )


def main() -> None:
    """Prepare this process, then replace it with the program."""
    parent, death_signal, demote, *argv = sys.argv[1:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if demote == "1":
            _demote(libc)
        # Request the signal after the change of user, because the change of user clears the death signal.
        _check(
            libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0),
            "cannot request a signal for the supervisor's end",
        )
        if os.getppid() != int(parent):  # the supervisor ended before the call above
            sys.exit(1)
    elif demote == "1":
        sys.exit("PostgreSQL does not run as root here: start the stack as another user")
    os.execv(argv[0], argv)


main()
