"""Start, watch, restart and stop one process."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from svgx_devstack import logfile, orphans
from svgx_devstack.errors import StackError
from svgx_devstack.program import Program

Report = Callable[[str], None]
"""A function that receives one line for the user."""

LAUNCH = str(Path(__file__).with_name("launch.py"))

_POLL_SECONDS = 0.03
"""Seconds between two readiness tests."""

FIRST_DELAY_SECONDS = 0.25
"""Seconds before the first restart; each further delay is twice as long."""

MAX_DELAY_SECONDS = 10.0
"""Maximum delay before a restart, in seconds."""

_STEADY_SECONDS = 20.0
"""When a process has run for more than this time, in seconds, its next restart has the first delay again."""


def log_report(line: str) -> None:
    """Log a line. This is the default `Report` function."""
    logging.getLogger("svgx_devstack").info(line)


def describe(status: int) -> str:
    """Return an exit status as text: `exit status 3`, `SIGKILL`."""
    return f"exit status {status}" if status >= 0 else signal.Signals(-status).name


class Process:
    """A program, and its process while the program runs.

    While `restart` is true, a process that ends by itself or is killed is started again. The first delay is 0.25 s.
    Each further delay is twice as long, up to 10 s. To keep the process down, set `restart` to False before `kill()`.
    `start()` then starts the process again.
    """

    def __init__(self, program: Program, report: Report = log_report) -> None:
        self.name = program.name
        self.log_path = program.log_path
        self.restart = True
        self.restarts = 0
        self.exits = 0
        self._program = program
        self._report = report
        self._child: asyncio.subprocess.Process | None = None
        self._killed_child: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._should_run = False
        self._log_limit = logfile.MAX_LOG_BYTES

    @property
    def pid(self) -> int | None:
        """The process id, or None while the process does not run."""
        return self._child.pid if self.alive and self._child is not None else None

    @property
    def alive(self) -> bool:
        """True while the process runs, also while it is paused. False as soon as `kill()` was called."""
        child = self._child
        return child is not None and child.returncode is None and child is not self._killed_child

    @property
    def status(self) -> int:
        """The exit status, or the negative number of the signal that ended the process. 0 while the process runs."""
        return (self._child.returncode or 0) if self._child is not None else 0

    async def start(self) -> None:
        """Start the process unless it runs, without waiting until it is ready."""
        self._should_run = True
        if self.alive:
            return
        await self.wait_dead()
        await self._end_watch()
        await self._spawn()
        self._watch = asyncio.create_task(self._supervise(), name=f"watch {self.name}")

    async def stop(self) -> int:
        """Stop the process for good, and return its exit status. Kill the process after the program's stop timeout."""
        self._should_run = False
        child = self._child
        if child is not None and child.returncode is None:
            self._send_stop_signal(child)
            self.resume()  # a paused process does not act on the signal
            try:
                await asyncio.wait_for(child.wait(), self._program.stop_timeout)
            except TimeoutError:
                self._report(
                    f"{self.name} did not stop within {self._program.stop_timeout:.0f} s: killed"
                )
                self.kill()
                await child.wait()
        await self._end_watch()
        return self.status

    def kill(self) -> None:
        """Send SIGKILL to the process and all its descendants."""
        for process in self._tree():
            _send(process, signal.SIGKILL)
        self._killed_child = self._child

    def pause(self) -> None:
        """Send SIGSTOP to the process and all its descendants."""
        for process in self._tree():
            _send(process, signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT to the process and all its descendants."""
        for process in self._tree():
            _send(process, signal.SIGCONT)

    async def wait_ready(self, timeout: float = 30.0, *, max_exits: int | None = None) -> None:
        """Wait until the process is ready.

        Raises `TimeoutError` after `timeout` seconds. Raises `StackError` when the process has ended without a restart,
        or has ended more than `max_exits` times.
        """
        deadline = time.monotonic() + timeout
        while True:
            if self.alive and await self._program.ready() and self.alive:
                return
            is_down = not self.alive and (self._watch is None or self._watch.done())
            if is_down or (max_exits is not None and self.exits > max_exits):
                raise StackError(
                    f"{self.name} does not start ({self.exit_summary()}): see {self.log_path}"
                )
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self.name} is not ready after {timeout:.0f} s: see {self.log_path}"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def wait_dead(self, timeout: float = 30.0) -> int:
        """Wait until the process has ended, and return its exit status."""
        child = self._child
        if child is not None:
            await asyncio.wait_for(child.wait(), timeout)
        return self.status

    def rotate_log(self) -> None:
        """Rotate the log if it is too long. Report a failure; the next attempt follows when the log is longer still."""
        try:
            logfile.rotate(self.log_path, self._log_limit)
            self._log_limit = logfile.MAX_LOG_BYTES
        except OSError as error:
            self._log_limit += logfile.MAX_LOG_BYTES
            reason = (error.strerror or str(error)).lower()
            self._report(f"{self.name}: cannot rotate {self.log_path} ({reason})")

    def exit_summary(self) -> str:
        """Return the exit status and the last line of the log, on one line."""
        line = logfile.last_line(self.log_path)
        return f"{describe(self.status)}; last line: {line}" if line else describe(self.status)

    def _send_stop_signal(self, child: asyncio.subprocess.Process) -> None:
        # `child.send_signal()` would reap a child that has just ended, and the loop would miss the exit status.
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, self._program.stop_signal)

    async def _spawn(self) -> None:
        """Start the program through `launch.py`, and store its process id."""
        program = self._program
        program.before_start()
        self.rotate_log()
        demote = program.not_as_root and os.geteuid() == 0
        with (
            program.input_path.open("rb") as given,
            logfile.open_log(self.log_path) as output,
        ):
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", LAUNCH),
                *(str(os.getpid()), str(int(program.death_signal)), "1" if demote else "0"),
                *program.argv,
                env=program.env,
                stdin=given,
                stdout=output,
                stderr=output,
                # Ctrl-C reaches a whole process group, and only the supervisor may act on it.
                start_new_session=True,
            )
        orphans.record(program.pid_path, self._child.pid)

    async def _supervise(self) -> None:
        """Start the program again, after a delay, each time it ends and may be restarted."""
        delay = FIRST_DELAY_SECONDS
        while self._child is not None:
            started = time.monotonic()
            await self._child.wait()
            self.exits += 1
            if not self._may_restart():
                if self._should_run:
                    self._report(
                        f"{self.name} ended ({describe(self.status)}) and is not restarted"
                    )
                return
            if time.monotonic() - started > _STEADY_SECONDS:
                delay = FIRST_DELAY_SECONDS
            self._report(
                f"{self.name} ended ({self.exit_summary()}): starts again in {delay:.2g} s"
            )
            await asyncio.sleep(delay)
            delay = min(delay * 2, MAX_DELAY_SECONDS)
            if not self._may_restart():
                return
            self.restarts += 1
            try:
                await self._spawn()
            except OSError as error:  # out of memory or descriptors; a later attempt may succeed
                self._report(f"{self.name} cannot be started: {error}")

    def _may_restart(self) -> bool:
        return self._should_run and self.restart

    async def _end_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    def _tree(self) -> list[psutil.Process]:
        if self.pid is None:
            return []
        try:
            return orphans.tree(psutil.Process(self.pid))
        except psutil.NoSuchProcess:
            return []


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
