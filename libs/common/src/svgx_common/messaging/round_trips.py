"""A check every second that NATS delivers messages: the connection sends itself a request, and answers it.

A server that is frozen, or that the network cuts off, keeps its connections open. nats-py notices such a server only
after several pings.
"""

import asyncio
import time
from collections.abc import Callable

import structlog
from nats.aio.client import Client
from nats.errors import ConnectionReconnectingError
from nats.errors import Error as NatsError

from svgx_common.metrics import BUS_ROUND_TRIP

log = structlog.get_logger(__name__)

CHECK_INTERVAL_SECONDS = 1.0
"""Seconds between two checks."""

ANSWER_SECONDS = 1.5
"""Time limit of one wait for an answer, in seconds.

A check waits twice. If this process itself was paused during the first wait, it reads the answer in the second wait.
"""

LATE_SECONDS = 0.25
"""Longest delay of the end of a wait, in seconds.

A wait that ends later is repeated, because this process or the whole machine was paused.
"""

MAX_WAITS = 8
"""Largest number of waits of one check, including repeated ones."""

CLOSE_SECONDS = 1.0
"""Time limit for nats-py to close a lost connection, in seconds. Beyond it, the connection is aborted."""


class RoundTrips:
    """The round trips of one connection. `on_answer` is called when NATS answers again after a silence."""

    def __init__(self, connection: Client, subject: str, on_answer: Callable[[], None]) -> None:
        self._connection = connection
        self._subject = subject
        self._on_answer = on_answer
        self._lost_at: float | None = None
        """Time at which a check first found the connection lost. None while it is open, and after `note_disconnect`."""
        self._silent = False

    @property
    def reachable(self) -> bool:
        """True while the connection is open and the server answers."""
        return self._connection.is_connected and not self._silent

    def note_disconnect(self) -> None:
        """Forget the lost connection, and fail the requests that wait. nats-py connects again."""
        self._lost_at = None
        self.give_up_requests()

    def note_reconnect(self) -> None:
        """Note a new connection, on which NATS does not count as silent."""
        self._silent = False

    def give_up_requests(self) -> None:
        """Fail all requests that wait for an answer, because the answers cannot arrive any more.

        nats-py itself would let them wait until their timeouts.
        """
        for waiting in list(self._connection._resp_map.values()):  # noqa: SLF001
            if not waiting.done():
                waiting.set_exception(ConnectionReconnectingError())

    async def watch(self) -> None:
        """Check once, then wait until the next check is due."""
        if self._connection.is_connected:
            self._lost_at = None
            await self._check()
        else:
            self._close_lost_connection()
        await asyncio.sleep(CHECK_INTERVAL_SECONDS)

    async def _check(self) -> None:
        """Send a request to this connection itself, and note whether NATS delivers it.

        NATS counts as silent only if no other message has arrived either. A wait that ends late does not count, because
        NATS may have been paused with this process.
        """
        received = self._connection.stats["in_msgs"]
        started = time.perf_counter()
        asking = asyncio.create_task(self._connection.request(self._subject, timeout=60))
        try:
            timely = 0
            for _ in range(MAX_WAITS):
                began = time.monotonic()
                await asyncio.wait({asking}, timeout=ANSWER_SECONDS)
                timely += time.monotonic() - began < ANSWER_SECONDS + LATE_SECONDS
                if asking.done() or timely == 2:
                    break
        finally:
            asking.cancel()
            (answer,) = await asyncio.gather(asking, return_exceptions=True)
        if not isinstance(answer, BaseException):
            BUS_ROUND_TRIP.observe(time.perf_counter() - started)
            if self._silent:
                self._silent = False
                log.info("nats answers again")
                self._on_answer()
        elif isinstance(answer, NatsError | OSError):
            return  # the connection was lost meanwhile, and nats-py connects again
        elif self._connection.stats["in_msgs"] == received and self._connection.is_connected:
            if not self._silent:
                log.warning("nats does not answer")
            self._silent = True
            self.give_up_requests()

    def _close_lost_connection(self) -> None:
        """Abort a lost connection that nats-py has not closed in time, so that nats-py connects again.

        nats-py would wait for the close until a frozen server reads again.
        """
        transport = self._connection._transport  # noqa: SLF001
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
        elif now - self._lost_at >= CLOSE_SECONDS and transport is not None:
            writer = getattr(transport, "_io_writer", None)
            if writer is not None and writer.transport.is_closing():
                writer.transport.abort()
