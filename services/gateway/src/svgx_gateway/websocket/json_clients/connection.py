"""The connection of a JSON client: the events for the client, as JSON texts."""

import time
from collections.abc import Callable
from typing import Unpack

from pydantic_core import to_json
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.live.json_messages import (
    JSON_EVENTS_PATH,
    HandshakeAccepted,
    RoleChanged,
    ServerMessage,
    TokenExpires,
)
from svgx_common.contract.policy import CanvasRole
from svgx_common.messaging.caller import Caller
from svgx_gateway.websocket.connection import SLOW_BYTES, Connection, ConnectionOptions
from svgx_gateway.websocket.trackers.broadcast_tracker import Position
from svgx_gateway.websocket.transport.frames import encode_text_frame
from svgx_yjs import awareness, protocol
from svgx_yjs.lib0 import Decoder

LOST_SECONDS = 40.0
"""Seconds without a renewal of a client's state, after which the client counts as gone.

The holder removes a state after 30 s. Its message then has 10 s to arrive.
"""


class JsonConnection(Connection):
    """The connection of a JSON client.

    Of the messages of y-protocols, the client gets presence and the notice about its token, as JSON. The element feed
    of the canvas sends the edits (see `ElementFeed`). Until `accept`, the events wait, because the answer to the
    handshake comes first. Presence before `begin` is dropped, because the answer has the clients that are present.
    """

    route = JSON_EVENTS_PATH

    _sends_frames_unchanged = False

    def __init__(
        self,
        websocket: WebSocket,
        caller: Caller,
        role: CanvasRole,
        *,
        client: int,
        **options: Unpack[ConnectionOptions],
    ) -> None:
        super().__init__(websocket, caller, role, wants_saved=False, **options)
        self.client = client
        """The id of the client among the members of the canvas."""
        self.on_removal: Callable[[], None] = lambda: None
        """Called when others are told that the client has left, so that it has to publish its presence again."""
        self._waiting: list[bytes] | None = []
        """The events that wait for `accept`; None after it."""
        self._waiting_bytes = 0
        self._max_waiting_bytes = SLOW_BYTES
        """The limit of the bytes that wait. A client that reads its handshake's answer slowly may be further behind."""
        self._has_begun = False
        self._present: dict[int, float] = {}
        """The other clients that are present, as far as this client knows, and the times of their newest states.

        The times are seconds of the monotonic clock.
        """
        self._left: set[int] = set()
        """The clients that have left before `accept`. The answer to the handshake may have them as members."""

    @property
    def is_asked_for_updates(self) -> bool:
        """Return False, because the client has no document."""
        return False

    def ask_for_edits(self, state_vector: bytes, epoch: str) -> None:
        """Do nothing, because the client has no document."""

    def begin(self) -> None:
        """Keep the changes of presence from now on, until `accept`."""
        self._has_begun = True

    def accept(self, answer: HandshakeAccepted, presence: bytes) -> int:
        """Send the answer to the handshake, and then the events that wait. Return the size of the answer in bytes.

        `presence` is an awareness update with the members of the canvas. The answer has none yet.
        """
        waiting, self._waiting = self._waiting or [], None
        members = [
            entry
            for entry in awareness.entries(presence)
            if entry.present and entry.client not in self._left
        ]
        self._left.clear()
        self._present.update(dict.fromkeys((entry.client for entry in members), time.monotonic()))
        fields = answer.model_dump_json(exclude={"members"}, exclude_none=True).encode()
        # As in `_send_state`, the states are not decoded, because one account can have megabytes of them.
        states = b",".join(
            b'{"client":%d,"state":%s}' % (entry.client, entry.json) for entry in members
        )
        text = b'%s,"members":[%s]}' % (fields.removesuffix(b"}"), states)
        self._max_waiting_bytes = SLOW_BYTES + len(text)
        for message in (text, *waiting):
            self._send_alone(message)
        return len(text)

    def send_event(self, event: ServerMessage) -> None:
        """Send an event to this client only. Fields without a value are left out."""
        self._send_alone(to_json(event, exclude_none=True))

    def send_text(self, message: bytes, frame: bytes) -> None:
        """Send a JSON text by its encoded frame. Close the connection if too many bytes wait."""
        waiting_bytes = self._queued_bytes if self._waiting is None else self._waiting_bytes
        if waiting_bytes and waiting_bytes + len(message) > self._max_waiting_bytes:
            self.close(Close.OVERLOADED, "too slow to follow the canvas")
        elif self._waiting is None:
            super().send_frame(message, frame)
        else:
            self._waiting.append(message)
            self._waiting_bytes += len(message)

    def broadcast(
        self, message: bytes, frame: bytes, vector: bytes, position: Position | None = None
    ) -> bool:
        """Send a broadcast of presence. Edits come from the element feed. Return True: no client needs a catch-up."""
        del vector
        if position is None:
            self.send_frame(message, frame)
        return True

    def send_frame(self, message: bytes, frame: bytes) -> None:
        """Send the JSON form of a message of y-protocols, if it has one."""
        del frame
        decoder = Decoder(message)
        match decoder.uint():
            case protocol.AWARENESS:
                self._send_presence(decoder.buffer())
            case protocol.TOKEN:
                self.send_event(TokenExpires(seconds=decoder.uint()))

    def settle_role(self, role: CanvasRole, doubt_count: int) -> bool:
        """Adopt a role, and tell the client if it has changed. Return whether the client became an editor."""
        before = self.role.role
        became_editor = super().settle_role(role, doubt_count)
        if self.role.role is not before:
            self.send_event(RoleChanged(role=self.role.role.value))
        return became_editor

    def send_heartbeat(self) -> None:
        """Announce the departure of clients with states that were not renewed for `LOST_SECONDS`.

        The holder announces it earlier, but the message may be lost when the holder ends. Yjs clients remove such
        states themselves.
        """
        lost_before = time.monotonic() - LOST_SECONDS
        for client in [each for each, at in self._present.items() if at < lost_before]:
            del self._present[client]
            self._send_state(b"user_left", client, None)
        super().send_heartbeat()

    def _send_presence(self, update: bytes) -> None:
        if not self._has_begun:
            return
        for entry in awareness.entries(update):
            if entry.client == self.client:
                if not entry.present:
                    self.on_removal()
            elif entry.present:
                kind = b"user_activity" if entry.client in self._present else b"user_joined"
                self._left.discard(entry.client)
                self._present[entry.client] = time.monotonic()
                self._send_state(kind, entry.client, entry.json)
            else:
                if self._waiting is not None:
                    self._left.add(entry.client)
                if self._present.pop(entry.client, None) is not None:
                    self._send_state(b"user_left", entry.client, None)

    def _send_state(self, kind: bytes, client: int, state: bytes | None) -> None:
        # The state is JSON that a gateway has checked, so it is not decoded and encoded again.
        rest = b"" if state is None else b',"state":' + state
        self._send_alone(b'{"type":"%s","client":%d%s}' % (kind, client, rest))

    def _send_alone(self, message: bytes) -> None:
        """Send a JSON text that no other client gets."""
        self.send_text(message, encode_text_frame(message))

    async def _send_queued(self, message: bytes) -> None:
        await self._websocket.send_text(message.decode())
