"""All links of this gateway: the messages of the replicas, and the batches that wait for their receipts."""

import asyncio
import contextvars
import itertools
import time
from typing import Protocol

import structlog
from nats.aio.subscription import Subscription
from prometheus_client import Counter, Gauge

from svgx_common.background import BackgroundTasks, repeat
from svgx_common.contract.collab import LINK_TO_GATEWAY, LinkBroadcast, LinkPresence
from svgx_common.contract.errors import DeadlineExceeded
from svgx_common.contract.transport import inbox_prefix
from svgx_common.messaging.bus import Bus, NoResponders
from svgx_common.messaging.link_codec import decode_to_gateway
from svgx_common.timing.alarm import EARLY_SECONDS
from svgx_gateway.websocket.links.replica_link import NextBatch, Outcome, ReplicaLink
from svgx_yjs.lib0 import Malformed
from svgx_yjs.record import record

log = structlog.get_logger(__name__)

RECEIPT_SECONDS = 3.0
"""Time limit for the receipt of a batch, in seconds. Beyond it, the batch is sent again in a separate request."""

IDLE_SECONDS = 600.0
"""Maximum time without a message, in seconds. Beyond it, the link is closed, because the replica may have stopped."""

LINKS = Gauge("svgx_engine_live_links", "Links to replicas of collab.")
WAITING = Gauge("svgx_engine_live_link_waiting", "Batches on links that wait for their receipts.")
UNSETTLED = Counter(
    "svgx_engine_live_link_failures",
    "Batches on links that are sent again with a request of their own, by reason: the replica is `gone`, does"
    " not hold the canvas (`not_held`), refused the batch (`refused`), or sent no receipt in time (`timeout`).",
    ["reason"],
)
GONE, NOT_HELD, REFUSED, TIMEOUT = map(UNSETTLED.labels, ("gone", "not_held", "refused", "timeout"))


class BroadcastReceiver(Protocol):
    """A canvas that receives the broadcasts of its holder."""

    def receive_broadcast(self, broadcast: LinkBroadcast) -> None:
        """Take a broadcast of the holder."""

    def receive_presence(self, update: bytes) -> None:
        """Take an awareness update of the holder."""

    def suspect_gap(self) -> None:
        """Start a catch-up, because broadcasts may have been missed."""


@record
class _Expected:
    """A batch that waits for its receipt until `deadline`, in seconds of the monotonic clock."""

    link: ReplicaLink
    batch: NextBatch
    deadline: float


class ReplicaLinks:
    """The links of one gateway.

    A batch that gets no receipt on its link is reported to its outbox, which sends the batch again in a separate
    request (see `Holder`). So a link never sends a batch again, and never opens a canvas.
    """

    def __init__(self, bus: Bus) -> None:
        self.receivers: dict[str, BroadcastReceiver] = {}
        """The live canvases of this gateway."""
        self._bus = bus
        self._links: dict[str, ReplicaLink] = {}
        self._flushes: dict[ReplicaLink, asyncio.Task[None]] = {}
        self._expected: dict[int, _Expected] = {}
        """The batches without receipts, by their numbers. The oldest is the first."""
        self._numbers = itertools.count(1)
        self._starting: asyncio.Task[None] | None = None
        self._subscriptions: list[Subscription] = []
        self._background = BackgroundTasks()
        self._context = contextvars.copy_context()
        LINKS.set_function(lambda: len(self._links))
        WAITING.set_function(lambda: len(self._expected))

    async def start(self) -> None:
        """Subscribe to the messages of replicas, unless that is done already."""
        if self._starting is None or _has_failed(self._starting):
            # The links outlive the canvas that starts them, so their log lines must not have its id.
            self._starting = asyncio.create_task(self._start(), context=self._context.copy())
        await asyncio.shield(self._starting)

    async def stop(self) -> None:
        """End all links. The outboxes must have stopped.

        The states that still wait are sent, because they remove the presence of clients that have just left.
        """
        await self._background.stop()
        for link in self._links.values():
            await link.send_last_states()
        for subscription in self._subscriptions:
            await subscription.unsubscribe()

    def to(self, replica_id: str) -> ReplicaLink:
        """Return the link to a replica."""
        link = self._links.get(replica_id)
        if link is None:
            reply = self._reply_subject(replica_id)
            link = ReplicaLink(self._bus, replica_id, reply, self._expect)
            self._links[replica_id] = link
            work = repeat("flush a link", link.flush)
            self._flushes[link] = self._background.start(
                "flush a link", work, context=self._context.copy()
            )
        return link

    def next_number(self) -> int:
        """Return the number of the next batch. It is unique on this gateway."""
        return next(self._numbers)

    def forget(self, number: int) -> None:
        """Ignore the receipt of a batch."""
        self._expected.pop(number, None)

    async def _start(self) -> None:
        if not self._subscriptions:
            subject = LINK_TO_GATEWAY.subject_of(gateway_id=self._bus.replica_id)
            self._subscriptions.append(
                await self._bus.listen(subject, self._receive, lost=self._suspect_gaps)
            )
        # NATS publishes here when no process receives a message to a replica. Replicas do not answer messages.
        self._subscriptions.append(
            await self._bus.listen(self._reply_subject("*"), self._note_gone)
        )
        self._background.repeat("missing receipts", self._check_receipts)

    def _reply_subject(self, replica_id: str) -> str:
        return f"{inbox_prefix(self._bus.service)}.link.{self._bus.replica_id}.{replica_id}"

    def _expect(self, link: ReplicaLink, batch: NextBatch) -> None:
        deadline = time.monotonic() + RECEIPT_SECONDS
        self._expected[batch.number] = _Expected(link, batch, deadline)

    async def _receive(self, _: str, content: bytes) -> None:
        try:
            message = decode_to_gateway(content)
        except Malformed as error:
            log.warning("a replica's message cannot be decoded", detail=str(error))
            self._suspect_gaps()
            return
        for broadcast in message.broadcasts:
            self._receive_part(broadcast)
        for presence in message.presence:
            self._receive_part(presence)
        for receipt in message.receipts:
            self._settle(receipt.number, receipt)
        for refusal in message.refusals:
            # If `same_holder` is 0, the outcome is an error after which the gateway looks for the holder.
            (REFUSED if refusal.same_holder else NOT_HELD).inc()
            self._settle(refusal.number, None if refusal.same_holder else NoResponders())

    def _receive_part(self, part: LinkBroadcast | LinkPresence) -> None:
        """Give a part to its canvas. A failure has no effect on the other parts of the message."""
        receiver = self.receivers.get(part.canvas_id)
        if receiver is None:
            return
        try:
            if isinstance(part, LinkBroadcast):
                receiver.receive_broadcast(part)
            else:
                receiver.receive_presence(part.update)
        except Exception:
            log.exception("a part of a replica's message failed", canvas_id=part.canvas_id)
            if isinstance(part, LinkBroadcast):
                receiver.suspect_gap()

    def _settle(self, number: int, outcome: Outcome) -> None:
        expected = self._expected.pop(number, None)
        if expected is not None:
            expected.batch.settle(outcome)

    def _suspect_gaps(self) -> None:
        for receiver in self.receivers.values():
            receiver.suspect_gap()

    async def _note_gone(self, subject: str, _: bytes) -> None:
        """Close the link to a replica that does not receive its messages any more."""
        replica_id = subject.rpartition(".")[2]
        if replica_id in self._links:
            log.info("a replica of collab is gone", replica=replica_id)
            GONE.inc(self._close(replica_id))

    def _close(self, replica_id: str) -> int:
        """Close a link. Return the number of its batches without receipts."""
        link = self._links.pop(replica_id)
        self._flushes.pop(link).cancel()
        unanswered = [number for number, each in self._expected.items() if each.link is link]
        link.close()
        for number in unanswered:
            self._settle(number, NoResponders())
        return len(unanswered)

    async def _check_receipts(self) -> None:
        """Wait until the next receipt may be missing. Then report each batch with a missing receipt."""
        await asyncio.sleep(self._seconds_until_overdue())
        now = time.monotonic()
        overdue = list(
            itertools.takewhile(lambda each: each.deadline < now, self._expected.values())
        )
        TIMEOUT.inc(len(overdue))
        for each in overdue:
            self._settle(each.batch.number, DeadlineExceeded())
        for replica_id, link in list(self._links.items()):
            if now - link.used_at > IDLE_SECONDS:
                self._close(replica_id)

    def _seconds_until_overdue(self) -> float:
        """Return the seconds until the next receipt can be overdue. Receipts of later batches are overdue later."""
        oldest = next(iter(self._expected.values()), None)
        if oldest is None:
            return RECEIPT_SECONDS
        return max(0.0, oldest.deadline - time.monotonic()) + EARLY_SECONDS


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
