"""The turns of accounts on a gateway. An account gets one turn at a time, and a token bucket slows it down. No I/O."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from svgx_common.timing.token_bucket import TokenBucket

MAX_REMEMBERED = 10_000
"""Largest number of accounts with a remembered bucket. Beyond it, the accounts with a full bucket are forgotten."""


@dataclass(slots=True)
class _Account:
    bucket: TokenBucket
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Lets one connection wait at a time, so that the messages of many connections are handled one after the other."""


class AccountTurns:
    """The turns of accounts with any number of connections.

    The bucket of an account refills with `rate` tokens a second and holds at most `burst`. The transport stops reading
    from a client that waits for its turn, so that TCP stops the client.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._accounts: dict[str, _Account] = {}

    @asynccontextmanager
    async def turn(self, account: str, tokens: float = 0.0) -> AsyncIterator[TokenBucket]:
        """Wait until the account's bucket has this number of tokens. The block takes its tokens, and must not await."""
        entry = self._entry(account)
        async with entry.lock:
            if seconds := entry.bucket.seconds_until(tokens, time.monotonic()):
                await asyncio.sleep(seconds)
                entry.bucket.seconds_until(tokens, time.monotonic())
            yield entry.bucket

    def _entry(self, account: str) -> _Account:
        entry = self._accounts.get(account)
        if entry is None:
            now = time.monotonic()
            if len(self._accounts) >= MAX_REMEMBERED:
                self._accounts = {
                    name: each
                    for name, each in self._accounts.items()
                    if each.lock.locked() or each.bucket.seconds_until(self._burst, now)
                }
            bucket = TokenBucket(self._rate, self._burst, now)
            entry = self._accounts[account] = _Account(bucket)
        return entry
