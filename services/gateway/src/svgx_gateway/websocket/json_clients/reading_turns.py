"""Limits the processor time for reading the messages of JSON clients, for each account. No I/O."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from svgx_gateway.websocket.json_clients.account_turns import AccountTurns

RATE = 0.1
"""Processor time for reading the messages of one account in the long run, in seconds a second.

A short message takes 0.02 ms, an edit of 1 MiB 40 ms, and a large message with many wrong fields 200 ms.
"""

BURST_SECONDS = 1.0
"""Processor time that an account may use after a pause without waiting, in seconds."""


class ReadingTurns:
    """The turns in which a gateway reads the messages of JSON clients.

    `thread_seconds` returns the processor time of this thread, in seconds.
    """

    def __init__(self, thread_seconds: Callable[[], float] = time.thread_time) -> None:
        self._thread_seconds = thread_seconds
        self._turns = AccountTurns(RATE, BURST_SECONDS)

    @asynccontextmanager
    async def turn(self, account: str) -> AsyncIterator[None]:
        """Wait until the account may use processor time. The block must not await, and its time is counted."""
        async with self._turns.turn(account) as bucket:
            started = self._thread_seconds()
            try:
                yield
            finally:
                bucket.take(self._thread_seconds() - started)
