"""Reaching the replica that holds a canvas, wherever it is at the moment."""

import asyncio
import contextlib
import time

from svgx_common.contract import subjects
from svgx_common.contract.collab import OPEN
from svgx_common.contract.errors import DeadlineExceeded, Overloaded, Unavailable
from svgx_common.contract.state import CanvasRequest
from svgx_common.contract.subjects import CanvasChannel
from svgx_common.messaging.bus import Bus, NoResponders

RETRY = 0.1
"""Seconds between tries while a holder is being found, unless an answer names others."""

HUNG = 1.0
"""Seconds to wait for a replica to open a canvas whose holder did not answer in time."""

Passing = Unavailable | DeadlineExceeded | Overloaded
"""Failures after which the same request may succeed."""

_PASSING = (Unavailable, DeadlineExceeded, Overloaded)


class Holder:
    """Asks the holder of one canvas, and again what it does not answer.

    Of many requests that fail at a time one is repeated, and has the canvas opened when nobody holds it; the others
    wait until that one is answered or given up.
    """

    def __init__(self, bus: Bus, canvas_id: str) -> None:
        self._bus = bus
        self._canvas_id = canvas_id
        self._nobody_seeks = asyncio.Event()
        self._nobody_seeks.set()

    async def ask(
        self, channel: CanvasChannel, content: bytes, *, patience: float, attempt: float
    ) -> bytes:
        """Ask on `edit` or `sync`: every request there may be repeated.

        Retries for `patience` seconds what is not answered within `attempt` seconds. Raises `NotFound` for an unknown
        canvas, and the last failure when patience ends.
        """
        deadline = time.monotonic() + patience
        subject = subjects.canvas(self._canvas_id, channel)
        seeking = False
        try:
            while True:
                await self._bus.wait_connected(deadline - time.monotonic())
                try:
                    timeout = _within(attempt, deadline)
                    return (await self._bus.request(subject, content, timeout=timeout)).content
                except _PASSING as error:
                    failure: Passing = error
                if not (seeking or self._nobody_seeks.is_set()):
                    await self._wait_for_the_seeker(deadline)
                    pause = 0.0
                else:
                    seeking = True
                    self._nobody_seeks.clear()
                    failure, pause = await self._seek(failure, attempt, deadline)
                if time.monotonic() + pause >= deadline:
                    raise failure
                await asyncio.sleep(pause)
        finally:
            if seeking:
                self._nobody_seeks.set()

    async def _seek(
        self, failure: Passing, attempt: float, deadline: float
    ) -> tuple[Passing, float]:
        """Have the canvas opened when that may help. Returns why not yet, and the seconds to wait."""
        match failure:
            case NoResponders():
                return await self._open(failure, OPEN.timeout, deadline)
            case DeadlineExceeded():
                # It may be busy, or hang: when its lease has ended, another replica opens the canvas. One that hangs
                # is asked to open it too, now and then, so each try is short.
                end = min(time.monotonic() + attempt, deadline)
                while True:
                    outcome, pause = await self._open(failure, HUNG, deadline)
                    if not pause or time.monotonic() + pause >= end:
                        return outcome, pause
                    await asyncio.sleep(pause)
            case _:
                return failure, failure.retry_after or RETRY

    async def _open(
        self, failure: Passing, timeout: float, deadline: float
    ) -> tuple[Passing, float]:
        request = CanvasRequest(canvas_id=self._canvas_id)
        try:
            await self._bus.ask(OPEN, request, timeout=_within(timeout, deadline))
        except _PASSING as error:
            return error, error.retry_after or RETRY
        return failure, 0.0

    async def _wait_for_the_seeker(self, deadline: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await self._nobody_seeks.wait()


async def ask_holder(
    bus: Bus,
    canvas_id: str,
    channel: CanvasChannel,
    content: bytes,
    *,
    patience: float,
    attempt: float,
) -> bytes:
    """`Holder.ask`, for who asks once."""
    return await Holder(bus, canvas_id).ask(channel, content, patience=patience, attempt=attempt)


def _within(seconds: float, deadline: float) -> float:
    return max(0.05, min(seconds, deadline - time.monotonic()))
