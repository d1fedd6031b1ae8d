"""Where a gateway is in the broadcasts of one canvas, and what all its clients are known to have. No I/O."""

import asyncio
from dataclasses import dataclass

from prometheus_client import Counter

from svgx_common.messaging.wire import Broadcast, SyncReply
from svgx_yjs.structure import EMPTY_STATE_VECTOR

GAPS = Counter("svgx_engine_live_gaps", "Broadcasts this gateway found missing, and caught up.")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the stream of broadcasts."""

    epoch: str
    sequence: int


class Stream:
    """Follows the holder's broadcasts.

    `vector` is a state vector that every client has (one that lags remembers an older one itself): what is missing
    after a gap is asked for from there. `behind` is set from the first doubt until all that was missed is passed on.
    """

    def __init__(self) -> None:
        self.vector = EMPTY_STATE_VECTOR
        self.holder: str | None = None
        """The epoch that has been told what our clients have."""
        self.behind = asyncio.Event()
        self.doubts = 0
        self._position: Position | None = None
        self._checkpoint: tuple[Position, bytes] | None = None

    def doubt(self) -> None:
        """Something may have been missed."""
        self.doubts += 1
        self.behind.set()

    def joined(self, reply: SyncReply) -> None:
        """A client has been brought up to date with this."""
        if self._position is None:
            self._position = Position(reply.epoch, reply.sequence)
            self.vector = reply.state_vector
        if self.holder is None:
            self.holder = reply.epoch
        elif reply.epoch != self.holder:
            self.doubt()

    def passed_on(self, broadcast: Broadcast) -> None:
        """A broadcast has been given to all clients."""
        known = self._position
        if known is None or known.epoch != broadcast.epoch:
            self._position = Position(broadcast.epoch, broadcast.sequence)
            self.doubt()
        elif broadcast.sequence > known.sequence:
            self._position = Position(broadcast.epoch, broadcast.sequence)
            if broadcast.sequence > known.sequence + 1:
                GAPS.inc()
                self.doubt()
        self._adopt()

    def looked(self, reply: SyncReply) -> bool:
        """The holder's vector without content. False: it is ahead of us, which the next look decides."""
        here, there = self._position, Position(reply.epoch, reply.sequence)
        if here is None or self.behind.is_set():
            return True
        before, self._checkpoint = self._checkpoint, (there, reply.state_vector)
        if here.epoch != there.epoch:
            self.doubt()
        elif before is not None and here.sequence < before[0].sequence:
            GAPS.inc()
            self.doubt()
        elif before is not None and before[0] == here == there:
            # Nothing was on its way then: it would have come by now.
            self.vector = before[1]
        return here.epoch == there.epoch and here.sequence >= there.sequence

    def caught_up(self, reply: SyncReply, doubts: int) -> None:
        """All clients have been given what `vector` lacked. `doubts` is how many there were when it was asked for."""
        here, there = self._position, Position(reply.epoch, reply.sequence)
        if here is None or here.epoch != there.epoch or here.sequence < there.sequence:
            self._position = there
        self.vector = reply.state_vector
        self._checkpoint = None
        if self.doubts == doubts:
            self.behind.clear()

    def _adopt(self) -> None:
        """A checkpoint's vector may count in the broadcast after it, so that one must have come too, without a gap."""
        if self._checkpoint is None or self._position is None or self.behind.is_set():
            return
        place, vector = self._checkpoint
        if place.epoch == self._position.epoch and place.sequence < self._position.sequence:
            self.vector = vector
            self._checkpoint = None
