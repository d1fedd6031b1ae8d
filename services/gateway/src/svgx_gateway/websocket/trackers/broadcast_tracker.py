"""The broadcast tracker: the gateway's position in the broadcasts of one canvas, and the detection of gaps. No I/O."""

import asyncio

from prometheus_client import Counter

from svgx_common.contract.collab import Broadcast, LinkBroadcast, SyncReply
from svgx_yjs.record import record
from svgx_yjs.structure import EMPTY_STATE_VECTOR, common_state_vector

GAPS = Counter(
    "svgx_engine_live_gaps", "Gaps in the sequence numbers of broadcasts; each starts a catch-up."
)


@record
class Position:
    """A position in the broadcasts of a canvas. Sequence numbers count from the start of the epoch."""

    epoch: str
    sequence: int

    def includes(self, other: "Position") -> bool:
        """Return whether a document at this position certainly has the broadcast at the other position."""
        return self.epoch == other.epoch and self.sequence >= other.sequence


class BroadcastTracker:
    """The tracker of one canvas. Its caller records each broadcast and each sync reply of the canvas's holder."""

    def __init__(self) -> None:
        self.vector = EMPTY_STATE_VECTOR
        """State vector that every client is known to have, except clients that lag. A catch-up starts from it.

        The connection of a lagging client keeps an older state vector for the client's own catch-up.
        """
        self.sent_epoch: str | None = None
        """Epoch of the newest holder to which the gateway has sent the clients' own edits and awareness states."""
        self.behind = asyncio.Event()
        """Set from the first suspected gap until the clients got everything they missed."""
        self.suspected_gaps = 0
        """Number of calls of `suspect_gap`."""
        self._foreign_vectors: set[bytes] = set()
        """State vectors of the replies from holders with another epoch than `sent_epoch`.

        The next catch-up uses them, and then they are forgotten.
        """
        self._position: Position | None = None
        self._vector_reply: Position | None = None
        """The position of the reply with `vector`, or None if `vector` counts only edits that were broadcast."""
        self._checkpoint: tuple[Position, bytes] | None = None

    @property
    def has_position(self) -> bool:
        """True after the first broadcast or reply of a holder."""
        return self._position is not None

    def suspect_gap(self) -> None:
        """Request a catch-up, because the gateway may have missed a broadcast."""
        self.suspected_gaps += 1
        self.behind.set()

    def record_sync(self, reply: SyncReply) -> None:
        """Record that one client got this reply to its own state vector.

        A reply may have edits that are broadcast later. Another client's reply that is older may lack them, so `vector`
        must not count them.
        """
        position = Position(reply.epoch, reply.sequence)
        if self._position is None:
            self._position = self._vector_reply = position
            self.vector = reply.state_vector
        elif (
            self._vector_reply is not None
            and self._vector_reply.includes(position)
            and reply.state_vector != self.vector
        ):
            self.vector = common_state_vector([self.vector, reply.state_vector])
            if self.behind.is_set():
                self.suspect_gap()  # a catch-up under way may have begun with the earlier vector
        if self.sent_epoch is None:
            self.sent_epoch = reply.epoch
        elif reply.epoch != self.sent_epoch:
            # The reply may come from a holder that has ended, and contain less than `vector`. Then this client lacks
            # some of the updates that `vector` counts.
            self._foreign_vectors.add(reply.state_vector)
            self.suspect_gap()

    def begin_catch_up(self) -> bytes:
        """Return the state vector from which a catch-up starts: all clients have its content."""
        foreign, self._foreign_vectors = self._foreign_vectors, set()
        return common_state_vector([self.vector, *foreign]) if foreign else self.vector

    def record_announcement(self, epoch: str) -> None:
        """Record that a replica has opened the canvas.

        The replica sends no broadcasts on its link to this gateway before it gets a sync request of this gateway.
        """
        if self._position is not None and self._position.epoch != epoch:
            self.suspect_gap()

    def record_broadcast(self, broadcast: Broadcast | LinkBroadcast) -> None:
        """Record that this broadcast was sent to all clients."""
        position = self._position
        if position is None or position.epoch != broadcast.epoch:
            self._position = Position(broadcast.epoch, broadcast.sequence)
            self.suspect_gap()
        elif broadcast.sequence > position.sequence:
            self._position = Position(broadcast.epoch, broadcast.sequence)
            if broadcast.sequence > position.sequence + 1:
                GAPS.inc()
                self.suspect_gap()
        self._adopt_checkpoint()

    def record_checkpoint(self, reply: SyncReply) -> bool:
        """Record a checkpoint: the holder's position, and a state vector of the broadcasts up to this position.

        Return False when the holder is ahead of the gateway: a broadcast is lost or still on its way. The next
        checkpoint shows which. The result is also False for another epoch. Before the first position, and while a
        catch-up is due, nothing is recorded, and the result is True.
        """
        own, holder = self._position, Position(reply.epoch, reply.sequence)
        if own is None or self.behind.is_set():
            return True
        previous, self._checkpoint = self._checkpoint, (holder, reply.state_vector)
        if own.epoch != holder.epoch:
            self.suspect_gap()
        elif previous is not None and own.sequence < previous[0].sequence:
            GAPS.inc()
            self.suspect_gap()
        self._adopt_checkpoint()
        return own.includes(holder)

    def record_catch_up(self, reply: SyncReply, suspected_gaps: int) -> None:
        """Record that all clients got this reply to `vector`.

        `suspected_gaps` is the tracker's count from before the request. If the count has risen meanwhile, a gap
        was suspected after the request, and `behind` stays set for another catch-up.
        """
        own, holder = self._position, Position(reply.epoch, reply.sequence)
        if own is None or own.epoch != holder.epoch or own.sequence < holder.sequence:
            self._position = holder
        self.vector, self._vector_reply = reply.state_vector, holder
        self._checkpoint = None
        if self.suspected_gaps == suspected_gaps:
            self.behind.clear()

    def _adopt_checkpoint(self) -> None:
        """Adopt the checkpoint's vector once the gateway has all broadcasts up to the checkpoint without a gap."""
        if self._checkpoint is None or self._position is None or self.behind.is_set():
            return
        position, vector = self._checkpoint
        if self._position.includes(position):
            self.vector, self._vector_reply = vector, None
            self._checkpoint = None
