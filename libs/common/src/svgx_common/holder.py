"""Reaching the replica that holds a canvas, wherever it is at the moment."""

import asyncio
import time

from svgx_common.bus import Bus, NoResponders
from svgx_common.contract import subjects
from svgx_common.contract.collab import OPEN
from svgx_common.contract.errors import DeadlineExceeded, Unavailable
from svgx_common.contract.state import CanvasRequest
from svgx_common.contract.subjects import CanvasChannel

RETRY = 0.1
"""Seconds between tries while a holder is being found."""


async def ask_holder(
    bus: Bus,
    canvas_id: str,
    channel: CanvasChannel,
    content: bytes,
    *,
    patience: float,
    attempt: float,
) -> bytes:
    """Ask the holder on `edit` or `sync`, and have the canvas opened when nobody holds it.

    Retries for `patience` seconds what is not answered within `attempt` seconds; every request on these channels may
    be repeated. Raises `NotFound` for an unknown canvas, and the last failure when patience ends.
    """
    deadline = time.monotonic() + patience
    subject = subjects.canvas(canvas_id, channel)
    while True:
        await bus.wait_connected(deadline - time.monotonic())
        try:
            return (await bus.request(subject, content, timeout=_within(attempt, deadline))).content
        except NoResponders as error:
            failure: Unavailable | DeadlineExceeded = error
            reopen = OPEN.timeout
        except DeadlineExceeded as error:
            # It may be busy, or hang: when its lease has ended, another replica opens the canvas.
            failure, reopen = error, attempt
        except Unavailable as error:
            failure, reopen = error, 0.0
        pause = RETRY
        if reopen:
            try:
                await bus.ask(
                    OPEN, CanvasRequest(canvas_id=canvas_id), timeout=_within(reopen, deadline)
                )
                pause = 0.0
            except (Unavailable, DeadlineExceeded) as error:
                failure = error
        if time.monotonic() + pause >= deadline:
            raise failure
        await asyncio.sleep(pause)


def _within(seconds: float, deadline: float) -> float:
    return max(0.05, min(seconds, deadline - time.monotonic()))
