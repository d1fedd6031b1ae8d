"""Edits that could block the event loop: large edits are checked in a thread, and edits of a busy canvas wait."""

import asyncio

from svgx_canvas.document.shared_document import Checked
from svgx_collab.room import Room
from svgx_common.contract.collab import Edit

LARGE_BYTES = 256 * 1024
"""Bytes of an edit. A larger edit is checked in a thread."""


async def wait_for_turn(room: Room) -> None:
    """Wait until the room may take edits. Meanwhile, its gateways wait for answers, and slow down their clients."""
    if seconds := room.seconds_until_edits:
        await asyncio.sleep(seconds)


async def check_large(room: Room, edits: list[Edit]) -> dict[int, Checked | None] | None:
    """Check the large edits of a batch in a thread. Return the results by index, or None without a large edit."""
    large = [index for index, edit in enumerate(edits) if len(edit.update) > LARGE_BYTES]
    if not large:
        return None
    return {index: await asyncio.to_thread(room.check, edits[index].update) for index in large}
