"""Limits on a gateway's outgoing bytes: the turns of syncs, and the memory for clients that read slowly.

A client may request the whole document again and again. Therefore a sync waits until three conditions hold:

- the connection's last large reply is some seconds ago;
- the account may receive further bytes;
- the memory of the account and of the gateway has room.

While a sync waits, the gateway reads nothing from its connection. The gateway continues to read other connections.
"""

import asyncio
import time
from collections import Counter as Count
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import Counter, Gauge

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import Overloaded
from svgx_common.timing.token_bucket import TokenBucket

LARGE_BYTES = 64 * 1024
"""Minimum size of a large reply, in bytes.

It delays the connection's next sync. Each sync reserves at least this size.
"""

POLL_SECONDS = 0.1
"""Seconds between two checks whether there is free memory for a sync that waits."""

MAX_WAIT_SECONDS = 60.0
"""Longest time that a sync waits for its turn, in seconds. Beyond it, its connection is closed with `OVERLOADED`."""

SLOW_SECONDS = 5.0
"""Length of a measurement of the clients' rates, in seconds.

A measurement begins when a sync waits for memory while over half of the memory is in use.
"""

SLOW_RATE = 64 * 1024
"""Minimum rate at which a client has to read during a measurement, in bytes a second.

The connection of a slower client is closed, if more than `LARGE_BYTES` wait for the client.
"""

MAX_REMEMBERED = 10_000
"""Largest number of remembered sizes of canvases, and of accounts with a token bucket.

Beyond it, the oldest size and the accounts with a full bucket are forgotten.
"""

WAITED = Counter(
    "svgx_engine_websocket_sync_wait_seconds",
    "Seconds for which syncs waited for their turn, by the bound: `connection`, `account` or `memory`.",
    ["bound"],
)
CLOSED = Counter(
    "svgx_engine_websocket_outgoing_closed",
    "WebSockets closed because of outgoing bytes, by reason: `wait` of a sync that was too long, or `slow` reading.",
    ["reason"],
)
UNSENT = Gauge(
    "svgx_engine_websocket_unsent_bytes",
    "Bytes that wait for clients, or are reserved for the replies of syncs.",
)
for _bound in ("connection", "account", "memory"):
    WAITED.labels(_bound)
for _reason in ("wait", "slow"):
    CLOSED.labels(_reason)


@dataclass(frozen=True, slots=True)
class OutgoingLimits:
    """The limits of the outgoing bytes."""

    sync_seconds: float = 3.0
    """Minimum time from a large reply to the connection's next sync, in seconds."""
    account_rate: float = 16 * 1024 * 1024
    """Maximum rate of one account's large replies in the long run, in bytes a second."""
    account_burst: float = 256 * 1024 * 1024
    """Burst allowance of one account's large replies, in bytes."""
    account_memory: int = 64 * 1024 * 1024
    """Limit of the bytes that wait for the clients of one account. Beyond it, further syncs wait."""
    memory: int = 256 * 1024 * 1024
    """Limit of the bytes that wait for all clients.

    Beyond it, further syncs wait. Beyond half of it, `close_slow` closes slow clients.
    """


class OutgoingConnection(Protocol):
    """The part of a connection that `Outgoing` uses."""

    @property
    def account(self) -> str:
        """The key of the connection's account."""

    @property
    def unsent_bytes(self) -> int:
        """The bytes that wait for the connection's client."""

    @property
    def sent_bytes(self) -> int:
        """The bytes that the transport has sent to the connection's client so far."""

    def close(self, code: Close, reason: str) -> None:
        """End the connection."""


@dataclass(slots=True)
class Turn:
    """The turn of one sync. The caller sets the fields when the reply is known."""

    size: int = 0
    is_full: bool = False
    """True when the reply is the whole document. The size of the reply is then the size of the canvas."""


class Outgoing:
    """Limits the outgoing bytes of a gateway's connections. Each connection has to be added, and removed at its end."""

    def __init__(
        self,
        limits: OutgoingLimits = OutgoingLimits(),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._next_sync: dict[OutgoingConnection, float] = {}
        """For each connection, the earliest time of its next sync."""
        self._by_account: dict[str, set[OutgoingConnection]] = {}
        self._buckets: dict[str, TokenBucket] = {}
        self._reserved: Count[str] = Count()
        """Bytes that are reserved for replies, by account."""
        self._summed = 0
        """The last computed sum of the unsent bytes of all connections, plus the replies sent since then."""
        self._summed_until = 0.0
        """The time at which the sum is computed again."""
        self._sizes: dict[str, int] = {}
        """The size of each canvas in bytes, from its last full sync or from a later, larger reply."""
        self._measuring: asyncio.TimerHandle | None = None
        self._measured: dict[OutgoingConnection, int] = {}
        UNSENT.set_function(self._unsent)

    def add(self, connection: OutgoingConnection) -> None:
        """Add a connection."""
        self._next_sync[connection] = 0.0
        self._by_account.setdefault(connection.account, set()).add(connection)

    def remove(self, connection: OutgoingConnection) -> None:
        """Remove a connection."""
        self._next_sync.pop(connection, None)
        self._measured.pop(connection, None)
        same = self._by_account.get(connection.account, set())
        same.discard(connection)
        if not same:
            self._by_account.pop(connection.account, None)

    @asynccontextmanager
    async def turn(self, connection: OutgoingConnection, canvas_id: str) -> AsyncIterator[Turn]:
        """Wait for the turn of a sync, and keep memory for its reply within the block.

        Raises `Overloaded` when the sync would have to wait for more than `MAX_WAIT_SECONDS`. The expected size of the
        reply is the remembered size of the canvas (`_sizes`). Without a remembered size, an eighth of the account's
        memory is expected.
        """
        default_size = max(LARGE_BYTES, self._limits.account_memory // 8)
        expected = self._sizes.get(canvas_id, default_size)
        deadline = self._clock() + MAX_WAIT_SECONDS
        await self._wait(connection, expected, deadline)
        account, turn = connection.account, Turn()
        self._reserved[account] += expected
        try:
            yield turn
        finally:
            self._summed += turn.size
            self._reserved[account] -= expected
            if not self._reserved[account]:
                del self._reserved[account]
            # A failed sync and a small catch-up do not show the size of the canvas.
            if turn.is_full or turn.size > expected:
                self._note_size(canvas_id, max(LARGE_BYTES, turn.size))
            if turn.size >= LARGE_BYTES:
                self._charge(connection, turn.size)

    async def _wait(self, connection: OutgoingConnection, expected: int, deadline: float) -> None:
        while True:
            bound, seconds = self._seconds_to_wait(connection, expected)
            if not seconds:
                return
            now = self._clock()
            if now + seconds > deadline:
                CLOSED.labels("wait").inc()
                detail = "too many bytes wait for this account or gateway; try again in a minute"
                raise Overloaded(
                    detail, limit=self._limits.account_memory, retry_after=MAX_WAIT_SECONDS
                )
            if bound == "memory":
                self._start_measuring()
            WAITED.labels(bound).inc(seconds)
            await self._sleep(seconds)

    def _seconds_to_wait(self, connection: OutgoingConnection, expected: int) -> tuple[str, float]:
        """Return the bound for which a sync has to wait, and the seconds until the bound is checked again."""
        now, account = self._clock(), connection.account
        seconds = self._next_sync.get(connection, 0.0) - now
        if seconds > 0:
            return "connection", seconds
        bucket = self._buckets.get(account)
        if bucket is not None and (seconds := bucket.seconds_until(0, now)):
            return "account", min(seconds, 1.0)
        own = self._unsent_of(account)
        # A sync that is larger than the memory gets its turn when nothing else waits.
        if own and own + expected > self._limits.account_memory:
            return "memory", POLL_SECONDS
        if (used := self._recently_unsent()) and used + expected > self._limits.memory:
            return "memory", POLL_SECONDS
        return "", 0.0

    def _note_size(self, canvas_id: str, size: int) -> None:
        self._sizes.pop(canvas_id, None)
        self._sizes[canvas_id] = size
        if len(self._sizes) > MAX_REMEMBERED:
            del self._sizes[next(iter(self._sizes))]

    def _charge(self, connection: OutgoingConnection, size: int) -> None:
        """Count a large reply against the connection and its account."""
        now, limits = self._clock(), self._limits
        if connection in self._next_sync:
            self._next_sync[connection] = now + limits.sync_seconds
        if len(self._buckets) > MAX_REMEMBERED:
            self._buckets = {
                account: bucket
                for account, bucket in self._buckets.items()
                if bucket.seconds_until(limits.account_burst, now)
            }
        bucket = self._buckets.get(connection.account)
        if bucket is None:
            bucket = TokenBucket(limits.account_rate, limits.account_burst, now)
            self._buckets[connection.account] = bucket
        bucket.seconds_until(0, now)
        bucket.take(size)

    def _unsent_of(self, account: str) -> int:
        connections = self._by_account.get(account, ())
        return self._reserved[account] + sum(each.unsent_bytes for each in connections)

    def _unsent(self) -> int:
        return self._reserved.total() + sum(each.unsent_bytes for each in self._next_sync)

    def _recently_unsent(self) -> int:
        """Return an estimate of `_unsent` that sums up the connections at most once in `POLL_SECONDS`."""
        now = self._clock()
        if now >= self._summed_until:
            self._summed = sum(each.unsent_bytes for each in self._next_sync)
            self._summed_until = now + POLL_SECONDS
        return self._reserved.total() + self._summed

    def _start_measuring(self) -> None:
        if self._measuring is None and 2 * self._recently_unsent() > self._limits.memory:
            self._measured = {each: each.sent_bytes for each in self._next_sync}
            loop = asyncio.get_running_loop()
            self._measuring = loop.call_later(SLOW_SECONDS, self._end_measuring)

    def _end_measuring(self) -> None:
        self._measuring = None
        self.close_slow(self._measured, SLOW_SECONDS)
        self._measured = {}

    def close_slow(self, before: dict[OutgoingConnection, int], seconds: float) -> None:
        """Close the connections of clients that read too slowly, if more than half of the memory is in use.

        `before` has the number of bytes that had been sent to each connection `seconds` ago.
        """
        if 2 * self._unsent() <= self._limits.memory:
            return
        for connection, sent in before.items():
            is_slow = connection.sent_bytes - sent < SLOW_RATE * seconds
            if is_slow and connection.unsent_bytes > LARGE_BYTES:
                CLOSED.labels("slow").inc()
                connection.close(
                    Close.OVERLOADED,
                    "the client reads too slowly while many bytes wait; try again later",
                )
