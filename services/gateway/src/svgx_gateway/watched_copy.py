"""Local copies of data that another service owns."""

import asyncio
import functools
from collections.abc import Awaitable, Callable

from svgx_common.background import STARTUP_SECONDS, BackgroundTasks, OutageLog
from svgx_common.contract.errors import SvgxError
from svgx_common.messaging.bus import Bus, Listener
from svgx_common.timing.bounded_wait import wait_at_most

POLL_SECONDS = 30.0
"""Seconds between two reads. Even if a broadcast is lost, the copy has the change after this time at the latest."""

RETRY_SECONDS = 1.0
"""Seconds until the next read while the owner does not answer."""


class WatchedCopy:
    """A task that keeps a local copy current until `stop`.

    `read` asks the owner and stores the answer, or raises `SvgxError` when the owner does not answer. `read` is called
    at the start, every `POLL_SECONDS`, after a reconnect to NATS, and every `RETRY_SECONDS` while the owner does not
    answer. `on_broadcast` is called with each message that the owner publishes on `subject`. `name` is for the log.
    """

    def __init__(
        self,
        name: str,
        bus: Bus,
        read: Callable[[], Awaitable[None]],
        *,
        subject: str | None = None,
        on_broadcast: Listener | None = None,
    ) -> None:
        self._name = name
        self._bus = bus
        self._read = read
        self._subject = subject
        self._on_broadcast = on_broadcast
        self._wake = asyncio.Event()
        self._attempted = asyncio.Event()
        self._tasks = BackgroundTasks()
        self.complete = False
        """True after the first answer of the owner."""

    async def start(self) -> None:
        """Listen to broadcasts, then start to read, because in this order no change is missed."""
        if self._subject is not None and self._on_broadcast is not None:
            await self._bus.listen(self._subject, self._on_broadcast)
        self._bus.on_reconnect(self._reconnected)
        outages = OutageLog(
            "another service's data cannot be read yet; trying again",
            quiet_seconds=STARTUP_SECONDS,
            copy=self._name,
        )
        self._tasks.repeat(f"read {self._name}", functools.partial(self._keep_current, outages))

    async def stop(self) -> None:
        """Stop reading. The copy keeps the last answer."""
        await self._tasks.stop()

    async def first_attempt(self) -> None:
        """Wait until the first read has ended, with or without an answer."""
        await self._attempted.wait()

    async def ready(self) -> None:
        """Raise `ConnectionError` until the owner has answered once. The health report calls this."""
        if not self.complete:
            raise ConnectionError

    async def _reconnected(self) -> None:
        self._wake.set()

    async def _keep_current(self, outages: OutageLog) -> None:
        """Read once, then wait until the next read is due."""
        self._wake.clear()
        pause = POLL_SECONDS
        try:
            await self._read()
            self.complete = True
            outages.note_success()
        except SvgxError as error:
            pause = RETRY_SECONDS
            outages.note_failure(error)
        finally:
            self._attempted.set()
        await wait_at_most(self._wake, pause)
