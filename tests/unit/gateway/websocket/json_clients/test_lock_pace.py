"""The pace at which JSON clients lock and release objects."""

import asyncio
import time

from svgx_gateway.websocket.json_clients.lock_pace import BURST, RATE, LockPace

TIMEOUT = 20.0
"""Seconds that a test may wait."""

MORE = int(BURST) + 6
"""Messages that an account may send only if it waits."""


async def test_locks_of_an_account_with_many_connections_wait_beyond_its_pace() -> None:
    """R-JSON-4: the messages of an account wait after its burst. Those of another account do not."""
    pace = LockPace()
    sent = 0
    has_used_burst, has_sent_more = asyncio.Event(), asyncio.Event()

    async def send() -> None:
        nonlocal sent
        while not has_sent_more.is_set():
            await pace.wait("flood")
            sent += 1
            if sent >= BURST:
                has_used_burst.set()
            if sent >= MORE:
                has_sent_more.set()
            await asyncio.sleep(0)

    started = time.monotonic()
    async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as group:
        connections = [group.create_task(send()) for _ in range(20)]
        await has_used_burst.wait()
        async with asyncio.timeout(0):
            await pace.wait("other")
        assert not has_sent_more.is_set()
        await has_sent_more.wait()
        assert sent <= BURST + RATE * (time.monotonic() - started) + 1
        for each in connections:
            each.cancel()
