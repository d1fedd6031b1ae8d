"""One client's connection: what is waiting to be sent to it, and what it has said."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected

from svgx_common.contract.close_codes import Close
from svgx_common.contract.policy import CanvasRole
from svgx_common.messaging.caller import Caller
from svgx_gateway.websocket.awareness_owner import AwarenessOwner
from svgx_gateway.websocket.saved_counter import SavedCounter
from svgx_yjs import protocol

SLOW_BYTES = 1024 * 1024
"""Bytes waiting for a client past which broadcasts are not queued any more; it gets one merged catch-up later."""

HARD_BYTES = 64 * 1024 * 1024
"""Bytes waiting for a client past which it is closed, whatever they are."""

LAGGING_SECONDS = 60.0
"""Seconds a client may stay slow before it is closed."""


@dataclass(frozen=True, slots=True)
class Closing:
    """Why a connection ends."""

    code: Close
    reason: str


class Flow(Enum):
    """How a client keeps up."""

    LIVE = auto()
    LAGGING = auto()


class Connection:
    """Sends in order, through a bounded queue, so that no client slows another."""

    def __init__(
        self, websocket: WebSocket, caller: Caller, role: CanvasRole, *, wants_saved: bool
    ) -> None:
        self.caller = caller
        self.role = role
        self.role_known = asyncio.Event()
        """Cleared while a change of the role is looked up: until then nothing is written."""
        self.role_known.set()
        self.doubts = 0
        """How often the role may have changed: of several questions about it the last one's answer counts."""
        self.wants_saved = wants_saved
        self.tally = SavedCounter()
        self.voice = AwarenessOwner()
        self.flow = Flow.LIVE
        self.lag_vector = b""
        self._websocket = websocket
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._lagging_since = 0.0
        self.ended = False
        """Nothing is sent any more."""
        self.closing: asyncio.Future[Closing] = asyncio.get_running_loop().create_future()

    @property
    def may_edit(self) -> bool:
        """Whether document messages are taken from this client."""
        return self.role.allows(CanvasRole.EDITOR)

    def close(self, code: Close, reason: str) -> None:
        """End the connection; the first reason given counts."""
        if not self.closing.done():
            self.closing.set_result(Closing(code, reason))

    def broadcast(self, frame: bytes, lag_vector: bytes) -> bool:
        """Queue a broadcast. False: the client is slow and will need a catch-up from `lag_vector`."""
        if self.flow is Flow.LAGGING:
            if time.monotonic() - self._lagging_since > LAGGING_SECONDS:
                self.close(Close.OVERLOADED, "too slow to follow the canvas")
            return True
        if self._bytes + len(frame) > SLOW_BYTES and self._queue:
            self.flow = Flow.LAGGING
            self.lag_vector = lag_vector
            self._lagging_since = time.monotonic()
            return False
        self.send(frame)
        return True

    def send(self, frame: bytes) -> None:
        """Queue a frame that must not be left out."""
        if self.ended:
            return
        if self._bytes + len(frame) > HARD_BYTES and self._queue:
            self.close(Close.OVERLOADED, "too much is waiting to be sent")
            return
        self._queue.append(frame)
        self._bytes += len(frame)
        self._drained.clear()
        self._wake.set()

    async def drained(self) -> None:
        """Wait until everything queued has been sent, or nothing will be any more."""
        await self._drained.wait()

    async def write(self) -> None:
        """Send what is queued until the client has gone."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    frame = self._queue.popleft()
                    await self._websocket.send_bytes(frame)
                    self._bytes -= len(frame)
                self._drained.set()
        except (ClientDisconnected, WebSocketDisconnect, RuntimeError):
            self.close(Close.NORMAL, "gone")
        finally:
            # Whoever waits for it to drain must not wait for ever, and nothing is kept for nobody.
            self.ended = True
            self._queue.clear()
            self._drained.set()

    def committed(self, number: int) -> None:
        """What was taken up to this number is committed: tell the client what is saved, when it asked to know."""
        saved = self.tally.commit(number)
        if self.wants_saved and saved is not None:
            self.send(protocol.encode_saved(saved))
