"""The document messages of clients. Each becomes one edit; a large message, such as a first sync, becomes several."""

import functools

from svgx_common.account_threads import AccountThreads
from svgx_common.contract.errors import QuotaExceeded, TooLarge
from svgx_gateway.quotas.enforcement import QuotaEnforcement
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.outbox import Outbox
from svgx_yjs.pieces import Pieces, TooManyParts

LARGE_BYTES = 256 * 1024
"""Size of a message, in bytes, beyond which it becomes several edits.

The holder can serve other canvases in between.
"""

PIECE_BYTES = 64 * 1024
"""Size of each of a large message's edits, in bytes, unless a single struct is larger."""

MAX_CUTS = 2
"""Largest number of messages that are cut at the same time, each in a thread. Further messages wait.

Cutting a message of the largest size takes seconds.
"""


class DocumentMessages:
    """Receives the document messages of all clients of a gateway."""

    def __init__(self, quotas: QuotaEnforcement) -> None:
        self._quotas = quotas
        self._cuts = AccountThreads(MAX_CUTS)

    def receive_at_once(
        self, connection: Connection, outbox: Outbox, update: bytes, *, is_step_2: bool
    ) -> bool:
        """Add a message to the outbox if no limit or quota concerns it. Otherwise, change nothing and return False.

        `receive` handles every message, and waits where it has to.
        """
        if (
            len(update) > LARGE_BYTES
            or not outbox.has_capacity
            or not connection.is_known_editor
            or self._quotas.may_limit(connection.caller, outbox.canvas_id)
        ):
            return False
        outbox.add(connection, update, connection.saved_counter.accept(is_step_2=is_step_2))
        return True

    async def receive(
        self, connection: Connection, outbox: Outbox, update: bytes, *, is_step_2: bool
    ) -> None:
        """Add a client's message to the outbox if the client may edit and no quota refuses the edit.

        Raises `Malformed` and `TooLarge`. For a client that does not understand notices about quotas, also raises
        `QuotaExceeded`.

        For a large message, return when all its edits but the last one are committed. If the connection ends earlier,
        the client's next connection sends only the rest.
        """
        if len(update) > LARGE_BYTES:
            # A viewer's message is not cut, so drop it here: after a change of the role, it would be accepted uncut.
            await connection.wait_for_known_role()
            if not connection.may_edit:
                connection.saved_counter.discard(is_step_2=is_step_2)
                return
            pieces = iter(await self._cut(connection, update))
            update = next(pieces, update)
            for following in pieces:
                if not await self._accepts(connection, outbox, update):
                    connection.saved_counter.discard(is_step_2=is_step_2)
                    return
                # The message does not count as saved before its last edit.
                committed = outbox.add(connection, update, connection.saved_counter.arrived)
                await committed.wait()
                update = following
        if await self._accepts(connection, outbox, update):
            number = connection.saved_counter.accept(is_step_2=is_step_2)
            outbox.add(connection, update, number)
        else:
            connection.saved_counter.discard(is_step_2=is_step_2)

    async def _accepts(self, connection: Connection, outbox: Outbox, update: bytes) -> bool:
        """Slow the account down near its quota, then return whether the edit is accepted.

        The answer holds until the caller's next await.
        """
        await self._quotas.slow_down(connection.caller, outbox.canvas_id, update)
        if not await _may_edit(connection, outbox):
            return False
        use = self._quotas.refusal(connection.caller, outbox.canvas_id, update)
        if use is None:
            return True
        connection.tell_quota(use)
        if not connection.wants_quota:
            # Tell the client to retry later, even for a full canvas, because other clients may delete content.
            error = self._quotas.error(use)
            raise QuotaExceeded(error.detail, limit=use.limit, retry_after=error.retry_after)
        connection.has_refused_edits = True
        return False

    async def _cut(self, connection: Connection, update: bytes) -> Pieces:
        """Cut a message. Raises `Malformed` and `TooLarge`.

        The memory of the message is kept until the thread has ended, also when the connection ends earlier.
        """
        cut = functools.partial(Pieces, update, PIECE_BYTES)
        memory = connection.inflow.keep() if connection.inflow is not None else None
        try:
            return await self._cuts.run(connection.caller.user_id, cut, memory)
        except TooManyParts as error:
            raise TooLarge(str(error)) from None


async def _may_edit(connection: Connection, outbox: Outbox) -> bool:
    """Wait for capacity, and return whether the client may edit. The answer holds until the caller's next await."""
    await outbox.wait_for_capacity()
    # Wait for the role last, because nothing may be awaited between the check of the role and the edit.
    await connection.wait_for_known_role()
    return connection.may_edit
