"""Repeated reads: a read that is not answered in time is sent again, and the first answer counts.

NATS chooses a replica without knowing whether it answers. A frozen replica keeps its share of the requests until the
server has noticed, so a second request probably reaches another replica.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from prometheus_client import Counter

from svgx_common.contract.errors import DeadlineExceeded, Overloaded, Unavailable

_TEMPORARY_ERRORS = (Unavailable, DeadlineExceeded, Overloaded)

Result = TypeVar("Result")

REPEATED = Counter(
    "svgx_engine_repeated_reads", "Reads that were sent again, because no answer came."
)

SHORTEST_INTERVAL = 1.0
"""Seconds without an answer after which a read is sent again, at the earliest."""

PARTS = 10
"""A read with a long time limit is sent again after each tenth of the limit."""

MAX_BUDGET = 100.0
"""The most repetitions that a process may send without receiving an answer. Each answered read permits one more.

While no replica answers, because the database hangs or the replicas are overloaded, repetitions would only add work.
"""


class Repetition:
    """The repetitions of one process."""

    def __init__(self) -> None:
        self._budget = MAX_BUDGET

    async def first_answer(
        self, send: Callable[[float], Awaitable[Result]], timeout: float
    ) -> Result:
        """Return the result, or raise the error, of the first attempt that ends without a temporary error.

        `send` makes one attempt, with the given timeout in seconds. A further attempt begins after each of the
        `PARTS` of `timeout`, at most one a second and as far as the budget permits. A temporary error of one attempt
        does not end the others.
        """
        clock = asyncio.get_running_loop().time
        interval = max(SHORTEST_INTERVAL, timeout / PARTS)
        deadline = clock() + timeout
        attempts = {asyncio.ensure_future(send(timeout))}
        try:
            while True:
                ended, attempts = await asyncio.wait(
                    attempts, timeout=interval, return_when=asyncio.FIRST_COMPLETED
                )
                final = [
                    attempt
                    for attempt in ended
                    if not isinstance(attempt.exception(), _TEMPORARY_ERRORS)
                ]
                if final or (ended and not attempts):
                    result = (final or list(ended))[0].result()
                    self._budget = min(MAX_BUDGET, self._budget + 1)
                    return result
                remaining = deadline - clock()
                if not ended and self._budget >= 1 and remaining > 0:
                    self._budget -= 1
                    REPEATED.inc()
                    attempts.add(asyncio.ensure_future(send(remaining)))
        finally:
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)
