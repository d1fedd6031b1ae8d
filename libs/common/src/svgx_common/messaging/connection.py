"""The events of a connection to NATS: logs, metrics, and callbacks after a reconnect."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import SlowConsumerError

from svgx_common import metrics
from svgx_common.nats_server.nkeys import UserKey

log = structlog.get_logger(__name__)

DROP_LOG_INTERVAL_SECONDS = 10.0
"""Seconds between two log lines about dropped messages. The metric counts each message."""


REFUSAL_LOG_INTERVAL_SECONDS = 60.0
"""Seconds between two log lines about refused credentials. NATS refuses them until an operator corrects a setting."""

_DROP_CALLBACK = "svgx_drop_callback"
"""The attribute of a subscription with the callback of `on_drop`."""


def on_drop(subscription: Subscription, callback: Callable[[], None]) -> None:
    """Call `callback` for each message of the subscription that is dropped because too many wait.

    The subscription keeps the callback. A dictionary with weak keys would keep both in memory without end, because the
    callback usually refers to the object that has the subscription.
    """
    setattr(subscription, _DROP_CALLBACK, callback)


def sign_in_with(client: Client, key: UserKey | None) -> Callable[[str], bytes] | None:
    """Let a client sign in with a key. Return the argument `signature_cb` of its `connect`, or None without a key."""
    if key is None:
        return None
    # nats-py sets this attribute itself only with the package `nkeys` (decision 43).
    client._public_nkey = key.public  # noqa: SLF001
    return key.sign


class NatsConnection(Client):
    """A connection to NATS that survives the answer to a cancelled ping.

    In nats-py 2.16, the answer to the ping of a cancelled `flush` ends the read loop. The connection is then silent
    until the next pings have failed, which takes 8 s.
    """

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()


class ConnectionEvents:
    """The event handlers of one connection to NATS."""

    def __init__(self, connection: Client, service: str) -> None:
        self._connection = connection
        self._service = service
        self._logged_errors: set[type[Exception]] = set()
        """Types of the connection errors that were logged since the last successful connection."""
        self._drop_logged_at = -DROP_LOG_INTERVAL_SECONDS
        self._refusal_logged_at = -REFUSAL_LOG_INTERVAL_SECONDS
        self.credentials_setting = "NATS_URL"
        """The setting with the credentials of the connection, for log lines and the health report."""
        self.refuses_credentials = False
        """True from a refusal of the credentials by the server until the next successful connection."""
        self.reconnect_callbacks: list[Callable[[], Awaitable[None]]] = []
        """Callbacks for each reconnect. A failure of one is logged; the others are still called."""
        self.disconnect_callbacks: list[Callable[[], None]] = []
        """Callbacks for each disconnect."""
        self.early_reconnect_callbacks: list[Callable[[], None]] = []
        """Callbacks for each reconnect. They run before `reconnected` is set and before all `reconnect_callbacks`."""
        self.reconnected = asyncio.Event()
        """Set by a reconnect, and when NATS answers again after a silence.

        Cleared by a disconnect, and by a task before it waits for the event.
        """
        self.closed = asyncio.Event()
        """Set when the connection has closed for good."""
        self.closing = False
        """True once this process closes the connection. The close is then not logged as a failure."""

    def show_queues(self) -> None:
        """Show two queues of this process in the metrics: the messages from NATS, and the bytes for NATS."""
        metrics.BUS_UNSENT_BYTES.set_function(lambda: self._connection.pending_data_size)
        metrics.BUS_PENDING.set_function(self._pending_messages)

    def _pending_messages(self) -> int:
        # nats-py has no public list of its subscriptions.
        subscriptions = self._connection._subs  # noqa: SLF001
        return sum(each.pending_msgs for each in subscriptions.values())

    def forget_errors(self) -> None:
        """Forget the errors of an outage that has ended, so that the next connection error is logged again."""
        self._logged_errors.clear()
        self._refusal_logged_at = -REFUSAL_LOG_INTERVAL_SECONDS
        self.refuses_credentials = False

    async def on_error(self, error: Exception) -> None:
        """Log an error, and count a dropped message."""
        if isinstance(error, SlowConsumerError):
            metrics.BUS_DROPPED.labels(self._service).inc()
            if (note_drop := getattr(error.sub, _DROP_CALLBACK, None)) is not None:
                note_drop()
            if time.monotonic() - self._drop_logged_at < DROP_LOG_INTERVAL_SECONDS:
                return
            self._drop_logged_at = time.monotonic()
        elif not self._connection.is_connected:
            self._note_failed_attempt(error)
            return
        log.warning("nats error", error=type(error).__name__, detail=str(error))

    def _note_failed_attempt(self, error: Exception) -> None:
        """Log a failed attempt to connect: one line for each type of error in an outage.

        Refused credentials are logged once in `REFUSAL_LOG_INTERVAL_SECONDS`.
        """
        if isinstance(error, NatsError) and "auth" in str(error).lower():
            # The server's texts are 'Authorization Violation', 'User Authentication Expired' and similar ones.
            self.refuses_credentials = True
            if time.monotonic() - self._refusal_logged_at >= REFUSAL_LOG_INTERVAL_SECONDS:
                self._refusal_logged_at = time.monotonic()
                log.error(
                    "nats refuses the credentials of this service; correct the setting or the users of nats. "
                    "The service keeps trying",
                    setting=self.credentials_setting,
                    detail=str(error),
                )
        elif type(error) not in self._logged_errors:
            self._logged_errors.add(type(error))
            log.warning(
                "nats is not reachable; the service keeps trying",
                error=type(error).__name__,
                detail=str(error),
            )

    async def on_disconnect(self) -> None:
        """Call the callbacks and log the disconnect."""
        self.reconnected.clear()
        for callback in self.disconnect_callbacks:
            callback()
        if not self.closing:
            log.warning("nats disconnected")

    async def on_reconnect(self) -> None:
        """Log the reconnect and call the callbacks."""
        for early_callback in self.early_reconnect_callbacks:
            early_callback()
        self.reconnected.set()
        self.forget_errors()
        metrics.BUS_RECONNECTS.inc()
        log.info("nats reconnected")
        for callback in self.reconnect_callbacks:
            try:
                await callback()
            except Exception:
                log.exception("a callback failed after reconnecting to nats")

    async def on_close(self) -> None:
        """Log an unexpected close."""
        if not self.closing:
            log.error("nats closed the connection for good", error=str(self._connection.last_error))
        self.closed.set()
