"""Wait for a state that no event announces."""

import asyncio

A_LOOK = 0.02
"""Seconds before the next look at a state."""

A_REQUEST = 0.1
"""Seconds before the next request to a process."""


async def pause(seconds: float = A_LOOK) -> None:
    """Wait before the next look at a state. Callers pass `A_REQUEST` before a request to a process.

    A loop without a pause would take the processor from the servers and from the tests in other processes. A request
    takes much more processor time than a look.
    """
    await asyncio.sleep(seconds)
