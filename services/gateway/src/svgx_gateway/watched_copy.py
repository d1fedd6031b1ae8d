"""Local copies of data that another service owns."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import structlog

from svgx_common.background import BackgroundTasks
from svgx_common.contract.errors import SvgxError
from svgx_common.messaging.bus import Bus, Listener

log = structlog.get_logger(__name__)

POLL = 30.0
"""Seconds between two reads. Even if a broadcast is lost, the copy has the change after this time at the latest."""

STARTING = 60.0
"""Seconds after the start in which a missing first answer is normal, because services start in any order."""

RETRY = 1.0
"""Seconds until the next read while the owner does not answer."""


class WatchedCopy:
    """A task that keeps a local copy current until `stop`.

    `read` asks the owner and stores the answer, or raises `SvgxError` when the owner does not answer. `read` is called
    at the start, every `POLL` seconds, after a reconnect to NATS, and every `RETRY` seconds while the owner does not
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
        self._outage_logged_as = ""
        self._started_at = time.monotonic()
        self._tasks = BackgroundTasks()
        self.complete = False
        """True after the first answer of the owner."""

    async def start(self) -> None:
        """Listen to broadcasts, then start to read, because in this order no change is missed."""
        if self._subject is not None and self._on_broadcast is not None:
            await self._bus.listen(self._subject, self._on_broadcast)
        self._bus.on_reconnect(self._reconnected)
        self._tasks.repeat(f"read {self._name}", self._keep_current)

    async def stop(self) -> None:
        """Stop reading."""
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

    def _log_outage(self, code: str) -> None:
        """Log an outage once: as information while the service starts, and as a warning if it lasts or begins later."""
        starting = not self.complete and time.monotonic() - self._started_at < STARTING
        level = "info" if starting else "warning"
        if self._outage_logged_as in (level, "warning"):
            return
        self._outage_logged_as = level
        message = "a copy of the state of another service cannot be read yet; trying again"
        (log.info if starting else log.warning)(message, copy=self._name, code=code)

    async def _keep_current(self) -> None:
        """Read once, then wait until the next read is due."""
        self._wake.clear()
        pause = POLL
        try:
            await self._read()
            self.complete = True
            self._outage_logged_as = ""
        except SvgxError as error:
            pause = RETRY
            self._log_outage(error.code)
        finally:
            self._attempted.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._wake.wait()
