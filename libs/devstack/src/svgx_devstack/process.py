"""One supervised process: started, watched, started again with back-off, stopped."""

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

from svgx_devstack import leftovers, logfile
from svgx_devstack.errors import StackError
from svgx_devstack.program import Program

Report = Callable[[str], None]

LAUNCH = str(Path(__file__).with_name("launch.py"))
_POLL = 0.03
FIRST_DELAY = 0.25
LONGEST_DELAY = 10.0
# A process that lived this long starts again without a longer wait.
_STEADY = 20.0


def log_report(line: str) -> None:
    """The report of those who do not ask for one."""
    logging.getLogger("svgx_devstack").info(line)


def describe(status: int) -> str:
    """An exit status in words: `exit status 3`, `SIGKILL`."""
    return f"exit status {status}" if status >= 0 else signal.Signals(-status).name


class Process:
    """A program and, most of the time, its running process.

    While `restart` is true a process that ends by itself (or is killed) is started again: after 0.25 s, then twice
    as long each time up to 10 s. Set `restart` to False before `kill()` to hold it down, and call `start()` to bring
    it back.
    """

    def __init__(self, program: Program, report: Report = log_report) -> None:
        self.name = program.name
        self.log_path = program.log_path
        self.restart = True
        self.restarts = 0
        self.deaths = 0
        self._program = program
        self._report = report
        self._child: asyncio.subprocess.Process | None = None
        self._killed: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._wanted = False

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._child.pid if self.alive and self._child is not None else None

    @property
    def alive(self) -> bool:
        """Whether it runs now (paused counts). False from the moment of `kill()`."""
        child = self._child
        return child is not None and child.returncode is None and child is not self._killed

    @property
    def status(self) -> int:
        """The exit status of the last run; a negative one is the signal that ended it. 0 before the first end."""
        return (self._child.returncode or 0) if self._child is not None else 0

    async def start(self) -> None:
        """Start it unless it runs. Does not wait until it is ready."""
        self._wanted = True
        if self.alive:
            return
        await self.wait_dead()
        await self._end_watch()
        await self._spawn()
        self._watch = asyncio.create_task(self._supervise(), name=f"watch {self.name}")

    async def stop(self) -> int:
        """Ask it to end and wait; kill it when it takes too long. Returns the exit status; not restarted."""
        self._wanted = False
        child = self._child
        if child is not None and child.returncode is None:
            self._ask_to_end(child)
            self.resume()  # a paused process would not act on it
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
        """SIGKILL to the process and everything it started."""
        for process in self._tree():
            _send(process, signal.SIGKILL)
        self._killed = self._child

    def pause(self) -> None:
        """SIGSTOP to the process and everything it started: alive, but silent."""
        for process in self._tree():
            _send(process, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: the end of a pause."""
        for process in self._tree():
            _send(process, signal.SIGCONT)

    async def wait_ready(self, timeout: float = 30.0, *, most_deaths: int | None = None) -> None:
        """Wait until it is ready.

        Raises TimeoutError after `timeout` seconds, and StackError when it is down for good or has ended more than
        `most_deaths` times.
        """
        until = time.monotonic() + timeout
        while True:
            if self.alive and await self._program.ready() and self.alive:
                return
            gone = not self.alive and (self._watch is None or self._watch.done())
            if gone or (most_deaths is not None and self.deaths > most_deaths):
                raise StackError(
                    f"{self.name} does not start ({self.last_words()}): see {self.log_path}"
                )
            if time.monotonic() > until:
                raise TimeoutError(
                    f"{self.name} is not ready after {timeout:.0f} s: see {self.log_path}"
                )
            await asyncio.sleep(_POLL)

    async def wait_dead(self, timeout: float = 30.0) -> int:
        """Wait until the present process has ended, and return its status."""
        child = self._child
        if child is not None:
            await asyncio.wait_for(child.wait(), timeout)
        return self.status

    def last_words(self) -> str:
        """How it ended and the last line of its log, on one line."""
        line = logfile.last_line(self.log_path)
        return f"{describe(self.status)}; last line: {line}" if line else describe(self.status)

    def _ask_to_end(self, child: asyncio.subprocess.Process) -> None:
        # Not `child.send_signal()`: it reaps a child that has just ended, and the loop then misses its exit status.
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, self._program.stop_signal)

    async def _spawn(self) -> None:
        program = self._program
        program.before_start()
        logfile.rotate(self.log_path)
        output = logfile.open_log(self.log_path)
        demote = program.not_as_root and os.geteuid() == 0
        try:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", LAUNCH),
                *(str(os.getpid()), str(int(program.death_signal)), "1" if demote else "0"),
                *program.argv,
                env=program.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C reaches a whole process group: only the supervisor may act on it.
                start_new_session=True,
            )
        finally:
            os.close(output)
        leftovers.remember(program.pid_path, self._child.pid)

    async def _supervise(self) -> None:
        delay = FIRST_DELAY
        while self._child is not None:
            started = time.monotonic()
            await self._child.wait()
            self.deaths += 1
            if not self._may_restart():
                if self._wanted:
                    self._report(f"{self.name} ended ({describe(self.status)}) and is held down")
                return
            if time.monotonic() - started > _STEADY:
                delay = FIRST_DELAY
            self._report(f"{self.name} ended ({self.last_words()}): starts again in {delay:.2g} s")
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY)
            if not self._may_restart():
                return
            self.restarts += 1
            try:
                await self._spawn()
            except OSError as error:  # out of memory or descriptors: later, perhaps
                self._report(f"{self.name} cannot be started: {error}")

    def _may_restart(self) -> bool:
        return self._wanted and self.restart

    async def _end_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    def _tree(self) -> list[psutil.Process]:
        if self.pid is None:
            return []
        try:
            return leftovers.tree(psutil.Process(self.pid))
        except psutil.NoSuchProcess:
            return []


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
