"""The counts of saved messages for one canvas's clients. With many clients, the counts are sent with broadcasts."""

import asyncio
from collections.abc import Collection

from svgx_gateway.websocket.connection import Connection

MANY_CONNECTIONS = 1000
"""Number of the canvas's connections on this gateway at which a count waits for the next broadcast.

Without the wait, a fifth of all socket writes would be counts when all clients write. A count in the same write as a
broadcast costs little, because the time of a write hardly depends on its size. With fewer connections, the gateway has
time to send each count alone, and the count arrives earlier.
"""

WAIT_SECONDS = 0.05
"""Time without a broadcast, in seconds, after which the counts are sent alone.

A count waits at most twice this time.
"""


class SavedCounts:
    """Sends counts to `connections`, the connections of one canvas."""

    def __init__(self, connections: Collection[Connection]) -> None:
        self._connections = connections
        self._timer: asyncio.TimerHandle | None = None
        self._had_broadcast = False
        """True if a broadcast was sent since the timer started."""

    def send(self, connection: Connection, number: int, epoch: str) -> None:
        """Record that the holder of this epoch has committed the messages up to `number`, and send the count."""
        waits = len(self._connections) >= MANY_CONNECTIONS
        connection.send_saved(number, epoch, with_broadcast=waits)
        if waits and self._timer is None:
            self._start_timer()

    def note_broadcast(self) -> None:
        """Note that a broadcast is sent to all connections, together with the counts that waited."""
        self._had_broadcast = True

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _start_timer(self) -> None:
        self._had_broadcast = False
        self._timer = asyncio.get_running_loop().call_later(WAIT_SECONDS, self._end_wait)

    def _end_wait(self) -> None:
        """Send the counts that still wait. If a broadcast was sent meanwhile, wait another `WAIT_SECONDS` instead."""
        self._timer = None
        if self._had_broadcast:
            self._start_timer()
            return
        for connection in self._connections:
            connection.send_waiting_count()
