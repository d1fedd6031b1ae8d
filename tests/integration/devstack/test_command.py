"""`python -m svgx_devstack` as `make run` starts it: its lines, its files, its signals, its exit status.

The services are stand-ins here, laid over the real ones by PYTHONPATH: this is about the supervisor.
"""

import os
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

from svgx_devstack import ports

STANDIN = Path(__file__).with_name("standin.py")
ON_TERMINAL = Path(__file__).with_name("on_terminal.py")
SERVICES = ("auth", "collab", "gateway", "state")


class Running:
    """A started supervisor, read line by line."""

    def __init__(self, process: subprocess.Popen[str], home: Path, port: int) -> None:
        self.process = process
        self.home = home
        self.port = port
        self.lines: list[str] = []

    def read_until(self, start: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith(start):
                return line.rstrip("\n")
        pytest.fail(f"ended before {start!r}: {self.lines} {self.end()[1]}")

    def end(self, number: signal.Signals | None = None) -> tuple[int, str]:
        """Send a signal, wait: exit status and standard error."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        self.lines += out.splitlines()
        return self.process.returncode, err

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


Start = Callable[..., AbstractContextManager[Running]]


def lay_over(folder: Path, kinds: dict[str, str]) -> None:
    for service in SERVICES:
        package = folder / f"svgx_{service}"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        arguments = f"['', os.environ['API_PORT'], {kinds.get(service, '')!r}]"
        (package / "__main__.py").write_text(
            f"import os, runpy, sys\nsys.argv = {arguments}\nrunpy.run_path({str(STANDIN)!r})\n"
        )


@pytest.fixture
def start(tmp_path: Path) -> Start:
    @contextmanager
    def run(
        home: Path | None = None, port: int | str | None = None, **kinds: str
    ) -> Iterator[Running]:
        home = home or tmp_path / "home"
        port = port if port is not None else ports.choose()
        services = tmp_path / f"services-{time.monotonic_ns()}"
        lay_over(services, kinds)
        process = subprocess.Popen(
            [sys.executable, "-m", "svgx_devstack"],
            env=dict(os.environ, SVGX_HOME=str(home), API_PORT=str(port), PYTHONPATH=str(services)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                yield Running(process, home, int(port) if str(port).isdigit() else 0)
            finally:
                process.kill()

    return run


def one_line(status_and_error: tuple[int, str]) -> str:
    status, error = status_and_error
    assert status == 2
    assert error.count("\n") == 1, error
    return error.rstrip("\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ready_then_stopped_by_a_signal(start: Start, number: signal.Signals) -> None:
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


def test_ctrl_c_below_make_is_no_error(tmp_path: Path) -> None:
    """Ctrl-C reaches the whole foreground group; make would report it as one."""
    lay_over(tmp_path / "services", {})
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"run:\n\t@exec {sys.executable} -m svgx_devstack\n")
    done = subprocess.run(
        [sys.executable, str(ON_TERMINAL), "make", "-f", str(makefile), "run"],
        env=dict(
            # A make above this test would make the one below it talk of its folders.
            {name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
            SVGX_HOME=str(tmp_path / "home"),
            API_PORT=str(ports.choose()),
            PYTHONPATH=str(tmp_path / "services"),
        ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = done.stdout.split("\n")
    assert lines[-2].strip() == "stopped"
    assert "make" not in lines[-3]
    assert done.returncode == 0


def test_the_second_signal_kills_at_once(start: Start) -> None:
    with start(gateway="deaf") as stack:
        stack.read_until("ready ")
        stack.process.send_signal(signal.SIGINT)
        stack.read_until("stopping")
        began = time.monotonic()
        assert stack.end(signal.SIGINT) == (130, "")
        assert time.monotonic() - began < 10


def test_a_signal_while_it_starts(start: Start) -> None:
    with start() as stack:
        stack.read_until("nats")
        assert stack.end(signal.SIGTERM) == (0, "")
        assert not [line for line in stack.lines if line.startswith("ready")]


def test_a_service_that_dies_is_started_again_and_said_so(start: Start) -> None:
    with start() as stack:
        stack.read_until("ready ")
        collab = next(child for child in stack.children() if "svgx_collab" in child.cmdline())
        collab.kill()
        line = stack.read_until("collab ended")
        assert line == "collab ended (SIGKILL; last line: listening): starts again in 0.25 s"
        assert stack.end(signal.SIGTERM)[0] == 0


def test_a_service_that_cannot_start_ends_the_start(start: Start) -> None:
    with start(state="broken") as stack:
        line = one_line(stack.end())
        assert line.startswith(
            "svgx: state does not start (exit status 7; last line: the setting X is wrong): see "
        )


def test_a_killed_supervisor_leaves_nothing_running_and_the_next_start_works(start: Start) -> None:
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


def test_a_folder_in_use(start: Start) -> None:
    with start() as first:
        first.read_until("ready ")
        with start() as second:
            line = one_line(second.end())
            assert line == (
                f"svgx: {first.home} is in use by another running stack (process {first.process.pid}): "
                "stop that one, or set SVGX_HOME to another folder"
            )
        assert first.end(signal.SIGTERM)[0] == 0


def test_a_taken_port(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with start(port=port) as stack:
            line = one_line(stack.end())
            assert line.startswith(f"svgx: port {port} is taken by another program: stop that one")


@pytest.mark.parametrize("port", ["http", "0", "70000", "-1"])
def test_a_port_that_is_none(start: Start, port: str) -> None:
    with start(port=port) as stack:
        assert one_line(stack.end()) == (
            f"svgx: API_PORT is {port!r}: set it to a number from 1 to 65535"
        )


def test_a_folder_that_cannot_be(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with start(home=tmp_path / "file" / "home") as stack:
        assert one_line(stack.end()) == (
            f"svgx: cannot write to {tmp_path}/file/home (not a directory): "
            "set SVGX_HOME to a folder you can write to"
        )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder(start: Start, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with start(home=tmp_path / "locked" / "home") as stack:
        assert "(permission denied): set SVGX_HOME" in one_line(stack.end())


def test_a_damaged_folder(start: Start, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "stack.json").write_text("{")
    with start() as stack:
        assert "stack.json is damaged" in one_line(stack.end())
