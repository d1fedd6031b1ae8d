"""Limits the processor time for reading the messages of JSON clients, for each account. No I/O."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from svgx_common.timing.token_bucket import TokenBucket

RATE = 0.1
"""Processor time for reading the messages of one account in the long run, in seconds a second.

A short message takes 0.02 ms, an edit of 1 MiB 40 ms, and a large message with many wrong fields 200 ms.
"""

BURST_SECONDS = 1.0
"""Processor time that an account may use after a pause without waiting, in seconds."""

MAX_REMEMBERED = 10_000
"""Largest number of accounts with a remembered time. Beyond it, the accounts that need not wait are forgotten."""


@dataclass(slots=True)
class _Account:
    bucket: TokenBucket
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Lets one connection read at a time, so that the messages of many connections are not read one after the other."""


class ReadingTurns:
    """The turns of the JSON clients of a gateway. An account with many connections gets one turn at a time.

    The transport stops reading from a client that waits for its turn, so that TCP stops the client.
    `thread_seconds` returns the processor time of this thread, in seconds.
    """

    def __init__(self, thread_seconds: Callable[[], float] = time.thread_time) -> None:
        self._thread_seconds = thread_seconds
        self._accounts: dict[str, _Account] = {}

    @asynccontextmanager
    async def turn(self, account: str) -> AsyncIterator[None]:
        """Wait until the account may use processor time. The block must not await, and its time is counted."""
        entry = self._entry(account)
        async with entry.lock:
            if seconds := entry.bucket.seconds_until(0, time.monotonic()):
                await asyncio.sleep(seconds)
                entry.bucket.seconds_until(0, time.monotonic())
            started = self._thread_seconds()
            try:
                yield
            finally:
                entry.bucket.take(self._thread_seconds() - started)

    def _entry(self, account: str) -> _Account:
        entry = self._accounts.get(account)
        if entry is None:
            now = time.monotonic()
            if len(self._accounts) >= MAX_REMEMBERED:
                self._accounts = {
                    name: each
                    for name, each in self._accounts.items()
                    if each.lock.locked() or each.bucket.seconds_until(BURST_SECONDS, now)
                }
            entry = self._accounts[account] = _Account(TokenBucket(RATE, BURST_SECONDS, now))
        return entry
