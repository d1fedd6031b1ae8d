"""Work that goes on as long as the process: one failure must not end it."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)

PAUSE = 1.0
"""Seconds to wait after a failure, so that one that lasts does not fill the log."""


async def repeat(name: str, step: Callable[[], Awaitable[None]]) -> None:
    """Do `step` again and again until cancelled; a failure is logged, and the next step comes a little later."""
    while True:
        try:
            await step()
        except Exception:
            log.exception("background work failed; it goes on", work=name)
            await asyncio.sleep(PAUSE)
