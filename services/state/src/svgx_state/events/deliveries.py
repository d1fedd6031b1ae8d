"""The deliveries of events to webhooks. A failed delivery is repeated, by default for a day."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import prometheus_client
import structlog

from svgx_common.background import BackgroundTasks
from svgx_common.contract.errors import SvgxError
from svgx_common.events.outbox import event_of
from svgx_common.postgres import Database, Row
from svgx_state.events.sender import Outcome, Sender

log = structlog.get_logger(__name__)

ATTEMPTS_AT_A_TIME = 4
"""Largest number of attempts at one webhook that run at a time on one replica."""

PAUSE_FACTOR = 4
"""The factor from one pause to the next, up to `LONGEST_PAUSE_SECONDS`. Then `JITTER` changes each pause."""

CHECKED_TOGETHER = 500
"""Largest number of due deliveries of one webhook that one statement checks."""

LONGEST_PAUSE_SECONDS = 6 * 3600.0
"""Longest pause between two attempts, in seconds, before `JITTER` changes it."""

JITTER = 0.2
"""The share by which a pause may be longer or shorter, so that failed deliveries are not all repeated at one time."""

LOST_AFTER_SECONDS = 20.0
"""Seconds from an attempt's time limit until the attempt counts as lost, because its replica must have ended."""

MEASURE_SECONDS = 10.0
"""Seconds between two counts of the backlog, and between two deletions of old secrets."""

DELIVERIES = prometheus_client.Counter(
    "svgx_engine_webhook_attempts",
    "Attempts at a delivery to a webhook: `delivered`, `failed` and tried again later, or `dead` after the last one.",
    ["outcome"],
)
for _outcome in ("delivered", "failed", "dead"):
    DELIVERIES.labels(_outcome)
ATTEMPT_SECONDS = prometheus_client.Histogram(
    "svgx_engine_webhook_attempt_seconds",
    "Seconds of one attempt at a delivery to a webhook.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
DEAD = prometheus_client.Gauge(
    "svgx_engine_webhook_dead_letters",
    "Deliveries that have failed for good, until an admin asks for them again or they are old.",
)
PENDING = prometheus_client.Gauge(
    "svgx_engine_webhook_pending", "Deliveries to active webhooks that are not finished."
)

_random = secrets.SystemRandom()


def pause_after(attempts: int, first: float, jitter: float) -> float:
    """Return the seconds to wait after the failed attempt with the number `attempts`. `jitter` is between -1 and 1."""
    pause: float = min(LONGEST_PAUSE_SECONDS, first * PAUSE_FACTOR ** min(attempts - 1, 20))
    return pause * (1 + JITTER * jitter)


def keys_of(row: Row) -> list[str]:
    """Return the secrets that sign a delivery: the present secret, and during an overlap also the old secret."""
    return [row["secret"]] if row["old_secret"] is None else [row["secret"], row["old_secret"]]


class Deliveries:
    """The deliveries of one replica.

    The number of attempts that run at a time is limited for each webhook, so a slow webhook delays no other webhook.
    `interval_seconds` is the time between two checks of the table, `attempt_seconds` the time limit of an attempt,
    `first_pause_seconds` the pause after the first failure, and `give_up_seconds` the time after which a delivery that
    still fails is dead. All are in seconds.
    """

    def __init__(
        self,
        database: Database,
        sender: Sender,
        *,
        interval_seconds: float,
        attempt_seconds: float,
        first_pause_seconds: float,
        give_up_seconds: float,
    ) -> None:
        self._database = database
        self._sender = sender
        self._interval_seconds = interval_seconds
        self._lost_after = attempt_seconds + LOST_AFTER_SECONDS
        self._first_pause = first_pause_seconds
        self._give_up = timedelta(seconds=give_up_seconds)
        self._running: Counter[str] = Counter()
        self._measure_at = 0.0
        self._tasks = BackgroundTasks()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Make `step` read the table again at once, because deliveries may be due."""
        self._wake.set()

    async def step(self) -> None:
        """Start due attempts within each webhook's limit, then wait. This is a step to repeat in the background."""
        self._wake.clear()
        running = dict(self._running)
        rows = await self._database.rows(
            "claim_deliveries",
            list(running),
            list(running.values()),
            ATTEMPTS_AT_A_TIME,
            self._lost_after,
            CHECKED_TOGETHER,
        )
        if rows[0]["more"]:
            self.wake()
        for row in rows:
            if row["delivery_id"] is None:
                continue
            self._running[row["webhook_id"]] += 1
            task = self._tasks.start("deliver an event", self._attempt(row))
            task.add_done_callback(self._done(row["webhook_id"]))
        await self._clean_and_measure()
        try:
            async with asyncio.timeout(self._interval_seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def stop(self) -> None:
        """Cancel the running attempts. A replica repeats a cancelled attempt once the attempt counts as lost."""
        await self._tasks.stop()

    def _done(self, webhook_id: str) -> Callable[[object], None]:
        def done(_: object) -> None:
            self._running[webhook_id] -= 1
            if not self._running[webhook_id]:
                del self._running[webhook_id]
            # The next delivery of the same entity may have waited for this one.
            self.wake()

        return done

    async def _attempt(self, row: Row) -> None:
        """Carry out one attempt, and store its result."""
        began = time.monotonic()
        body = event_of(row).model_dump_json().encode()
        with ATTEMPT_SECONDS.time():
            outcome = await self._send(row, body)
        delivery_id, attempts = row["delivery_id"], row["attempts"]
        due: datetime | None = None
        try:
            if outcome.succeeded:
                await self._database.run("finish_delivery", delivery_id, attempts, outcome.status)
            else:
                # PostgreSQL decides when the attempt is due, so its clock counts, not that of this replica.
                now = row["taken_at"] + timedelta(seconds=time.monotonic() - began)
                due = self._next_attempt(attempts, row["started_at"], now)
                await self._database.run(
                    "fail_delivery", delivery_id, attempts, outcome.status, outcome.error, due
                )
        except SvgxError as error:
            log.warning(
                "the result of a delivery could not be stored; the event is delivered again",
                delivery_id=delivery_id,
                code=error.code,
            )
            return
        if outcome.succeeded:
            DELIVERIES.labels("delivered").inc()
        elif due is not None:
            DELIVERIES.labels("failed").inc()
        else:
            DELIVERIES.labels("dead").inc()
            log.warning(
                "a delivery to a webhook has failed for good",
                webhook_id=row["webhook_id"],
                delivery_id=delivery_id,
                attempts=attempts,
                reason=outcome.error,
            )
        if due is None:
            await self._release_next(delivery_id)

    async def _send(self, row: Row, body: bytes) -> Outcome:
        """Send an event. An unexpected error fails the attempt, because the delivery would otherwise never end."""
        try:
            return await self._sender.send(row["url"], keys_of(row), row["id"], body)
        except Exception:
            log.exception("an attempt of a delivery failed", delivery_id=row["delivery_id"])
            return Outcome(None, "the attempt failed because of an internal error")

    async def _release_next(self, delivery_id: str) -> None:
        """Make the next delivery of the same entity due, because this delivery has ended."""
        try:
            await self._database.run("release_next_delivery", delivery_id)
        except SvgxError as error:
            log.warning(
                "the next delivery of an entity could not be made due at once; it is sent later",
                after=delivery_id,
                code=error.code,
            )

    def _next_attempt(self, attempts: int, started_at: datetime, now: datetime) -> datetime | None:
        """Return the time of the next attempt, or None after the last one, which is at the end of `give_up_seconds`."""
        pause = pause_after(attempts, self._first_pause, _random.uniform(-1, 1))
        end = started_at + self._give_up
        return min(now + timedelta(seconds=pause), end) if now < end else None

    async def _clean_and_measure(self) -> None:
        """Delete old secrets after their overlap, and measure the backlog, at most every `MEASURE_SECONDS`."""
        if time.monotonic() < self._measure_at:
            return
        self._measure_at = time.monotonic() + MEASURE_SECONDS
        await self._database.run("forget_old_secrets")
        row = await self._database.row("delivery_backlog")
        if row is not None:
            DEAD.set(row["dead"])
            PENDING.set(row["pending"])
