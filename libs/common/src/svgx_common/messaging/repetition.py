"""Repetitions of repeatable operations. A request that is not answered in time is sent again; the first answer counts.

This module calls repeatable operations "reads", because nearly all of them are reads.

NATS chooses a replica for each request without knowing whether the replica answers. So a frozen replica gets its share
of the requests until NATS has noticed that it is frozen. A second request probably reaches another replica.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from prometheus_client import Counter

from svgx_common.contract.errors import (
    TEMPORARY_ERRORS,
    SvgxError,
)

Result = TypeVar("Result")

REPEATED = Counter(
    "svgx_engine_repeated_reads", "Reads that were sent again, because no answer came."
)

MIN_INTERVAL_SECONDS = 1.0
"""Minimum time without an answer, in seconds, after which a read is sent again."""

INTERVALS_PER_TIMEOUT = 10
"""A read with a time limit of 10 s or more is sent again after each tenth of the limit."""

MAX_BUDGET = 100.0
"""Maximum number of repetitions that a process sends without an answer. Each answered read permits one more.

An error such as `not_found` is also an answer, because it shows that the service works. A temporary error is not an
answer.

The number is limited because repetitions would only add work while the database hangs or all replicas are overloaded.
"""


class Repetition:
    """The repetitions of one process."""

    def __init__(self) -> None:
        self._budget = MAX_BUDGET

    async def first_answer(
        self, send: Callable[[float], Awaitable[Result]], timeout: float
    ) -> Result:
        """Return the result, or raise the error, of the first attempt that ends without a temporary error.

        `send` makes one attempt, with the given timeout in seconds. A further attempt begins after each tenth of
        `timeout`, at most one a second and as far as the budget permits. A temporary error of one attempt does not end
        the others.

        The first attempt runs in the caller's task, because most reads are answered quickly and a new task costs time.
        """
        loop = asyncio.get_running_loop()
        interval = max(MIN_INTERVAL_SECONDS, timeout / INTERVALS_PER_TIMEOUT)
        deadline = loop.time() + timeout
        race: _Race[Result] = _Race(lambda first: self._repeat(first, send, interval, deadline))
        timer = loop.call_later(interval, race.start)
        try:
            result = await race.outcome(send(timeout))
        except SvgxError as error:
            if not isinstance(error, TEMPORARY_ERRORS):
                self._note_answer()
            raise
        finally:
            timer.cancel()
            await race.stop()
        self._note_answer()
        return result

    def _note_answer(self) -> None:
        self._budget = min(MAX_BUDGET, self._budget + 1)

    async def _repeat(
        self,
        first: "asyncio.Future[Result]",
        send: Callable[[float], Awaitable[Result]],
        interval: float,
        deadline: float,
    ) -> Result:
        """Make a further attempt immediately, and one after each interval in which no attempt ends.

        Return or raise as `first_answer` does.
        """
        clock = asyncio.get_running_loop().time
        attempts = {first}
        ended: set[asyncio.Future[Result]] = set()
        try:
            while True:
                remaining = deadline - clock()
                if not ended and self._budget >= 1 and remaining > 0:
                    self._budget -= 1
                    REPEATED.inc()
                    attempts.add(asyncio.ensure_future(send(remaining)))
                ended, attempts = await asyncio.wait(
                    attempts, timeout=interval, return_when=asyncio.FIRST_COMPLETED
                )
                final = [
                    attempt
                    for attempt in ended
                    if not isinstance(attempt.exception(), TEMPORARY_ERRORS)
                ]
                if final or (ended and not attempts):
                    return (final or list(ended))[0].result()
        finally:
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)


class _Race(Generic[Result]):
    """A first attempt in the current task, and further ones in a task that starts only if the first one is late.

    A further attempt that ends without a temporary error cancels the first one, as `asyncio.timeout` does.
    """

    __slots__ = ("_first", "_others", "_repeat", "_running", "_won")

    def __init__(
        self, repeat: Callable[["asyncio.Future[Result]"], Coroutine[Any, Any, Result]]
    ) -> None:
        self._repeat = repeat
        self._running: asyncio.Task[Any] | None = None
        """The task of the first attempt, while it runs."""
        self._first: asyncio.Future[Result] | None = None
        """A future that passes the first attempt's temporary error to the task of the further attempts."""
        self._others: asyncio.Task[Result] | None = None
        self._won = False
        """True when a further attempt has cancelled the first one."""

    def start(self) -> None:
        """Start the further attempts."""
        self._first = asyncio.get_running_loop().create_future()
        self._others = asyncio.create_task(self._repeat(self._first))
        self._others.add_done_callback(self._cancel_first)

    async def outcome(self, first: Awaitable[Result]) -> Result:
        """Return or raise the outcome of the first attempt that ends without a temporary error."""
        task = self._running = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        try:
            return await first
        except asyncio.CancelledError:
            if self._won and self._others is not None and task.uncancel() <= cancelling:
                return self._others.result()
            raise
        except TEMPORARY_ERRORS as error:
            self._running = None
            if self._others is None or self._first is None:
                raise
            if not self._first.done():
                self._first.set_exception(error)
            return await self._others
        finally:
            self._running = None

    async def stop(self) -> None:
        """End the further attempts."""
        if self._others is not None:
            self._others.cancel()
            await asyncio.gather(self._others, return_exceptions=True)

    def _cancel_first(self, others: asyncio.Task[Result]) -> None:
        """Cancel the first attempt, because a further one has ended without a temporary error."""
        if self._running is not None and not others.cancelled():
            self._won = True
            self._running.cancel()
