"""Run the functions of `svgx_canvas` in child processes that can be killed.

If a file makes a renderer take gigabytes of memory or hours of time, only the child process is lost. The caller gets an
error for this job.
"""

import asyncio
import math
import os
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from svgx_canvas.import_export import Imported
from svgx_canvas.limits import SvgRefused
from svgx_canvas.policy import Dropped
from svgx_workers.frames import PREFIX, Frame, decode, decode_prefix, encode

HEAVY_BYTES = 4 * 1024 * 1024
"""Bytes from which a job is heavy. Only one heavy job runs at a time, which bounds the memory of all children."""


class WorkerError(Exception):
    """A job has no result, for a reason other than a refused file."""


class WorkerTimeout(WorkerError):
    """The job took longer than the time limit. Its process was killed."""


class WorkerDied(WorkerError):
    """The job's process ended without a result, mostly from lack of memory, or the workers are closed."""


class WorkersBusy(WorkerError):
    """The limit of waiting jobs is reached."""


class Workers:
    """A pool of `size` child processes. `start` starts them; each runs one job at a time.

    memory_bytes: address space of each child, including about 200 MB for the program; 0 sets no limit.
    timeout_seconds: wall-clock time and CPU time of one job, without the time that it waits for a child.
    waiting: jobs that may wait for a child; one more raises `WorkersBusy`.
    recycle_bytes: memory that a child may hold after a job. A child that holds more is killed, and the next job starts
    a new one.
    """

    def __init__(
        self,
        size: int,
        memory_bytes: int,
        timeout_seconds: float,
        *,
        waiting: int = 64,
        recycle_bytes: int = 128 * 1024 * 1024,
    ) -> None:
        self._children = [_Child(memory_bytes, timeout_seconds) for _ in range(size)]
        self._idle: asyncio.LifoQueue[_Child] = asyncio.LifoQueue()
        self._timeout = timeout_seconds
        self._free_slots = size + waiting
        self._recycle_bytes = recycle_bytes
        self._heavy = asyncio.Semaphore(1)
        self._closed = False

    async def start(self) -> None:
        """Start the children. Raises `WorkerDied` if one of them fails to start."""
        for child in self._children:
            self._idle.put_nowait(child)
        try:
            await asyncio.gather(*(child.start() for child in self._children))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Kill all children and wait until they have ended. Running and waiting jobs raise `WorkerDied`."""
        self._closed = True
        await asyncio.gather(*(child.close() for child in self._children))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def import_svg(
        self, svg: bytes, current: bytes | None, charset: str | None = None
    ) -> Imported:
        """Run `svgx_canvas.import_svg` with the default limits.

        This and the following methods raise `SvgRefused` and `WorkerError`.
        """
        blobs = [svg] if current is None else [svg, current]
        result = await self._run(Frame({"job": "import_svg", "charset": charset}, blobs))
        elements, dropped = result.values["elements"], result.values["dropped"]
        assert isinstance(elements, int)
        assert isinstance(dropped, list)
        return Imported(
            result.blobs[0],
            elements,
            [Dropped(str(name), str(reason), int(n)) for name, reason, n in dropped],
        )

    async def export_svg(self, state: bytes) -> bytes:
        """Run `svgx_canvas.export_svg`."""
        return (await self._run(Frame({"job": "export_svg"}, [state]))).blobs[0]

    async def export_json(self, state: bytes) -> bytes:
        """Run `svgx_canvas.export_json`."""
        return (await self._run(Frame({"job": "export_json"}, [state]))).blobs[0]

    async def render_png(
        self,
        svg: bytes,
        width: int | None = None,
        height: int | None = None,
        scale: float | None = None,
    ) -> bytes:
        """Run `svgx_canvas.render_png`."""
        values: dict[str, object] = {
            "job": "render_png",
            "width": width,
            "height": height,
            "scale": scale,
        }
        return (await self._run(Frame(values, [svg]))).blobs[0]

    async def compact(self, snapshot: bytes | None, updates: Sequence[bytes]) -> bytes:
        """Run `svgx_canvas.compact`."""
        blobs = [*([snapshot] if snapshot is not None else []), *updates]
        values: dict[str, object] = {"job": "compact", "snapshot": snapshot is not None}
        return (await self._run(Frame(values, blobs))).blobs[0]

    async def state(self, updates: Sequence[bytes]) -> bytes:
        """Run `svgx_canvas.state`."""
        return (await self._run(Frame({"job": "state"}, list(updates)))).blobs[0]

    async def _run(self, job: Frame) -> Frame:
        if self._closed:
            raise WorkerDied("the workers are closed")
        if not self._free_slots:
            raise WorkersBusy("too many jobs are waiting")
        self._free_slots -= 1
        try:
            if sum(map(len, job.blobs)) < HEAVY_BYTES:
                result = await self._run_on_idle_child(job)
            else:
                async with self._heavy:
                    result = await self._run_on_idle_child(job)
        finally:
            self._free_slots += 1
        return _checked(result)

    async def _run_on_idle_child(self, job: Frame) -> Frame:
        child = await self._idle.get()
        try:
            return await self._run_on(child, job)
        finally:
            self._idle.put_nowait(child)

    async def _run_on(self, child: "_Child", job: Frame) -> Frame:
        """Return the child's result. Kill the child if it fails, and if the caller is cancelled."""
        if self._closed:
            raise WorkerDied("the workers are closed")
        usable = False
        try:
            async with asyncio.timeout(self._timeout):
                result = await child.run(job)
            rss = result.values.get("rss")
            usable = (
                "failed" not in result.values
                and isinstance(rss, int)
                and rss <= self._recycle_bytes
            )
        except TimeoutError:
            raise WorkerTimeout(f"no result after {self._timeout:g} s") from None
        finally:
            if not usable:
                await child.kill()
        return result


def _checked(result: Frame) -> Frame:
    """Return the result, or raise the error that it carries."""
    values = result.values
    if "failed" in values:
        raise WorkerDied(str(values["failed"]))
    if "refused" in values:
        limit, actual = values["limit"], values["actual"]
        raise SvgRefused(
            str(values["refused"]),
            str(values["field"]),
            limit if isinstance(limit, int) else None,
            actual if isinstance(actual, int) else None,
            str(values["detail"]),
        )
    return result


class _Child:
    """A child process of the pool. A job starts the process anew if it was killed."""

    def __init__(self, memory_bytes: int, timeout_seconds: float) -> None:
        self._arguments = [str(memory_bytes), str(math.ceil(timeout_seconds))]
        self._process: asyncio.subprocess.Process | None = None
        self._closed = False

    async def start(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "svgx_workers.worker",
            *self._arguments,
            str(os.getpid()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Standard error is dropped, because Rust panics print to it. A job's error is in its result.
            stderr=asyncio.subprocess.DEVNULL,
            limit=1024 * 1024,
        )
        self._process = process
        if self._closed:
            await self.kill()
            raise WorkerDied("the workers are closed")
        await self._read_result(process)

    async def run(self, job: Frame) -> Frame:
        if self._process is None:
            await self.start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            for part in encode(job):
                process.stdin.write(part)
            await process.stdin.drain()
        except ConnectionError:
            raise WorkerDied(await _exit_reason(process)) from None
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
            raise WorkerDied(await _exit_reason(process)) from None

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
