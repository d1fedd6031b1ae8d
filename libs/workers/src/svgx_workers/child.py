"""A child process of the pool, and the frames between the pool and the process."""

import asyncio
import contextlib
import math
import os
import sys
import time

from svgx_workers.errors import WorkerDied, WorkerError, WorkerUnavailable
from svgx_workers.frames import PREFIX, Frame, decode, decode_prefix, encode

ENVIRONMENT: dict[str, str] = {}
"""The environment of a child. It is empty, because the service's own environment has passwords."""

LOW_PRIORITY = 5
"""The niceness of a process with a slow job. Linux then gives the process a third of the CPU time that a process with
normal priority gets. With a higher number, the process would get hardly any CPU time on a busy machine."""


class Child:
    """A child process of the pool. If the process has ended, the next job starts it again.

    memory_bytes, timeout_seconds: the limits that the process sets for itself (see `svgx_workers.worker`).
    """

    def __init__(self, memory_bytes: int, timeout_seconds: float) -> None:
        self._arguments = [str(memory_bytes), str(math.ceil(timeout_seconds))]
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._closed = False
        self.confinement_parts: frozenset[str] = frozenset()
        """The parts of the confinement (see `confinement.PARTS`) that the process reported at its last start."""

    @property
    def is_running(self) -> bool:
        """Whether the process runs and takes jobs, as far as the service knows."""
        return (
            self._process is not None
            and self._process.returncode is None
            and not self._starting.locked()
        )

    async def start(self) -> None:
        """Start the process unless it runs, and wait until it takes jobs.

        Raises `WorkerUnavailable` if it does not start.
        """
        async with self._starting:
            if self._process is not None and self._process.returncode is None:
                return
            await self.kill()  # discards a process that ended while it had no job
            await self._start()

    async def _start(self) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",  # no environment variables, no current folder, no packages of the user
                "-m",
                "svgx_workers.worker",
                *self._arguments,
                str(os.getpid()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                # Drop standard error: a Rust panic prints lines to it that lack the format of the service's log. A
                # job's result contains the job's error.
                stderr=asyncio.subprocess.DEVNULL,
                limit=1024 * 1024,
                env=ENVIRONMENT,
                cwd="/",
            )
        except OSError as error:
            raise WorkerUnavailable(f"no process can be started: {error.strerror}") from None
        self._process = process
        if self._closed:
            await self.kill()
            raise WorkerUnavailable("the workers are closed")
        try:
            ready = await self._read_result(process)
        except WorkerDied as error:
            raise WorkerUnavailable(str(error)) from None
        parts = ready.values["confined"]
        assert isinstance(parts, list)
        self.confinement_parts = frozenset(parts)

    async def run(self, job: Frame) -> Frame:
        """Return the result of a job. Raises `WorkerDied` and `WorkerUnavailable`."""
        if not self.is_running:
            await self.start()
        process = self._process
        if process is None:
            raise WorkerUnavailable("the workers are closed")
        assert process.stdin is not None
        try:
            for part in encode(job):
                process.stdin.write(part)
            await process.stdin.drain()
        except ConnectionError:
            raise await self._exit_error(process) from None
        return await self._read_result(process)

    async def _read_result(self, process: asyncio.subprocess.Process) -> Frame:
        assert process.stdout is not None
        try:
            head_length, body_length = decode_prefix(await process.stdout.readexactly(PREFIX.size))
            return decode(
                await process.stdout.readexactly(head_length),
                await process.stdout.readexactly(body_length),
            )
        except (asyncio.IncompleteReadError, ConnectionError):
            raise await self._exit_error(process) from None

    async def _exit_error(self, process: asyncio.subprocess.Process) -> WorkerError:
        """Return the error for a process that has ended."""
        reason = await _exit_reason(process)
        return WorkerUnavailable("the workers are closed") if self._closed else WorkerDied(reason)

    def cpu_seconds(self) -> float:
        """Return the CPU time of the process in seconds, or 0 if the system does not provide it."""
        if self._process is None or sys.platform != "linux":
            return 0.0
        try:
            # The clock of another process, as `clock_getcpuclockid` computes it (linux/posix-timers.h).
            return time.clock_gettime((~self._process.pid << 3) | 2)
        except OSError:
            return 0.0

    def lower_priority(self) -> None:
        """Lower the priority of the process. Replace the process afterwards: its priority cannot be raised again."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, LOW_PRIORITY)

    async def close(self) -> None:
        """Kill the process and never start it again. A start in progress fails."""
        self._closed = True
        await self.kill()

    async def kill(self) -> None:
        """Kill the process and wait until it has ended, even if the caller is cancelled meanwhile."""
        process, self._process = self._process, None
        if process is not None:
            await asyncio.shield(asyncio.ensure_future(_kill(process)))


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        try:
            process.kill()
        except ProcessLookupError:
            pass
    await process.wait()
    assert process.stdin is not None
    process.stdin.close()


async def _exit_reason(process: asyncio.subprocess.Process) -> str:
    status = await process.wait()
    return (
        f"the process ended by signal {-status}"
        if status < 0
        else f"the process ended with {status}"
    )
