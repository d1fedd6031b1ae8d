"""Background tasks. Each has an owner that starts it, cancels it and waits until it has ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any

import structlog

from svgx_common.contract.errors import SvgxError

log = structlog.get_logger(__name__)

Step = Callable[[], Awaitable[None]]

PAUSE_SECONDS = 1.0
"""Seconds to wait after a failure. Without the pause, a lasting failure would fill the log."""

CANCEL_AGAIN_SECONDS = 3.0
"""Seconds after which a task that has not ended is cancelled again. This is the time for the cleanup of a task."""

STARTUP_SECONDS = 60.0
"""Time after the start during which another service may be missing, in seconds. Services start in any order."""


class OutageLog:
    """The log lines about the failures of one task. A failure that repeats is logged once, until the task succeeds.

    During the first `quiet_seconds`, failures are logged as information. Later failures are logged as warnings, also
    a failure that was logged as information before.
    """

    def __init__(
        self,
        message: str,
        *,
        quiet_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        **fields: str,
    ) -> None:
        """Begin the `quiet_seconds`. Each log line has `message` and `fields`."""
        self._message = message
        self._fields = fields
        self._clock = clock
        self._warns_from = clock() + quiet_seconds
        self._logged: tuple[str, str] | None = None

    def note_failure(self, error: SvgxError) -> None:
        """Log a failure without its traceback, unless the last line had the same level and detail."""
        is_warning = self._clock() >= self._warns_from
        line = "warning" if is_warning else "info", error.detail
        if line != self._logged:
            write = log.warning if is_warning else log.info
            write(self._message, **self._fields, code=error.code, detail=error.detail)
        self._logged = line

    def note_success(self) -> None:
        """Note that the task has succeeded, so that the next failure is logged."""
        self._logged = None


class BackgroundTasks:
    """The background tasks of one component."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Return the number of tasks that run now."""
        return len(self._tasks)

    def repeat(self, name: str, step: Step, *, quiet_seconds: float = 0.0) -> asyncio.Task[None]:
        """Run `step` again and again until `stop`. A failure is logged; the next run starts after a pause.

        `OutageLog` describes `quiet_seconds`. Set it for a task that sends requests to another service from the first
        run on.
        """
        return self.start(name, repeat(name, step, quiet_seconds=quiet_seconds))

    def start(
        self, name: str, work: Coroutine[Any, Any, None], *, context: Context | None = None
    ) -> asyncio.Task[None]:
        """Run `work` once, in a copy of the current context or in `context`. A failure is logged under `name`."""
        task = asyncio.create_task(_run_logged(name, work), context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that is cancelled before it starts never awaits `work`. Closing `work` avoids Python's warning about
        # a coroutine that was never awaited.
        task.add_done_callback(lambda _: work.close())
        return task

    async def wait(self, timeout: float | None = None) -> None:
        """Wait until all tasks that run now have ended, at most `timeout` seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    async def stop(self) -> None:
        """Cancel all tasks, and wait until they have ended.

        A task can miss its cancellation: `asyncio.wait_for` of Python 3.11, which redis-py and asyncpg call, ignores a
        cancellation that arrives when the awaited result is ready. So a task that still runs is cancelled again.
        """
        running = set(self._tasks)
        while running:
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_SECONDS)


async def repeat(name: str, step: Step, *, quiet_seconds: float = 0.0) -> None:
    """Run `step` again and again until cancelled. A failure is logged; the next run starts after a pause.

    An error of the contract, such as `Unavailable` while a server is unreachable, is logged as `OutageLog` does.
    """
    message = "background work failed; it is tried again"
    outages = OutageLog(message, quiet_seconds=quiet_seconds, work=name)
    while True:
        try:
            await step()
            outages.note_success()
        except SvgxError as error:
            outages.note_failure(error)
            await asyncio.sleep(PAUSE_SECONDS)
        except Exception:
            log.exception(message, work=name)
            await asyncio.sleep(PAUSE_SECONDS)


async def _run_logged(name: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("background work failed", work=name)
