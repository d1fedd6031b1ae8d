"""Repeated requests to a service that does not answer while a client joins a canvas."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from prometheus_client import Counter, Gauge

from svgx_common.contract.errors import TEMPORARY_ERRORS, TemporaryError

RETRY_SECONDS = 25.0
"""Time limit for all attempts at a request, in seconds. Beyond it, the connection is closed with `OVERLOADED`.

The time is below 30 s, because y-websocket and Hocuspocus' provider end a connection after 30 s without a message.
"""

SHORTEST_PAUSE_SECONDS = 0.1
"""Seconds from the first failure to the next attempt.

Each further pause is twice as long, up to `LONGEST_PAUSE_SECONDS`. If the error has a longer `retry_after`, the pause
has this length.
"""

LONGEST_PAUSE_SECONDS = 1.0
"""Seconds of the longest pause between two attempts without a longer `retry_after`."""

CONCURRENT_ATTEMPTS = 16
"""Largest number of repeated attempts that run at a time, for all clients. Further attempts wait."""

WAITING = Gauge(
    "svgx_engine_live_waiting_joins",
    "WebSockets that wait for the answer of a service before they join their canvas.",
)
GIVEN_UP = Counter(
    "svgx_engine_live_given_up_joins",
    "WebSockets closed because a service did not answer in time, so they could not join their canvas.",
)

Answer = TypeVar("Answer")


class JoinRetries:
    """Repeats requests to services that do not answer, for all clients that join canvases through one gateway.

    If the gateway closed connections at once, the clients would reconnect at once. Many clients would then cause many
    handshakes in each second of an outage. A waiting client costs only one idle connection. The waits end when
    `is_draining` returns True, because the client then has to connect to another gateway.
    """

    def __init__(self, is_draining: Callable[[], bool] = lambda: False) -> None:
        self._is_draining = is_draining
        self._attempts = asyncio.Semaphore(CONCURRENT_ATTEMPTS)

    async def until_answered(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Call `ask` until it returns an answer, for `RETRY_SECONDS` at most. Return the answer.

        Raise the last error when the time is over or the gateway drains. Errors other than `Unavailable`, `Overloaded`
        and `DeadlineExceeded` are raised at once.
        """
        deadline = asyncio.get_running_loop().time() + RETRY_SECONDS
        try:
            return await ask()
        except TEMPORARY_ERRORS as error:
            failure: TemporaryError = error
        pause = SHORTEST_PAUSE_SECONDS
        with WAITING.track_inprogress():
            try:
                async with asyncio.timeout_at(deadline):
                    while not self._is_draining():
                        await asyncio.sleep(max(pause, failure.retry_after or 0.0))
                        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                        async with self._attempts:
                            try:
                                return await ask()
                            except TEMPORARY_ERRORS as error:
                                failure = error
            except TimeoutError:
                pass
        GIVEN_UP.inc()
        raise failure
