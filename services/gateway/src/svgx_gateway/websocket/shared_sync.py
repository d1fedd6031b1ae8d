"""Sync requests of clients that join a canvas at the same time: clients with equal state vectors share one request."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import cached_property

from svgx_common.contract.collab import SyncReply
from svgx_gateway.websocket.transport.frames import encode_frame
from svgx_yjs import protocol

LARGE_BYTES = 256 * 1024
"""Maximum size of a small update, in bytes. Between the steps of delivering a larger update, other tasks run.

Copying 8 MB takes 5 ms.
"""


class SharedReply:
    """The holder's reply to one request. It is encoded once for all clients."""

    def __init__(self, reply: SyncReply) -> None:
        self.reply = reply

    @property
    def is_large(self) -> bool:
        """Return whether the update has more than `LARGE_BYTES`."""
        return len(self.reply.update) > LARGE_BYTES

    async def encode(self) -> None:
        """Encode the message and the frame, and let other work run before each."""
        await asyncio.sleep(0)
        _ = self.message
        await asyncio.sleep(0)
        _ = self.frame

    @cached_property
    def message(self) -> bytes:
        """Return the sync step 2."""
        return protocol.encode_sync_step_2(self.reply.update)

    @cached_property
    def frame(self) -> bytes:
        """Return the WebSocket frame of the message."""
        return encode_frame(self.message)


class SharedSync:
    """The sync requests of one canvas. `request` asks the holder for the content that a state vector lacks.

    A connection gets only the broadcasts that follow its join (see `Joining`). The reply to an earlier request may lack
    edits from just before the join, so the client needs a request that starts after the join. For each state vector,
    at most one request runs at a time, and the clients that join meanwhile share the next request.
    """

    def __init__(self, request: Callable[[bytes], Awaitable[SyncReply]]) -> None:
        self._request = request
        self._next: dict[bytes, asyncio.Task[SharedReply]] = {}
        self._under_way: dict[bytes, asyncio.Task[SharedReply]] = {}
        self._large = asyncio.Lock()
        """The lock that lets one client at a time go on with a large reply."""

    async def ask(self, state_vector: bytes) -> SharedReply:
        """Return the reply to a request that starts after this call. Raises the errors of `request`."""
        task = self._next.get(state_vector)
        if task is None:
            task = asyncio.create_task(self._run(state_vector), name="sync")
            task.add_done_callback(_read_error)
            self._next[state_vector] = task
        # A client that leaves must not cancel the request that other clients share.
        shared = await asyncio.shield(task)
        if shared.is_large:
            # Let one client at a time go on, because writing to all of them together would block the event loop.
            async with self._large:
                await asyncio.sleep(0)
        return shared

    def stop(self) -> None:
        """Cancel all requests."""
        for task in (*self._next.values(), *self._under_way.values()):
            task.cancel()

    async def _run(self, state_vector: bytes) -> SharedReply:
        earlier = self._under_way.get(state_vector)
        if earlier is not None:
            await asyncio.wait({earlier})
        task = self._next.pop(state_vector)
        self._under_way[state_vector] = task
        try:
            shared = SharedReply(await self._request(state_vector))
            if shared.is_large:
                await shared.encode()
            return shared
        finally:
            if self._under_way.get(state_vector) is task:
                del self._under_way[state_vector]


def _read_error(task: "asyncio.Task[SharedReply]") -> None:
    """Read the error of a request. Otherwise asyncio would log the error when all clients of the request have left."""
    if not task.cancelled():
        task.exception()
