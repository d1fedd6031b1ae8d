"""Limits on HTTP request bodies: their memory for each account and for the gateway, and their rate of arrival."""

import asyncio
import contextlib
import time
from collections import Counter as Count
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from prometheus_client import Counter, Gauge

from svgx_common.contract.errors import Overloaded, RequestTimeout, SvgxError, TooLarge

BODY_SECONDS = 120.0
"""Time limit for a body to arrive, in seconds. Beyond it, `RequestTimeout` is raised."""

RATE_SECONDS = 10.0
"""Length of a measurement of a body's rate, in seconds."""

WAIT_SECONDS = 30.0
"""Longest time that a body waits for memory, in seconds. Beyond it, the request is refused."""

POLL_SECONDS = 0.1
"""Seconds between two checks whether there is free memory for a body that waits."""

SMALL_BYTES = 64 * 1024
"""A body of at most this size needs no reservation. Larger bodies reserve memory in steps of this size."""

USED = Gauge("svgx_engine_http_body_bytes", "Bytes that are reserved for request bodies.")
REFUSED = Counter(
    "svgx_engine_http_refused_bodies",
    "Requests refused because of their bodies: no `memory` in time, too low a `rate`, or too long a `time`.",
    ["limit"],
)
for _limit in ("memory", "rate", "time"):
    REFUSED.labels(_limit)


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """The limits of request bodies."""

    account_bytes: int = 48 * 1024 * 1024
    """Limit of one account's bodies that are arriving or being handled, in bytes."""
    bytes: int = 192 * 1024 * 1024
    """Limit of all bodies that are arriving or being handled, in bytes."""
    min_rate: float = 8 * 1024
    """Minimum rate at which a body has to arrive, in bytes a second."""


class Bodies:
    """The bodies of one gateway. The oldest body always gets memory, so that bodies never block each other.

    Memory is reserved for the bytes that have arrived, plus at most one step. An announced length reserves nothing,
    because a client can announce any length without sending it.
    """

    def __init__(
        self,
        limits: BodyLimits = BodyLimits(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._reserved: dict[object, tuple[str, int]] = {}
        """The account and the reserved bytes of each body, the oldest first."""
        self._by_account: Count[str] = Count()
        self._used = 0
        USED.set_function(lambda: self._used)

    @contextlib.contextmanager
    def keep(self, account: str) -> Iterator["Body"]:
        """Yield a new body of an account, and release its reserved memory at the end of the block."""
        body = Body(self, account, self._limits.min_rate, self._clock)
        try:
            yield body
        finally:
            self._release(body)

    def reserve(self, body: object, account: str, size: int) -> bool:
        """Reserve `size` bytes in total for a body. Return False if not enough memory is free."""
        grown = size - self._reserved_by(body)
        if grown <= 0:
            return True
        is_oldest = next(iter(self._reserved), body) is body
        if not is_oldest and (
            self._exceeds_account(account, grown) or self._used + grown > self._limits.bytes
        ):
            return False
        self._reserved[body] = account, size
        self._by_account[account] += grown
        self._used += grown
        return True

    def _release(self, body: object) -> None:
        account, size = self._reserved.pop(body, ("", 0))
        self._used -= size
        self._by_account[account] -= size
        if not self._by_account[account]:
            del self._by_account[account]

    def _reserved_by(self, body: object) -> int:
        return self._reserved.get(body, ("", 0))[1]

    def _exceeds_account(self, account: str, grown: int) -> bool:
        return self._by_account[account] + grown > self._limits.account_bytes

    def error(self, body: object, account: str, size: int) -> SvgxError:
        """Return the error for a body that waited too long for `size` bytes. It names the limit that is exceeded."""
        if self._exceeds_account(account, size - self._reserved_by(body)):
            limit, owner = self._limits.account_bytes, "an account's requests"
        else:
            limit, owner = self._limits.bytes, "all requests together"
        detail = f"body: {owner} have at most {limit} bytes at a time; try again"
        return Overloaded(detail, field="body", limit=limit, retry_after=1.0)


class Body:
    """One body. Its memory is kept until the end of `Bodies.keep`."""

    def __init__(
        self, bodies: Bodies, account: str, min_rate: float, clock: Callable[[], float]
    ) -> None:
        self._bodies = bodies
        self._account = account
        self._min_rate = min_rate
        self._clock = clock

    async def read(self, stream: AsyncIterator[bytes], limit: int) -> bytes:
        """Return the body. Raise `TooLarge` as soon as more than `limit` bytes have arrived.

        Raise `RequestTimeout` when the body arrives too slowly, and `Overloaded` when it finds no memory in time.
        """
        chunks: list[bytes] = []
        size = 0
        required_size = 0.0
        loop = asyncio.get_running_loop()
        ends = loop.time() + BODY_SECONDS
        rate_seconds = RATE_SECONDS if self._min_rate else BODY_SECONDS
        try:
            async with asyncio.timeout_at(min(loop.time() + rate_seconds, ends)) as timeout:
                async for chunk in stream:
                    size += len(chunk)
                    if size > limit:
                        raise too_large(limit)
                    chunks.append(chunk)
                    if size > SMALL_BYTES and not self._reserve(size):
                        timeout.reschedule(None)
                        await self._wait(size)
                        required_size = 0.0
                    if size >= required_size:
                        # Measure the rate anew: the body has to reach `required_size` bytes within `RATE_SECONDS`.
                        required_size = size + self._min_rate * RATE_SECONDS
                        timeout.reschedule(min(loop.time() + rate_seconds, ends))
        except TimeoutError:
            if not self._min_rate or loop.time() >= ends:
                raise _too_late(
                    f"did not arrive within {BODY_SECONDS:.0f} s", BODY_SECONDS, "time"
                ) from None
            detail = f"arrives at less than {self._min_rate:.0f} bytes a second"
            raise _too_late(detail, self._min_rate, "rate") from None
        return b"".join(chunks)

    def _reserve(self, size: int) -> bool:
        return self._bodies.reserve(self, self._account, _whole_steps(size))

    async def _wait(self, size: int) -> None:
        """Wait for memory. Meanwhile, the transport reads nothing, so TCP's flow control stops the client."""
        deadline = self._clock() + WAIT_SECONDS
        while not self._reserve(size):
            if self._clock() >= deadline:
                REFUSED.labels("memory").inc()
                raise self._bodies.error(self, self._account, _whole_steps(size))
            await asyncio.sleep(POLL_SECONDS)


def _whole_steps(size: int) -> int:
    """Return the bytes to reserve for a body of which `size` bytes have arrived."""
    return (size // SMALL_BYTES + 1) * SMALL_BYTES


def too_large(limit: int) -> TooLarge:
    """Return the error for a body with more than `limit` bytes."""
    return TooLarge(f"body: must have at most {limit} bytes", field="body", limit=limit)


def _too_late(detail: str, limit: float, label: str) -> RequestTimeout:
    REFUSED.labels(label).inc()
    return RequestTimeout(
        f"body: {detail}", field="body", limit=limit if limit % 1 else round(limit)
    )
