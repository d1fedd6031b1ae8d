"""Requests to the holder of a canvas, the collab replica that has the canvas's room."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from svgx_common.contract.collab import CANVAS_EDIT, OPEN, Edit, EditBatch, Saved
from svgx_common.contract.errors import (
    TEMPORARY_ERRORS,
    DeadlineExceeded,
    SvgxError,
    TemporaryError,
)
from svgx_common.contract.operation import Channel
from svgx_common.contract.state import CanvasRequest
from svgx_common.messaging.bus import Bus, NoResponders
from svgx_common.messaging.headers import Headers
from svgx_common.messaging.spans import trace_headers
from svgx_common.messaging.wire import decode, encode
from svgx_common.timing.bounded_wait import wait_at_most

RETRY_SECONDS = 0.1
"""Pause before the next attempt to open the canvas or to send the request, unless the error has a `retry_after`."""

OPEN_ATTEMPT_SECONDS = 1.0
"""Time limit of one request to open the canvas after its holder has not answered in time, in seconds."""

OPEN_RETRY_SECONDS = 6.0
"""Time limit of all requests to open the canvas after its holder has not answered in time, in seconds.

A replica needs 2 s to replace a frozen replica.
"""


class Holder:
    """A client of the holder of one canvas. It repeats requests that are not answered.

    When several requests fail at the same time, only the first opens the canvas on a replica and is repeated. The
    others wait until that request has an answer or is given up.
    """

    def __init__(self, bus: Bus, canvas_id: str) -> None:
        self._bus = bus
        self._canvas_id = canvas_id
        self._recovery_ended = asyncio.Event()
        """Cleared while one of the requests opens the canvas and is repeated, otherwise set."""
        self._recovery_ended.set()
        self.has_repeated = False
        """Whether a request was sent again after a holder may have received it."""
        self._attempts: set[asyncio.Timeout] = set()
        """The attempts that wait for the holder's answer."""

    async def ask(
        self,
        channel: Channel[Any],
        content: bytes,
        *,
        retry_seconds: float,
        attempt_seconds: float,
        more_headers: Headers | None = None,
        after: TemporaryError | None = None,
    ) -> bytes:
        """Send a request on `edit` or `sync` and return the answer. Requests on these channels may be repeated safely.

        An attempt fails after `attempt_seconds`. Attempts are repeated for `retry_seconds`. Then the last error is
        raised. Raise `NotFound` for an unknown canvas. The request carries the current trace.

        `after` is the error of an earlier attempt outside this method, such as a batch on a link. With `after`, the
        method recovers from this error (see `_recover`) before its first attempt.
        """
        deadline = time.monotonic() + retry_seconds
        subject = channel.subject_of(canvas_id=self._canvas_id)
        recovering = False
        headers = _merged(trace_headers(first=after is None), more_headers)
        try:
            while True:
                await self._bus.wait_connected(deadline - time.monotonic())
                if after is not None:
                    failure: TemporaryError = after
                    after = None
                else:
                    timeout = _within(attempt_seconds, deadline)
                    try:
                        async with self._attempt():
                            answer = await self._bus.request(
                                subject, content, headers, timeout=timeout
                            )
                            return answer.content
                    except TimeoutError:  # `restart` has ended the attempt
                        self.has_repeated = True
                        headers = _merged(trace_headers(first=False), more_headers)
                        continue
                    except TEMPORARY_ERRORS as error:
                        failure = error
                        self.has_repeated |= not isinstance(error, NoResponders)
                        headers = _merged(trace_headers(first=False), more_headers)
                if not recovering and not self._recovery_ended.is_set():
                    await self._wait_for_recovery(deadline)
                    pause = 0.0
                else:
                    recovering = True
                    self._recovery_ended.clear()
                    failure, pause = await self._recover(failure, deadline)
                if time.monotonic() + pause >= deadline:
                    raise failure
                await asyncio.sleep(pause)
        finally:
            if recovering:
                self._recovery_ended.set()

    def restart(self) -> None:
        """Repeat the requests that wait for an answer, because another replica may have become the holder."""
        now = asyncio.get_running_loop().time()
        for attempt in self._attempts:
            attempt.reschedule(now)
        self._attempts.clear()

    async def open(self) -> None:
        """Let another replica open the canvas if a request waits for the holder's answer. Ignore errors.

        The replica refuses if the holder answers a probe.
        """
        if self._attempts:
            deadline = time.monotonic() + OPEN_RETRY_SECONDS
            with contextlib.suppress(SvgxError):
                await self._recover(DeadlineExceeded(), deadline)

    @contextlib.asynccontextmanager
    async def _attempt(self) -> AsyncIterator[None]:
        """Run one attempt. Raises `TimeoutError` after `restart`."""
        async with asyncio.timeout(None) as attempt:
            self._attempts.add(attempt)
            try:
                yield
            finally:
                self._attempts.discard(attempt)

    async def _recover(
        self, failure: TemporaryError, deadline: float
    ) -> tuple[TemporaryError, float]:
        """Open the canvas if that may help. Return the newest error, and the seconds until the next attempt."""
        match failure:
            case NoResponders():
                return await self._open(failure, OPEN.timeout, deadline)
            case DeadlineExceeded():
                # The holder is busy or hangs. The replica that gets the request to open sends a probe to the holder,
                # and opens the canvas only if the holder does not answer. A request to open may also go to a replica
                # that hangs, so each of these requests has a short timeout.
                end = min(time.monotonic() + OPEN_RETRY_SECONDS, deadline)
                while True:
                    outcome, pause = await self._open(failure, OPEN_ATTEMPT_SECONDS, deadline)
                    if not pause or time.monotonic() + pause >= end:
                        return outcome, pause
                    await asyncio.sleep(pause)
            case _:
                return failure, failure.retry_after or RETRY_SECONDS

    async def _open(
        self, failure: TemporaryError, timeout: float, deadline: float
    ) -> tuple[TemporaryError, float]:
        """Open the canvas. Return `failure` and no pause on success, otherwise the new error and its pause."""
        request = CanvasRequest(canvas_id=self._canvas_id)
        try:
            await self._bus.ask(OPEN, request, timeout=_within(timeout, deadline))
        except TEMPORARY_ERRORS as error:
            return error, error.retry_after or RETRY_SECONDS
        return failure, 0.0

    async def _wait_for_recovery(self, deadline: float) -> None:
        """Wait until the request that opens the canvas has an answer or is given up."""
        await wait_at_most(self._recovery_ended, max(0.0, deadline - time.monotonic()))


async def ask_holder(
    bus: Bus,
    canvas_id: str,
    channel: Channel[Any],
    content: bytes,
    *,
    retry_seconds: float,
    attempt_seconds: float,
    holder: Holder | None = None,
) -> bytes:
    """Send one request to the holder of a canvas, in a span of its own (see `Holder.ask`)."""
    holder = holder or Holder(bus, canvas_id)
    with bus.spans.ask_holder(channel, canvas_id):
        return await holder.ask(
            channel, content, retry_seconds=retry_seconds, attempt_seconds=attempt_seconds
        )


async def ask_to_save(
    bus: Bus,
    canvas_id: str,
    edit: Edit,
    *,
    retry_seconds: float,
    attempt_seconds: float,
    holder: Holder | None = None,
) -> Saved:
    """Let the holder of a canvas apply and save an edit, and return its answer. Raises the errors of `Holder.ask`.

    All edits that the holder has taken earlier are then committed too, also if this edit is empty.
    """
    answer = await ask_holder(
        bus,
        canvas_id,
        CANVAS_EDIT,
        encode(EditBatch((edit,))),
        retry_seconds=retry_seconds,
        attempt_seconds=attempt_seconds,
        holder=holder,
    )
    return decode(Saved, answer)


def _merged(headers: Headers | None, more: Headers | None) -> Headers | None:
    """Return all headers, or None without any."""
    return headers if more is None else {**(headers or {}), **more}


def _within(seconds: float, deadline: float) -> float:
    """Return `seconds`, or the time until the deadline if that is shorter, but at least 0.05."""
    return max(0.05, min(seconds, deadline - time.monotonic()))
