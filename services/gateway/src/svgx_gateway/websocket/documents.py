"""The document messages of clients: each becomes one edit, and a large one, such as a first sync, several edits."""

import asyncio

from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.outbox import Outbox
from svgx_yjs.pieces import Pieces

LARGE_BYTES = 256 * 1024
"""Bytes beyond which a message becomes several edits, because the holder serves other canvases between them."""

PIECE_BYTES = 64 * 1024
"""Bytes of one of these edits, unless a single struct is larger."""


class DocumentMessages:
    """The document messages of all clients of a gateway."""

    def __init__(self) -> None:
        self._cutting = asyncio.Semaphore(1)
        """One message is cut at a time, because cutting the largest one takes seconds of a processor."""

    async def receive(
        self, connection: Connection, outbox: Outbox, update: bytes, *, is_step_2: bool
    ) -> None:
        """Add a client's message to the outbox if the client may edit. Raises `Malformed`.

        For a large message, return when all its edits but the last one are committed. If the connection ends earlier,
        the client's next connection sends only the rest.
        """
        if len(update) > LARGE_BYTES and connection.may_edit:
            async with self._cutting:
                pieces = iter(await asyncio.to_thread(Pieces, update, PIECE_BYTES))
            update = next(pieces, update)
            for following in pieces:
                if not await _may_edit(connection, outbox):
                    connection.saved_counter.discard()
                    return
                # The message does not count as saved before its last edit.
                committed = outbox.add(connection, update, connection.saved_counter.arrived)
                await committed.wait()
                update = following
        if await _may_edit(connection, outbox):
            number = connection.saved_counter.accept(is_step_2=is_step_2)
            outbox.add(connection, update, number)
        else:
            connection.saved_counter.discard()


async def _may_edit(connection: Connection, outbox: Outbox) -> bool:
    """Wait for capacity, and return whether the client may edit. The answer holds until the caller's next await."""
    await outbox.wait_for_capacity()
    # The role comes last: nothing may be awaited between the check of the role and the edit.
    await connection.wait_for_known_role()
    return connection.may_edit
