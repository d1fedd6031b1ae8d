"""Wait for a state that no event announces."""

import asyncio

_SECONDS = 0.02


async def pause() -> None:
    """Wait before the next look at the state.

    A loop without a pause would take the processor from the servers and from the tests in other processes.
    """
    await asyncio.sleep(_SECONDS)
