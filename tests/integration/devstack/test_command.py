"""Output, files, signals and exit status of `python -m svgx_devstack`, the command of `make run`.

Fake services replace the real ones through PYTHONPATH, because these tests concern the supervisor only.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import pytest

from svgx_devstack import logfile
from svgx_devstack.ports import is_free
from tests.small_disk import small_disk

FAKE_SERVICE = Path(__file__).with_name("fake_service.py")
PRESS_CTRL_C = Path(__file__).with_name("press_ctrl_c.py")
BLOCK_BYTES = os.sysconf("SC_PAGE_SIZE")
"""The size of a block of a file system in memory."""

SERVICES = ("auth", "collab", "gateway", "state")


class RunningStack:
    """A started supervisor with its output, read line by line."""

    def __init__(self, process: subprocess.Popen[str], home: Path, port: int) -> None:
        self.process = process
        self.home = home
        self.port = port
        self.lines: list[str] = []

    def read_until(self, start: str) -> str:
        """Return the next line that begins with `start`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith(start):
                return line.rstrip("\n")
        pytest.fail(f"ended before {start!r}: {self.lines} {self.end()[1]}")

    def end(self, number: signal.Signals | None = None) -> tuple[int, str]:
        """Send the signal, if there is one. Wait for the end, and return the exit status and standard error."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        self.lines += out.splitlines()
        return self.process.returncode, err

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def free_port() -> int:
    """Return a free port below the ports that stacks choose, so that no other stack takes it before its use."""
    return next(port for port in iter(lambda: random.randrange(10_000, 20_000), 0) if is_free(port))


Start = Callable[..., AbstractContextManager[RunningStack]]


def write_fake_services(folder: Path, kinds: dict[str, str]) -> None:
    """Write a package for each service, which runs `fake_service.py` with the service's entry in `kinds`."""
    for service in SERVICES:
        package = folder / f"svgx_{service}"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        arguments = f"['', os.environ['API_PORT'], {kinds.get(service, '')!r}]"
        (package / "__main__.py").write_text(
            f"import os, runpy, sys\nsys.argv = {arguments}\nrunpy.run_path({str(FAKE_SERVICE)!r})\n"
        )


@pytest.fixture
def start(tmp_path: Path) -> Start:
    @contextmanager
    def run(
        home: Path | None = None,
        port: int | str | None = None,
        variables: dict[str, str] | None = None,
        command: tuple[str, ...] = ("-m", "svgx_devstack"),
        **kinds: str,
    ) -> Iterator[RunningStack]:
        home = home or tmp_path / "home"
        port = port if port is not None else free_port()
        services = tmp_path / f"services-{time.monotonic_ns()}"
        write_fake_services(services, kinds)
        process = subprocess.Popen(
            [sys.executable, *command],
            env={
                **os.environ,
                "SVGX_HOME": str(home),
                "API_PORT": str(port),
                "PYTHONPATH": str(services),
                **(variables or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                yield RunningStack(process, home, int(port) if str(port).isdigit() else 0)
            finally:
                process.kill()

    return run


def start_error(status_and_error: tuple[int, str]) -> str:
    """Return the only line on standard error, after a failed start."""
    status, error = status_and_error
    assert status == 2
    assert error.count("\n") == 1, error
    return error.rstrip("\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_to_a_ready_stack_stops_all_processes(start: Start, number: signal.Signals) -> None:
    with start() as stack:
        assert stack.read_until("ready ") == f"ready http://localhost:{stack.port}"
        dev_env = stack.home / "dev.env"
        assert dev_env.stat().st_mode & 0o777 == 0o600
        values = dict(line.split("=", 1) for line in dev_env.read_text().splitlines())
        assert values["SVGX_URL"] == f"http://localhost:{stack.port}"
        assert values["SVGX_ADMIN_USERNAME"] == "admin"
        assert any(values["SVGX_ADMIN_PASSWORD"] in line for line in stack.lines)
        children = stack.children()
        assert stack.end(number) == (0, "")
        assert stack.lines[-1] == "stopped"
        assert not [child for child in children if child.is_running()]


def test_ctrl_c_in_make_ends_with_status_0(tmp_path: Path) -> None:
    """The stack makes itself the terminal's foreground group. So Ctrl-C does not reach make, which reports no error."""
    write_fake_services(tmp_path / "services", {})
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"run:\n\t@exec {sys.executable} -m svgx_devstack\n")
    done = subprocess.run(
        [sys.executable, str(PRESS_CTRL_C), "make", "-f", str(makefile), "run"],
        env=dict(
            # With the variables of an outer make, the inner make would print its folders.
            {name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
            SVGX_HOME=str(tmp_path / "home"),
            API_PORT=str(free_port()),
            PYTHONPATH=str(tmp_path / "services"),
        ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = done.stdout.split("\n")
    assert lines[-2].strip() == "stopped", done.stdout
    assert "make" not in lines[-3]
    assert done.returncode == 0


def test_closed_terminal_stops_all_processes(tmp_path: Path) -> None:
    """The stack cannot print any more then, and still stops in order. Its exit status is 0."""
    write_fake_services(tmp_path / "services", {})
    done = subprocess.run(
        [sys.executable, str(PRESS_CTRL_C), "--close", sys.executable, "-m", "svgx_devstack"],
        env={
            **os.environ,
            "SVGX_HOME": str(tmp_path / "home"),
            "API_PORT": str(free_port()),
            "PYTHONPATH": str(tmp_path / "services"),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_second_signal_kills_all_processes(start: Start) -> None:
    """A repetition within some time counts as the first signal, because make passes a group's signal on.

    The time is longer here than half a second, because the stack may handle the repetition late.
    """
    main = "import sys; from svgx_devstack import __main__ as m; m._REPEAT_SECONDS = 2.0; sys.exit(m.main())"
    with start(command=("-c", main), gateway="deaf") as stack:
        stack.read_until("ready ")
        children = stack.children()
        stack.process.send_signal(signal.SIGINT)
        stack.read_until("stopping")
        stack.process.send_signal(signal.SIGINT)
        deaf = next(child for child in children if "svgx_gateway" in child.cmdline())
        _, alive = psutil.wait_procs([deaf], timeout=2.2)
        assert alive == [deaf]
        started = time.monotonic()
        assert stack.end(signal.SIGINT) == (130, "")
        assert time.monotonic() - started < 20
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive


def test_signal_during_the_start_stops_the_stack(start: Start) -> None:
    with start() as stack:
        stack.read_until("nats")
        assert stack.end(signal.SIGTERM) == (0, "")
        assert not [line for line in stack.lines if line.startswith("ready")]


def test_killed_service_is_reported_with_the_delay_of_its_restart(start: Start) -> None:
    with start() as stack:
        stack.read_until("ready ")
        collab = next(child for child in stack.children() if "svgx_collab" in child.cmdline())
        collab.kill()
        line = stack.read_until("collab ended")
        assert line == "collab ended (SIGKILL; last line: listening): starts again in 0.25 s"
        assert stack.end(signal.SIGTERM)[0] == 0


def test_full_disk_of_the_logs_is_reported_and_the_stack_keeps_running(
    start: Start, tmp_path: Path
) -> None:
    """The log is a sparse file, so the disk gets full only when the rotation copies it."""
    logs = tmp_path / "home" / "logs"
    with small_disk(logs, "1m"), start(home=logs.parent) as stack:
        stack.read_until("ready ")
        os.truncate(logs / "collab.log", logfile.MAX_LOG_BYTES + 1)
        line = stack.read_until("collab: ")
        assert line == f"collab: cannot rotate {logs}/collab.log (no space left on device)"
        assert stack.end(signal.SIGTERM) == (0, "")


@pytest.mark.parametrize("mib", [8, 20, 30, 40])
def test_full_disk_at_the_first_start_ends_with_its_reason(
    start: Start, tmp_path: Path, mib: int
) -> None:
    """The disk is full in different steps of `initdb`, or when the database is created."""
    home = tmp_path / "home"
    with small_disk(home, f"{mib}m"), start(home=home) as stack:
        line = start_error(stack.end())
    assert line.startswith("svgx: cannot create the database")
    assert line.endswith(": No space left on device")


@pytest.mark.parametrize("blocks", range(10))
def test_disk_with_few_free_blocks_ends_with_status_2(
    start: Start, tmp_path: Path, blocks: int
) -> None:
    """The disk is full at one of the stack's first files: `lock`, the configurations, or a process's id."""
    home = tmp_path / "home"
    with small_disk(home, "1m"):
        with contextlib.suppress(OSError), (home / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(BLOCK_BYTES)):
                pass
        os.truncate(home / "filler", (home / "filler").stat().st_size - blocks * BLOCK_BYTES)
        with start(home=home) as stack:
            line = start_error(stack.end())
    assert str(home) in line
    assert "no space left on device" in line.lower()


def test_failing_service_ends_the_start_with_status_2(start: Start) -> None:
    with start(state="broken") as stack:
        line = start_error(stack.end())
        assert line.startswith(
            "svgx: state does not start (exit status 7; last line: the setting X is wrong): see "
        )


def test_killed_supervisor_leaves_no_process_and_can_be_started_again(start: Start) -> None:
    with start() as stack:
        stack.read_until("ready ")
        children = stack.children()
        assert len(children) > 6
        stack.process.kill()
        if sys.platform == "linux":
            _, alive = psutil.wait_procs(children, timeout=10)
            assert not alive
    with start(port=stack.port) as again:
        assert again.read_until("ready ") == f"ready http://localhost:{stack.port}"
        assert again.end(signal.SIGTERM) == (0, "")


def test_folder_in_use_ends_with_status_2(start: Start) -> None:
    with start() as first:
        first.read_until("ready ")
        with start() as second:
            line = start_error(second.end())
            assert line == (
                f"svgx: {first.home} is in use by another running stack (process {first.process.pid}): "
                "stop that stack, or set SVGX_HOME to another folder"
            )
        assert first.end(signal.SIGTERM)[0] == 0


def test_taken_port_ends_with_status_2(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with start(port=port) as stack:
            line = start_error(stack.end())
            assert line.startswith(
                f"svgx: port {port} is taken by another program or stack: stop it"
            )


def test_port_of_a_starting_stack_ends_with_status_2(start: Start) -> None:
    """The first stack claims its port long before its gateway listens."""
    with start() as first:
        first.read_until("nats")
        with start(home=first.home.with_name("other"), port=first.port) as second:
            line = start_error(second.end())
        assert line.startswith(f"svgx: port {first.port} is taken by another program or stack: ")
        assert first.read_until("ready ") == f"ready http://localhost:{first.port}"
        assert first.end(signal.SIGTERM) == (0, "")


FOREIGN_VARIABLES = {
    "PGSSLMODE": "require",
    "PGTARGETSESSIONATTRS": "standby",
    "PGPORT": "not a number",
    "PGDATA": "/nonexistent",
    "NATS_NKEY_SEED": "not a seed",
}
"""Variables in a user's shell that belong to other servers."""


def test_variables_of_other_servers_do_not_reach_the_stack(start: Start) -> None:
    """The stack connects to its own servers only, and the services do not inherit the variables."""
    with start(variables=FOREIGN_VARIABLES) as stack:
        assert stack.read_until("ready ") == f"ready http://localhost:{stack.port}"
        state = next(child for child in stack.children() if "svgx_state" in child.cmdline())
        assert not FOREIGN_VARIABLES.keys() & state.environ().keys()
        assert stack.end(signal.SIGTERM) == (0, "")


@pytest.mark.parametrize("port", ["http", "0", "70000", "-1"])
def test_invalid_port_ends_with_status_2(start: Start, port: str) -> None:
    with start(port=port) as stack:
        assert start_error(stack.end()) == (
            f"svgx: API_PORT is {port!r}: set it to a number from 1 to 65535"
        )


def test_impossible_folder_ends_with_status_2(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with start(home=tmp_path / "file" / "home") as stack:
        assert start_error(stack.end()) == (
            f"svgx: cannot write to {tmp_path}/file/home (not a directory): "
            "set SVGX_HOME to a folder you can write to"
        )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder_ends_with_status_2(start: Start, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with start(home=tmp_path / "locked" / "home") as stack:
        assert "(permission denied): set SVGX_HOME" in start_error(stack.end())


def test_damaged_stack_file_ends_with_status_2(start: Start, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "stack.json").write_text("{")
    with start() as stack:
        assert "stack.json is damaged" in start_error(stack.end())
