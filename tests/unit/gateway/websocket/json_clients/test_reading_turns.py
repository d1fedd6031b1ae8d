"""The turns in which a gateway reads the messages of JSON clients."""

import asyncio
import time

from svgx_gateway.websocket.json_clients.reading_turns import BURST_SECONDS, RATE, ReadingTurns

TIMEOUT = 20.0
"""Seconds that a test may wait."""

MORE_SECONDS = BURST_SECONDS + 0.3
"""Processor time that an account gets only if it waits."""

READING_SECONDS = 0.05
"""Processor time of one message."""


class Flood:
    """Connections of one account that send messages. The processor time of the messages is simulated.

    The measured time would also contain pauses of a virtual machine.
    """

    def __init__(self, connections: int) -> None:
        self.turns = ReadingTurns(lambda: self.seconds)
        self.seconds = 0.0
        """The processor time of all messages."""
        self.has_used_burst = asyncio.Event()
        self.has_used_more = asyncio.Event()
        self._tasks = [asyncio.create_task(self._send()) for _ in range(connections)]

    async def stop(self) -> None:
        """Close the connections."""
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self) -> None:
        while True:
            async with self.turns.turn("flood"):
                self.seconds += READING_SECONDS
            if self.seconds >= BURST_SECONDS:
                self.has_used_burst.set()
            if self.seconds >= MORE_SECONDS:
                self.has_used_more.set()
            await asyncio.sleep(0)


async def test_account_with_many_connections_gets_its_share_of_the_time() -> None:
    """R-JSON-8: the messages of an account wait beyond its share. Those of another account do not."""
    started = time.monotonic()
    flood = Flood(connections=20)
    async with asyncio.timeout(TIMEOUT):
        await flood.has_used_burst.wait()
        async with flood.turns.turn("other"):
            assert not flood.has_used_more.is_set()
        await flood.has_used_more.wait()
    await flood.stop()
    assert flood.seconds <= BURST_SECONDS + RATE * (time.monotonic() - started) + READING_SECONDS


async def test_connection_that_ends_while_it_waits_leaves_the_turn_to_others() -> None:
    """R-JSON-8: after a connection has ended while it waited, the account's other connections get their turns."""
    flood = Flood(connections=2)
    async with asyncio.timeout(TIMEOUT):
        await flood.has_used_burst.wait()
        await flood.stop()
        async with flood.turns.turn("flood"):
            pass
