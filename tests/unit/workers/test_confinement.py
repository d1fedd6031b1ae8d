"""A worker process has no environment, and reaches neither the network nor other processes. Proves R-SVG-7.

A worker process can read modules, libraries, fonts, two devices and its own folder in `/proc`, but no other file.
"""

import json
import os
import subprocess
import sys

import psutil
import pytest

from svgx_workers.confinement import PARTS
from svgx_workers.pool import Workers
from svgx_workers.seccomp import filter_program

SECRET = "postgresql://svgx:hunter2@db/svgx"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has the parts of the confinement"
)


async def test_worker_has_no_environment_and_runs_confined(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets of the service are not in the worker's environment, arguments, folder or open files."""
    monkeypatch.setenv("POSTGRES_URL", SECRET)
    with open("/dev/zero", "rb") as opened:  # noqa: PTH123, ASYNC230 - a file that the service has open
        os.set_inheritable(opened.fileno(), True)
        async with Workers(1, 1024**3, 30) as workers:
            process = workers._children[0]._process
            assert process is not None
            child = psutil.Process(process.pid)
            assert child.environ() == {}
            assert SECRET not in " ".join(child.cmdline())
            assert child.cwd() == "/"
            assert child.open_files() == []
            assert child.net_connections() == []
            with open(f"/proc/{child.pid}/status") as status:  # noqa: PTH123, ASYNC230
                lines = dict(line.rstrip().partition(":\t")[::2] for line in status)
            assert lines["NoNewPrivs"] == "1"
            assert lines["Seccomp"].strip() == "2"
            limits = {
                psutil.RLIMIT_CORE: 0,
                psutil.RLIMIT_FSIZE: 0,
                psutil.RLIMIT_NOFILE: 256,
                psutil.RLIMIT_AS: 1024**3,
            }
            assert {each: child.rlimit(each) for each in limits} == {
                each: (value, value) for each, value in limits.items()
            }


async def test_pool_shows_which_parts_of_the_confinement_its_workers_have() -> None:
    """The pool shows a part as present only if all workers report it at their start. Proves R-SVG-7."""
    async with Workers(2, 1024**3, 30) as workers:
        first, second = workers._children
        assert first.confinement_parts == second.confinement_parts
        assert {"no_new_privs", "seccomp"} <= first.confinement_parts <= set(PARTS)
        second.confinement_parts -= {"seccomp"}
        confined = {part: part in second.confinement_parts for part in PARTS}
        assert confined["no_new_privs"]
        assert not confined["seccomp"]
        assert workers.confinement() == confined
        assert workers.details() == {
            "confined": confined,
            "size": 2,
            "running": 0,
            "waiting": 0,
        }


_SCRIPT = """
import fcntl, json, os, resource, signal, socket, subprocess, sys, threading
from svgx_canvas import import_svg, render_png
from svgx_workers.confinement import confine

parent, written, pipe = os.getppid(), sys.argv[1], os.pipe()
def thread():
    started = threading.Thread(target=lambda: None)
    started.start()
    started.join()
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text y="9">a</text></svg>'
attempts = {
    "environment of the service": lambda: open(f"/proc/{parent}/environ", "rb").read(),
    "memory of the service": lambda: open(f"/proc/{parent}/mem", "rb").read(1),
    "limits of the service": lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE),
    "signal to the service": lambda: os.kill(parent, 0),
    "accounts of the system": lambda: open("/etc/passwd").read(),
    "file of the user": lambda: open(written).read(),
    "folder of the user": lambda: os.listdir(os.path.dirname(written)),
    "writing": lambda: open(written, "w"),
    "appending": lambda: os.open(written, os.O_WRONLY | os.O_APPEND),
    "creating": lambda: os.open(written + "2", os.O_CREAT),
    "deleting": lambda: os.unlink(written),
    "renaming": lambda: os.rename(written, written + "2"),
    "linking": lambda: os.symlink(written, written + "2"),
    "folder": lambda: os.mkdir(written + "2"),
    "mode": lambda: os.chmod(written, 0o777),
    "mode with flags": lambda: checked(libc.syscall(452, -100, written.encode(), 0o777, 0)),  # fchmodat2
    "times": lambda: os.utime(written),
    "extended attribute": lambda: os.setxattr(written, "user.a", b"x"),
    "internet socket": socket.socket,
    "unix socket": lambda: socket.socket(socket.AF_UNIX),
    "socket pair": socket.socketpair,
    "program": lambda: subprocess.run(["/bin/true"]),
    "process": os.fork,
    "spawned process": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "tracing": lambda: trace(),
    "namespace": lambda: unshare(),
    "priority of the service": lambda: os.setpriority(os.PRIO_PROCESS, parent, 19),
    "priority of the group": lambda: os.setpriority(os.PRIO_PGRP, 0, 19),
    "priority of the user": lambda: os.setpriority(os.PRIO_USER, 0, 19),
    "own priority": lambda: os.nice(1),
    "scheduler of the service": lambda: os.sched_setscheduler(parent, os.SCHED_IDLE, os.sched_param(0)),
    "processors of the service": lambda: os.sched_setaffinity(parent, {0}),
    "receiver of a signal": lambda: fcntl.fcntl(pipe[0], fcntl.F_SETOWN, parent),
    "group that receives a signal": lambda: fcntl.ioctl(pipe[0], 0x8901, b"\\0" * 8),  # FIOSETOWN
    "signal of a file": lambda: fcntl.fcntl(pipe[0], 10, signal.SIGKILL),  # F_SETSIG
    "shared memory": lambda: created(libc.shmget(0x5347, 4096, 0o1600)),
    "message queue": lambda: created(libc.msgget(0x5347, 0o1600)),
    "flags of a file": lambda: fcntl.fcntl(pipe[0], fcntl.F_SETFL, os.O_NONBLOCK),
    "higher limit": lambda: resource.setrlimit(resource.RLIMIT_CORE, (1, 1)),
    "thread": thread,
    "fonts": lambda: os.listdir("/usr/share"),
    "own memory": lambda: open("/proc/self/statm").read(),
    "own limit": lambda: resource.setrlimit(resource.RLIMIT_CPU, (60, resource.RLIM_INFINITY)),
    "import": lambda: import_svg(SVG, None),
    "render": lambda: render_png(SVG),
}
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def checked(result):
    if result != 0:
        raise PermissionError(ctypes.get_errno())
def created(identifier):
    if identifier < 0:
        raise PermissionError(ctypes.get_errno())
def trace():
    checked(libc.ptrace(16, parent, None, None))  # PTRACE_ATTACH
def unshare():
    checked(libc.unshare(0x10000000))  # CLONE_NEWUSER
def outcome(attempt):
    try:
        attempt()
    except (PermissionError, ValueError):
        return "refused"
    except BaseException as error:
        return repr(error)
    return "allowed"
results = {"parts": confine(0)}
results |= {name: outcome(attempt) for name, attempt in attempts.items()}
print(json.dumps(results), flush=True)
os.abort()
"""
_ALLOWED = {
    "thread",
    "own priority",
    "flags of a file",
    "fonts",
    "own memory",
    "own limit",
    "import",
    "render",
}


def test_code_in_a_worker_reaches_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Code in a confined process can do its jobs, and reach fonts and its own process, but nothing else."""
    written = tmp_path_factory.mktemp("user") / "file"
    written.write_text("x")
    done = subprocess.run(
        [sys.executable, "-I", "-c", _SCRIPT, str(written)],
        capture_output=True,
        check=False,
        timeout=60,
    )
    results = json.loads(done.stdout)
    parts = results.pop("parts")
    assert {"no_new_privs", "seccomp"} <= set(parts)
    if "landlock" not in parts:  # a kernel before 5.13, or one without Landlock
        for name in ("accounts of the system", "file of the user", "folder of the user"):
            del results[name]
        del results["environment of the service"], results["memory of the service"]
    expected = {name: "allowed" if name in _ALLOWED else "refused" for name in results}
    assert results == expected
    assert done.returncode == -6  # the process can still abort
    assert written.read_text() == "x"
    assert [each.name for each in written.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_filter_program_is_valid(machine: str) -> None:
    """Every jump stays inside the program, and every path ends with a decision."""
    program = filter_program(machine, 123)
    assert program is not None
    assert program[-1][0] == 0x06
    for index, (code, if_true, if_false, _) in enumerate(program):
        if code & 0x07 == 0x05:
            assert index + 1 + max(if_true, if_false) < len(program)


def test_unknown_architecture_has_no_filter() -> None:
    """For an unknown architecture, `filter_program` returns None. The other parts of the confinement still apply."""
    assert filter_program("sparc", 1) is None
