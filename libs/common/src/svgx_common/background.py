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

PAUSE = 1.0
"""Seconds to wait after a failure. Without the pause, a lasting failure would fill the log."""

STARTING = 60.0
"""Seconds after the start in which another service may be missing, because services start in any order."""


class OutageLog:
    """The log lines about the failures of one work. A failure that repeats is logged once, until the work succeeds.

    For `patience` seconds, a failure is logged as information. If it lasts longer, it is logged again, as a warning.
    """

    def __init__(
        self,
        message: str,
        *,
        patience: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        **fields: str,
    ) -> None:
        """Begin the `patience` seconds. Each line has the message and the fields."""
        self._message = message
        self._fields = fields
        self._clock = clock
        self._patient_until = clock() + patience
        self._logged: tuple[str, str] | None = None

    def note_failure(self, error: SvgxError) -> None:
        """Log a failure without its traceback, unless the last line had the same level and detail."""
        is_patient = self._clock() < self._patient_until
        line = "info" if is_patient else "warning", error.detail
        if line != self._logged:
            write = log.info if is_patient else log.warning
            write(self._message, **self._fields, code=error.code, detail=error.detail)
        self._logged = line

    def note_success(self) -> None:
        """Note that the work has succeeded."""
        self._logged = None


class BackgroundTasks:
    """The background tasks of one component."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Return the number of tasks that run now."""
        return len(self._tasks)

    def repeat(self, name: str, step: Step, *, patience: float = 0.0) -> asyncio.Task[None]:
        """Run `step` again and again until `stop`. A failure is logged; the next run starts after a pause.

        `patience` is described at `OutageLog`. Set it for work that sends requests to another service
        from its first run on.
        """
        return self.start(name, repeat(name, step, patience=patience))

    def start(
        self, name: str, work: Coroutine[Any, Any, None], *, context: Context | None = None
    ) -> asyncio.Task[None]:
        """Run `work` once, in a copy of the current context or in `context`. A failure is logged under `name`."""
        task = asyncio.create_task(_logged(name, work), context=context)
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
        """Cancel all tasks, and wait until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def repeat(name: str, step: Step, *, patience: float = 0.0) -> None:
    """Run `step` again and again until cancelled. A failure is logged; the next run starts after a pause.

    An error of the contract, such as `Unavailable` while a server is unreachable, is logged as `OutageLog` does.
    """
    message = "background work failed; it is tried again"
    outages = OutageLog(message, patience=patience, work=name)
    while True:
        try:
            await step()
            outages.note_success()
        except SvgxError as error:
            outages.note_failure(error)
            await asyncio.sleep(PAUSE)
        except Exception:
            log.exception(message, work=name)
            await asyncio.sleep(PAUSE)


async def _logged(name: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("background work failed", work=name)
