"""The drain of one replica by an admin. The gateway forwards the order to the replica."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog
from pydantic import ValidationError

from svgx_common.contract.administration.replicas import DRAIN_REPLICA, DrainReplicaRequest
from svgx_common.contract.errors import Conflict, Forbidden, NotFound, SvgxError, Unavailable
from svgx_common.contract.operation import Empty
from svgx_common.contract.transport import DRAIN_ORDER, replica_subject
from svgx_common.health import CHECK_SECONDS, HealthReport, Phase
from svgx_common.messaging.bus import Bus, NoResponders
from svgx_common.messaging.responder import Call, Responder
from svgx_common.messaging.wire import encode_payload
from svgx_common.redis import Redis, RedisError
from svgx_gateway.replica_watch import ReplicaWatch

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 2.0
"""Time limit for a replica to confirm the order, in seconds."""

REPORT_SECONDS = CHECK_SECONDS + 1.0
"""Time limit for a replica to report its health, in seconds. A report waits for each check of a dependency."""

LOCK_SECONDS = 15.0
"""Seconds until the lock expires, in case its gateway ends without a release. An order takes a few seconds at most."""

LOCK_WAIT_SECONDS = 5.0
"""Longest time in seconds that an order waits for the orders of other gateways."""

_NOT_SERVING = (Phase.STARTING, Phase.DRAINING)


class ReplicaDrain:
    """The handler of `DRAIN_REPLICA`. One order at a time is executed, so that each service keeps a serving replica."""

    def __init__(self, bus: Bus, watch: ReplicaWatch, redis: Redis) -> None:
        self._bus = bus
        self._watch = watch
        self._redis = redis
        self._one_at_a_time = asyncio.Lock()

    def register(self, responder: Responder) -> None:
        """Register the handler."""
        responder.answer(DRAIN_REPLICA, self.drain)

    async def drain(self, request: DrainReplicaRequest, call: Call) -> Empty:
        """Tell a replica to drain. Return when it has confirmed the order.

        Raises `NotFound` for a replica that does not report its health, `Conflict` when no other replica of its service
        serves, `Unavailable` while another gateway executes orders, and `Forbidden` for an API key.
        """
        if call.signed_in_caller().by_key:
            raise Forbidden("an API key does not allow this; log in")
        async with self._one_at_a_time, self._lock():
            return await self._drain(request)

    @contextlib.asynccontextmanager
    async def _lock(self) -> AsyncIterator[None]:
        """Exclude the orders of other gateways. While Redis fails, exclude none.

        Raises `Unavailable` when another gateway has the lock for longer than `LOCK_WAIT_SECONDS`.
        """
        lock = self._redis.lock(
            "svgx:drain", timeout=LOCK_SECONDS, blocking_timeout=LOCK_WAIT_SECONDS
        )
        try:
            is_acquired = await lock.acquire()
        except (RedisError, OSError) as error:
            log.warning(
                "a drain order runs without a lock, because Redis fails", error=type(error).__name__
            )
            yield
            return
        if not is_acquired:
            raise Unavailable("another replica is being drained; try again", retry_after=1.0)
        try:
            yield
        finally:
            with contextlib.suppress(RedisError, OSError):
                await lock.release()

    async def _drain(self, request: DrainReplicaRequest) -> Empty:
        await self._watch.ping_all()
        # A busy replica answers a ping late, and a draining replica still answers pings. So the health reports decide.
        known_ids = {each.id for each in self._watch.replicas if each.service == request.service}
        named, *others = await asyncio.gather(
            self._report(request.service, request.replica_id),
            *(self._report(request.service, each) for each in known_ids - {request.replica_id}),
        )
        if named is None:
            raise _no_such_replica()
        if not any(report is not None and _serves(report) for report in others):
            raise Conflict(
                f"this is the only replica of {request.service} that serves: start another one first",
                field="replica_id",
            )
        subject = DRAIN_ORDER.subject_of(service=request.service, replica_id=request.replica_id)
        try:
            await self._bus.request(subject, encode_payload(Empty()), timeout=ANSWER_SECONDS)
        except NoResponders:
            raise _no_such_replica() from None
        return Empty()

    async def _report(self, service: str, replica_id: str) -> HealthReport | None:
        """Return the health report of a replica, or None if it does not answer in time."""
        subject = replica_subject(service, replica_id)
        try:
            answer = await self._bus.request(subject, b"", timeout=REPORT_SECONDS)
            return HealthReport.model_validate_json(answer.content)
        except (SvgxError, ValidationError):
            return None


def _serves(report: HealthReport) -> bool:
    """Return whether a replica with this report serves: it is neither starting nor draining.

    A replica with a failing dependency counts, because all replicas may share the fault. A reserved replica of
    collab does not count, because it takes only canvases that other replicas hand over to it.
    """
    return report.status not in _NOT_SERVING and not report.is_reserved


def _no_such_replica() -> NotFound:
    return NotFound("the service has no replica with this id that answers", field="replica_id")
