"""Wait for a state that no event announces."""

import asyncio

STATE_POLL_SECONDS = 0.02
"""Seconds before a test reads a state again."""

REQUEST_POLL_SECONDS = 0.1
"""Seconds before a test sends a process the next request."""


async def pause(seconds: float = STATE_POLL_SECONDS) -> None:
    """Wait before a state is read again. Callers pass `REQUEST_POLL_SECONDS` before a request to a process.

    A loop without a pause would take the processor from the servers and from the tests in other processes. A request
    takes much more processor time than reading a state in this process.
    """
    await asyncio.sleep(seconds)
