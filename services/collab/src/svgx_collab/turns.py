"""Turns: a batch that would block the event loop is applied in turns, and other canvases are served between them."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeAlias

from svgx_collab.room import Receipt, Room
from svgx_common.contract.collab import Edit
from svgx_common.contract.errors import Unavailable

TURN_BYTES = 32 * 1024
"""Largest number of bytes of edits in one turn. A larger edit has a turn of its own, and is checked in a thread."""

TURN_EDITS = 100
"""Largest number of edits in one turn. The check of a short edit takes 20 to 40 µs."""

TURN_SECONDS = 0.005
"""Longest processor time of one turn of short edits, in seconds."""

LONGEST_WAIT_SECONDS = 0.5
"""Longest time between two calls of `must_stop` while a batch waits for its turn, in seconds."""

NOTHING_TAKEN = Receipt(0, (), 0)
"""The receipt of a batch before its first turn."""

Ticket: TypeAlias = asyncio.Event
"""The place of a batch in a queue. It is set when the batch may be applied."""


class BatchQueue:
    """The batches of one canvas that are applied in turns, in the order of their arrival.

    If a batch overtook an earlier batch of the same clients, its edits would have to wait for the earlier edits.
    """

    def __init__(self) -> None:
        self._tickets: deque[Ticket] = deque()

    def __len__(self) -> int:
        """Return the number of batches that wait or are being applied."""
        return len(self._tickets)

    def join(self) -> Ticket:
        """Append a batch, and return its ticket. Later batches wait until the block of `turn(ticket)` has ended."""
        ticket = Ticket()
        self._tickets.append(ticket)
        self._tickets[0].set()
        return ticket

    @contextlib.asynccontextmanager
    async def turn(self, ticket: Ticket) -> AsyncIterator[None]:
        """Wait until all earlier batches have left the queue. At the end of the block, this batch leaves it."""
        try:
            await ticket.wait()
            yield
        finally:
            self._tickets.remove(ticket)
            if self._tickets:
                self._tickets[0].set()

    async def wait_for_present_batches(self) -> None:
        """Wait until all batches that are in the queue now have left it."""
        async with self.turn(self.join()):
            pass


async def receive_in_turns(
    room: Room,
    edits: Sequence[Edit],
    must_stop: Callable[[], bool],
    receipt: Receipt = NOTHING_TAKEN,
) -> Receipt:
    """Apply the edits of a batch in turns, from index `receipt.taken` on. Return the receipt of the whole batch.

    An edit that the room has left unfinished is continued in further turns. Each turn waits until the room may take
    edits. Until the batch is answered, the gateway slows down its clients.

    Raises `Unavailable` when `must_stop` returns true, because the replica leaves the canvas. The gateway then sends
    the batch again, although the batch's first edits may be saved already.
    """
    while receipt.taken < len(edits) or room.is_unfinished:
        # Wait before the first turn too, because a broadcast between two batches in the queue may cause a pause.
        await _wait(room, must_stop)
        turn = () if room.is_unfinished else _next_turn(edits, receipt.taken)
        checked = None
        if turn and len(turn[0].update) > TURN_BYTES:
            checked = await asyncio.to_thread(room.check, turn[0].update)
        if must_stop():
            raise Unavailable("this replica does not hold the canvas any more")
        last = room.receive(turn, checked, first=receipt.taken, seconds=TURN_SECONDS)
        receipt = Receipt(
            last.position, receipt.rejected + last.rejected, receipt.taken + last.taken
        )
    return receipt


async def _wait(room: Room, must_stop: Callable[[], bool]) -> None:
    """Let other canvases run, until the room may take edits or must stop."""
    while True:
        seconds = room.seconds_until_edits
        await asyncio.sleep(min(seconds, LONGEST_WAIT_SECONDS))
        if seconds <= LONGEST_WAIT_SECONDS or must_stop():
            return


def _next_turn(edits: Sequence[Edit], first: int) -> Sequence[Edit]:
    """Return the edits of the turn that begins with the edit at index `first`."""
    size = 0
    for index, edit in enumerate(edits[first : first + TURN_EDITS], first):
        size += len(edit.update)
        if size > TURN_BYTES and index > first:
            return edits[first:index]
    return edits[first : first + TURN_EDITS]
