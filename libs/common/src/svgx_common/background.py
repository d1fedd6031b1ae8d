"""Background tasks. Each has an owner that starts it, cancels it and waits until it has ended."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any

import structlog

from svgx_common.contract.errors import SvgxError

log = structlog.get_logger(__name__)

Step = Callable[[], Awaitable[None]]

PAUSE = 1.0
"""Seconds to wait after a failure. Without the pause, a lasting failure would fill the log."""


class BackgroundTasks:
    """The background tasks of one component."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Return the number of tasks that run now."""
        return len(self._tasks)

    def repeat(self, name: str, step: Step) -> asyncio.Task[None]:
        """Run `step` again and again until `stop`. A failure is logged; the next run starts after a pause."""
        return self.start(name, repeat(name, step))

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


async def repeat(name: str, step: Step) -> None:
    """Run `step` again and again until cancelled. A failure is logged; the next run starts after a pause.

    An error of the contract, such as `Unavailable` while a server is unreachable, is logged without its traceback.
    Further errors with the same detail are not logged, until a run succeeds or fails with another detail.
    """
    failing: str | None = None
    while True:
        try:
            await step()
            failing = None
        except SvgxError as error:
            if error.detail != failing:
                log.warning(
                    "background work failed; it is tried again",
                    work=name,
                    code=error.code,
                    detail=error.detail,
                )
            failing = error.detail
            await asyncio.sleep(PAUSE)
        except Exception:
            log.exception("background work failed; it is tried again", work=name)
            await asyncio.sleep(PAUSE)


async def _logged(name: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("background work failed", work=name)
