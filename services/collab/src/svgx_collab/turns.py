"""Turns: a batch that would block the event loop is applied in several turns, so that other canvases are served."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

from svgx_collab.room import Receipt, Room
from svgx_common.contract.collab import Edit
from svgx_common.contract.errors import Unavailable

TURN_BYTES = 32 * 1024
"""Bytes of the edits of one turn. A larger edit has a turn of its own, and is checked in a thread."""

TURN_EDITS = 100
"""Edits of one turn. The check of a short edit takes 20 to 40 µs."""


async def receive_in_turns(
    room: Room, edits: Sequence[Edit], is_released: Callable[[], bool]
) -> Receipt:
    """Apply a batch of edits in turns. Each turn waits until the room may take edits.

    Meanwhile, the gateway waits for the answer, and slows down its clients. Raises `Unavailable` when the replica has
    released the canvas. The gateway then sends the batch again; its first edits may be saved already.
    """
    receipt = Receipt(0, ())
    for first, turn in _turns(edits):
        if first or room.seconds_until_edits:
            await asyncio.sleep(room.seconds_until_edits)
        checked = None
        if len(turn[0].update) > TURN_BYTES:
            checked = await asyncio.to_thread(room.check, turn[0].update)
        if is_released():
            raise Unavailable("this replica does not hold the canvas any more")
        taken = room.receive(turn, checked, first=first)
        receipt = Receipt(taken.position, receipt.rejected + taken.rejected)
    return receipt


def _turns(edits: Sequence[Edit]) -> Iterator[tuple[int, Sequence[Edit]]]:
    """Yield the edits of each turn, with the index of the first one."""
    first = size = 0
    for index, edit in enumerate(edits):
        size += len(edit.update)
        if index > first and (size > TURN_BYTES or index - first == TURN_EDITS):
            yield first, edits[first:index]
            first, size = index, len(edit.update)
    if first < len(edits):
        yield first, edits[first:]
