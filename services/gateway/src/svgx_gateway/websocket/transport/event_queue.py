"""The queue of the ASGI events of one connection. It is nearly always empty."""

import asyncio
from collections import deque

from uvicorn._types import ASGIReceiveEvent


class EventQueue:
    """A queue for one reader. It needs little memory while it is empty; an empty `asyncio.Queue` takes 3 kB."""

    __slots__ = ("_events", "_waiting")

    def __init__(self) -> None:
        self._events: deque[ASGIReceiveEvent] | None = None
        self._waiting: asyncio.Future[None] | None = None

    def empty(self) -> bool:
        """Return whether there is no event."""
        return self._events is None

    def put_nowait(self, event: ASGIReceiveEvent) -> None:
        """Add an event."""
        if self._events is None:
            self._events = deque()
        self._events.append(event)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def get(self) -> ASGIReceiveEvent:
        """Wait for an event, remove it and return it."""
        while self._events is None:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        event = self._events.popleft()
        if not self._events:
            self._events = None
        return event
