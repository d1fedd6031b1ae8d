"""The connection of one client: the messages for the client, and the state of the connection."""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypedDict

from opentelemetry.trace import SpanContext
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected

from svgx_common.contract.close_codes import Close
from svgx_common.contract.collab import EVENTS_PATH
from svgx_common.contract.policy import CanvasRole
from svgx_common.contract.storage.quotas import QuotaStatus, Use
from svgx_common.messaging.caller import Caller
from svgx_gateway.memory.outgoing import Outgoing, Turn
from svgx_gateway.websocket.trackers.awareness_owner import AwarenessOwner
from svgx_gateway.websocket.trackers.broadcast_tracker import Position
from svgx_gateway.websocket.trackers.saved_counter import SavedCounter
from svgx_gateway.websocket.transport.frames import encode_frame
from svgx_gateway.websocket.transport.inflow import Inflow
from svgx_yjs import awareness, protocol

SLOW_BYTES = 1024 * 1024
"""Limit of one client's queued bytes. Beyond it, the client's broadcasts are dropped.

The client gets one merged catch-up later.
"""

HARD_BYTES = 64 * 1024 * 1024
"""Limit of one client's queued bytes, in broadcasts and answers together. Beyond it, the connection is closed.

A message for an empty queue may be larger.
"""

LAGGING_SECONDS = 60.0
"""Longest time, in seconds, that a client may lag. A broadcast after this time closes the connection."""

TURN_MESSAGES = 256
"""Largest number of queued messages that are written before other tasks run, because a write of each takes time."""

HEARTBEAT = protocol.encode_awareness(awareness.encode([]))
"""An awareness update without states, which changes nothing."""


@dataclass(frozen=True, slots=True)
class Closing:
    """The close code and the reason with which a connection ends."""

    code: Close
    reason: str


@dataclass(slots=True)
class Joining:
    """The flow to a client before the reply to its first sync step 1. Broadcasts of edits wait for the reply.

    Before the reply, the client could not integrate these edits. pycrdt, which some clients use, would lose deletions.
    """

    waiting: list[tuple[Position, bytes, bytes]] = field(default_factory=list)
    """The position, the message and the frame of each broadcast."""
    size: int = 0
    """Bytes of the messages."""
    is_complete: bool = True
    """False when broadcasts were dropped, because more than `SLOW_BYTES` waited."""

    def add(self, position: Position, message: bytes, frame: bytes) -> None:
        """Keep a broadcast."""
        self.size += len(message)
        if self.size > SLOW_BYTES:
            self.is_complete = False
            self.waiting.clear()
        elif self.is_complete:
            self.waiting.append((position, message, frame))


@dataclass(frozen=True, slots=True)
class Live:
    """The flow to a client that gets all broadcasts."""


@dataclass(frozen=True, slots=True)
class Lagging:
    """The flow to a client that has missed broadcasts. Further broadcasts are dropped until its catch-up begins."""

    since: float
    """Time at which the client began to lag, in seconds of the monotonic clock."""
    vector: bytes
    """A state vector of content that the client certainly has. The catch-up starts from this state vector."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The flow of a connection that has ended: nothing is sent any more."""


Flow = Joining | Live | Lagging | Ended
"""The delivery of broadcasts to one client."""


@dataclass(frozen=True, slots=True)
class KnownRole:
    """A role that is up to date."""

    role: CanvasRole
    doubt_count: int
    """Number of calls of `doubt_role` so far. The lookup of this role began after all of these calls."""


@dataclass(frozen=True, slots=True)
class RoleInDoubt:
    """A role that may have changed. The new role is being looked up, and no edit is accepted until it is known."""

    role: CanvasRole
    """The role before the change."""
    doubt_count: int
    """Number of calls of `doubt_role` so far, including the newest."""


RoleState = KnownRole | RoleInDoubt
"""The client's role on the canvas."""


class ConnectionOptions(TypedDict):
    """The options of a connection that depend on its socket (see `Connection`)."""

    inflow: Inflow | None
    write_frame: Callable[[bytes], bool]
    handshake: SpanContext | None
    outgoing: Outgoing
    transport_bytes: Callable[[], int]


class _Backlog:
    """The messages that wait for a client."""

    __slots__ = ("is_empty", "message_queued", "queue")

    def __init__(self) -> None:
        self.queue: deque[bytes] = deque()
        self.message_queued = asyncio.Event()
        self.is_empty = asyncio.Event()
        self.is_empty.set()


class Connection:
    """The connection of one client.

    Messages are sent in their order. While the client keeps up, `send` writes each message at once, without waking the
    writer's task. When the client is behind, its messages wait in a queue, so that it does not delay other clients. The
    queue is bounded, because a client that does not read would otherwise use up the memory.
    """

    route = EVENTS_PATH
    """The template of the WebSocket's path, for the spans."""

    answers_removals = True
    """True when the client sends its state again after it has received its own removal."""

    _sends_frames_unchanged = True
    """False in a class that changes each message, so that its client does not get the same frame as other clients."""

    def __init__(
        self,
        websocket: WebSocket,
        caller: Caller,
        role: CanvasRole,
        *,
        wants_saved: bool,
        wants_quota: bool = False,
        inflow: Inflow | None = None,
        write_frame: Callable[[bytes], bool] = lambda _: False,
        handshake: SpanContext | None = None,
        outgoing: Outgoing | None = None,
        transport_bytes: Callable[[], int] = lambda: 0,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.opened_at = datetime.now(UTC)
        self.inflow = inflow
        """The inflow of the connection; None with a server that does not limit it."""
        self._outgoing = outgoing or Outgoing()
        self._transport_bytes = transport_bytes
        """Returns the bytes that the transport has taken and not sent."""
        self.handshake = handshake
        """The context of the span of the handshake; None without such a span."""
        self.saved_counter = SavedCounter()
        self.awareness = AwarenessOwner()
        self.closing: asyncio.Future[Closing] = asyncio.get_running_loop().create_future()
        """A future for the close code and reason of the connection. Only the first `close` sets its result."""
        self._websocket = websocket
        self._write_frame = write_frame
        """Writes an encoded frame and returns True, or returns False when the client is behind."""
        self._caller = caller
        self._wants_saved = wants_saved
        self.wants_quota = wants_quota
        """True when the client understands notices about quotas. An edit refused for a quota then gets a notice, and
        does not end the connection."""
        self.has_refused_edits = False
        """True when the server lacks edits of the client, because it refused them for a quota."""
        self._told_status = QuotaStatus.BELOW
        self._role: RoleState = KnownRole(role, doubt_count=0)
        self._limit_viewer()
        self._role_is_known: asyncio.Event | None = None
        """Set when `_role` is a `KnownRole` again; None before the first doubt, because an event takes 0.8 kB."""
        self._flow: Flow = Joining()
        self._keeps_up = False
        """True while each broadcast is written at once, as the same frame as for the other clients.

        Then the flow is `Live`, and no message waits.
        """
        self._backlog: _Backlog | None = None
        """The messages that wait for the client; None until a message waits, because most clients are never behind."""
        self._begin_writing: Callable[[], None] | None = None
        self._queued_bytes = 0
        self.written_bytes = 0
        """Bytes that the transport has taken so far."""
        self._is_quiet = False
        """True when no message was sent since the last call of `send_heartbeat`."""
        self._waiting_count = b""
        """The frame of the newest saved count, if it waits for a broadcast."""

    @property
    def caller(self) -> Caller:
        """Return the caller of the connection's newest token."""
        return self._caller

    @property
    def account(self) -> str:
        """Return the key of the account in the limits of the gateway."""
        return (self.inflow.account if self.inflow is not None else "") or self._caller.user_id

    @property
    def unsent_bytes(self) -> int:
        """Return the bytes that wait for the client."""
        return self._queued_bytes + self._transport_bytes()

    @property
    def sent_bytes(self) -> int:
        """Return the bytes that the transport has sent to the client so far."""
        return self.written_bytes - self._transport_bytes()

    def sync_turn(self, canvas_id: str) -> AbstractAsyncContextManager[Turn]:
        """Return the context of one sync, which waits for its turn. Raises `Overloaded`."""
        return self._outgoing.turn(self, canvas_id)

    @property
    def flow(self) -> Flow:
        """Return the state of the delivery of broadcasts."""
        return self._flow

    @property
    def role(self) -> RoleState:
        """Return the client's role on the canvas."""
        return self._role

    @property
    def may_edit(self) -> bool:
        """Return whether the newest known role may edit the canvas."""
        return self._role.role.allows(CanvasRole.EDITOR)

    @property
    def is_known_editor(self) -> bool:
        """Return whether the role is known, and may edit the canvas."""
        return isinstance(self._role, KnownRole) and self.may_edit

    @property
    def has_backlog(self) -> bool:
        """Return whether messages wait for the client."""
        return self._queued_bytes > 0

    @property
    def is_asked_for_updates(self) -> bool:
        """Return whether the client is asked, after a sync, for the updates that the server lacks."""
        return self.may_edit

    def renew(self, caller: Caller) -> None:
        """Replace the caller by the caller of a fresh access token."""
        self._caller = caller

    def close(self, code: Close, reason: str) -> None:
        """End the connection. Only the first call has an effect."""
        if not self.closing.done():
            self.send_waiting_count()
            self.closing.set_result(Closing(code, reason))

    def doubt_role(self) -> None:
        """Accept no edit until `settle_role`, because the role may have changed."""
        self._role = RoleInDoubt(self._role.role, self._role.doubt_count + 1)
        if self._role_is_known is None:
            self._role_is_known = asyncio.Event()
        self._role_is_known.clear()

    def settle_role(self, role: CanvasRole, doubt_count: int) -> bool:
        """Adopt a role that was looked up. Return whether the client became an editor.

        `doubt_count` is that of the role before the lookup. The role is ignored when `doubt_role` was called during the
        lookup, because another lookup then follows.
        """
        if self._role.doubt_count != doubt_count:
            return False
        could_edit = self.may_edit
        self._role = KnownRole(role, doubt_count)
        self._limit_viewer()
        if self._role_is_known is not None:
            self._role_is_known.set()
        return self.may_edit and not could_edit

    def _limit_viewer(self) -> None:
        if self.inflow is not None:
            self.inflow.is_viewer = not self.may_edit

    async def wait_for_known_role(self) -> None:
        """Wait until the role is known. It stays known until the caller's next await."""
        while isinstance(self._role, RoleInDoubt) and self._role_is_known is not None:
            await self._role_is_known.wait()

    @property
    def is_joining(self) -> bool:
        """Return whether the client waits for the reply to its first sync step 1, or has not sent it yet."""
        return isinstance(self._flow, Joining)

    def follow(self, reply: Position | None, vector: bytes) -> bool:
        """Deliver broadcasts from now on. First send the waiting broadcasts, except those that the reply includes.

        `reply` is the position of the sync reply that the client got; None without a reply. `vector` is the state
        vector of the content that the client has. Return False when broadcasts were dropped, so that the client needs
        a catch-up from `vector`.
        """
        joining = self._flow
        if not isinstance(joining, Joining):
            return True
        if not joining.is_complete:
            self._flow = Lagging(time.monotonic(), vector)
            return False
        self._set_flow(Live())
        for position, message, frame in joining.waiting:
            if reply is None or not reply.includes(position):
                self.send_frame(message, frame)
        return True

    def broadcast(
        self, message: bytes, frame: bytes, vector: bytes, position: Position | None = None
    ) -> bool:
        """Send a broadcast. Return False when the client begins to lag, and needs a catch-up from `vector`.

        `frame` is the encoded message. It is the same for all clients. `position` is the position of a broadcast of
        edits; None for presence, which does not wait for the client's first sync.
        """
        # Nearly all broadcasts take this path. A canvas with many clients sends thousands of frames a second.
        if self._keeps_up and self._write_frame(frames := self._waiting_count + frame):
            self._is_quiet = False
            self._waiting_count = b""
            self.written_bytes += len(frames)
            return True
        match self._flow:
            case Live():
                if self._queued_bytes + len(message) > SLOW_BYTES and self._has_queued_messages:
                    self._set_flow(Lagging(time.monotonic(), vector))
                    return False
                self.send_frame(message, frame)
            case Joining() as joining:
                if position is not None:
                    joining.add(position, message, frame)
                elif self._queued_bytes <= SLOW_BYTES:
                    self.send_frame(message, frame)
            case Lagging(since=since):
                if time.monotonic() - since > LAGGING_SECONDS:
                    self.close(Close.OVERLOADED, "too slow to follow the canvas")
            case Ended():
                pass
        return True

    def begin_catch_up(self) -> bytes | None:
        """Resume the delivery of later broadcasts. Return the state vector from which the catch-up starts.

        Return None when the client does not lag.
        """
        match self._flow:
            case Lagging(vector=vector):
                self._set_flow(Live())
                return vector
            case Joining() | Live() | Ended():
                return None

    def send(self, message: bytes) -> None:
        """Send a message after all earlier ones. Close the connection when its queue would exceed `HARD_BYTES`."""
        self.send_frame(message, encode_frame(message))

    def send_frame(self, message: bytes, frame: bytes) -> None:
        """Send a message by its encoded frame. Queue the message if an earlier one waits or the client is behind."""
        if isinstance(self._flow, Ended):
            return
        self._is_quiet = False
        if not self._queued_bytes and self._write_frame(frame):
            self.written_bytes += len(frame)
            return
        if self._queued_bytes + len(message) > HARD_BYTES and self._has_queued_messages:
            self.close(Close.OVERLOADED, "too many bytes wait to be sent to the client")
            return
        backlog = self._open_backlog()
        backlog.queue.append(message)
        self._keeps_up = False
        self._queued_bytes += len(message)
        backlog.is_empty.clear()
        backlog.message_queued.set()

    def send_heartbeat(self) -> None:
        """Send an empty awareness update if no message was sent since the last call."""
        if self._is_quiet:
            self.send(HEARTBEAT)
        self._is_quiet = True

    def ask_for_edits(self, state_vector: bytes, epoch: str) -> None:
        """Ask the client for all edits that the holder of this epoch lacks."""
        self.saved_counter.ask(epoch)
        self.send(protocol.encode_sync_step_1(state_vector))

    def send_saved(self, number: int, epoch: str, *, with_broadcast: bool = False) -> None:
        """Record that the holder of this epoch has committed the messages up to `number`.

        Send the count if the client asked for it. If `with_broadcast` is true and the client keeps up, the count waits
        for the next broadcast, for `send_waiting_count` or for the end of the connection.
        """
        saved = self.saved_counter.commit(number, epoch)
        if not self._wants_saved or saved is None:
            return
        message = protocol.encode_saved(saved)
        if with_broadcast and self._keeps_up:
            self._waiting_count = encode_frame(message)
            return
        self._waiting_count = b""
        self.send(message)

    def send_waiting_count(self) -> None:
        """Send the saved count that waits for a broadcast, if any."""
        if self._waiting_count:
            self._waiting_count = b""
            self.send(protocol.encode_saved(self.saved_counter.reported))

    def tell_quota(self, use: Use | None) -> None:
        """Tell the client the status of its most used quota, if it wants notices and the status has changed."""
        status = QuotaStatus.BELOW if use is None else use.status
        if self.wants_quota and status is not self._told_status:
            self._told_status = status
            self.send(protocol.encode_quota("{}" if use is None else use.model_dump_json()))

    async def wait_until_sent(self) -> None:
        """Wait until every queued message is sent, or the connection has ended."""
        if self._backlog is not None:
            await self._backlog.is_empty.wait()

    def on_backlog(self, begin_writing: Callable[[], None]) -> None:
        """Call `begin_writing` once, when the first message waits. It must start a task that runs `write`."""
        if self._backlog is None:
            self._begin_writing = begin_writing
        else:
            begin_writing()

    async def write(self) -> None:
        """Send the queued messages until the client disconnects or the task is cancelled."""
        backlog = self._open_backlog()
        try:
            while True:
                await backlog.message_queued.wait()
                backlog.message_queued.clear()
                written = 0
                while backlog.queue:
                    message = backlog.queue.popleft()
                    await self._send_queued(message)
                    self._queued_bytes -= len(message)
                    self.written_bytes += len(message)
                    written += 1
                    if written % TURN_MESSAGES == 0:
                        # While the client keeps up with the writes, `send_bytes` does not wait.
                        await asyncio.sleep(0)
                self._set_flow(self._flow)
                backlog.is_empty.set()
        except (ClientDisconnected, WebSocketDisconnect, RuntimeError):
            self.close(Close.NORMAL, "gone")
        finally:
            self.end()

    async def _send_queued(self, message: bytes) -> None:
        """Send a message that has waited, and wait until the transport has taken it."""
        await self._websocket.send_bytes(message)

    def end(self) -> None:
        """Send nothing more. Release the memory of the queue, and wake every task that waits for an empty queue."""
        self._set_flow(Ended())
        self._begin_writing = None
        if self._backlog is not None:
            self._backlog.queue.clear()
            self._backlog.is_empty.set()

    def _set_flow(self, flow: Flow) -> None:
        """Set the flow to the client, and note whether the client keeps up with it."""
        self._flow = flow
        self._keeps_up = (
            isinstance(flow, Live) and not self._queued_bytes and self._sends_frames_unchanged
        )

    @property
    def _has_queued_messages(self) -> bool:
        """Return whether messages are queued, not counting the one that `write` is sending now."""
        return self._backlog is not None and bool(self._backlog.queue)

    def _open_backlog(self) -> _Backlog:
        """Return the backlog. The first call creates it, and begins to write."""
        if self._backlog is None:
            self._backlog = _Backlog()
            if self._begin_writing is not None:
                self._begin_writing()
        return self._backlog
