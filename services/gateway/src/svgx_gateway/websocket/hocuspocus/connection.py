"""The connection of a Hocuspocus client to one canvas. Its messages carry the name of the document."""

from collections.abc import Callable

from opentelemetry.trace import SpanContext
from starlette.websockets import WebSocket

from svgx_common.contract.collab import HOCUSPOCUS_PATH
from svgx_common.contract.policy import CanvasRole
from svgx_common.messaging.caller import Caller
from svgx_gateway.memory.outgoing import Outgoing
from svgx_gateway.websocket.connection import Connection, Ended
from svgx_gateway.websocket.hocuspocus.status_counter import StatusCounter
from svgx_gateway.websocket.transport.frames import encode_frame
from svgx_gateway.websocket.transport.inflow import Inflow
from svgx_yjs import protocol
from svgx_yjs.hocuspocus import Writer
from svgx_yjs.lib0 import Decoder

CACHED_BYTES = 64 * 1024
"""Largest message, in bytes, that stays in memory for the next client. A larger one is encoded for each client."""


class NamedFrames:
    """A cache of each canvas's newest message, encoded once with the document's name for all clients of the canvas.

    A message larger than `CACHED_BYTES` is not cached, because it would stay in memory until the next message.
    """

    def __init__(self) -> None:
        self._newest: dict[bytes, tuple[bytes, bytes, bytes]] = {}
        """By the encoded name: the message of y-protocols, the named message, and its frame."""

    def named(self, writer: Writer, message: bytes) -> tuple[bytes, bytes]:
        """Return the named message and its frame."""
        newest = self._newest.get(writer.prefix)
        if newest is None or newest[0] is not message:
            named = writer.named(message)
            newest = message, named, encode_frame(named)
            if len(message) <= CACHED_BYTES:
                self._newest[writer.prefix] = newest
        return newest[1:]

    def forget(self, writer: Writer) -> None:
        """Forget the message of a canvas. Call this when a client leaves.

        So no message stays in memory after the last client has left.
        """
        self._newest.pop(writer.prefix, None)


class HocuspocusConnection(Connection):
    """The connection of one document on a client's socket.

    Messages of y-protocols get the document's name. Messages of Hocuspocus replace the additions of this server to
    y-protocols:

    - a sync status for each saved message, if the client waits for one, in place of the number of saved messages;
    - a request for a token in place of the notice about the token;
    - a stateless message in place of the notice about quotas.
    """

    route = HOCUSPOCUS_PATH

    answers_removals = False
    """False: after a removal of its state, the provider only increases its clock.

    It sends the state in answer to a query.
    """

    _sends_frames_unchanged = False

    def __init__(
        self,
        websocket: WebSocket,
        caller: Caller,
        role: CanvasRole,
        *,
        writer: Writer,
        frames: NamedFrames,
        role_changed: Callable[[], None],
        wants_quota: bool,
        inflow: Inflow | None,
        write_frame: Callable[[bytes], bool],
        handshake: SpanContext | None,
        outgoing: Outgoing,
        transport_bytes: Callable[[], int],
        socket_sent_bytes: Callable[[], int],
    ) -> None:
        self._socket_sent_bytes = socket_sent_bytes
        self._writer = writer
        self._frames = frames
        self._role_changed = role_changed
        super().__init__(
            websocket,
            caller,
            role,
            wants_saved=False,
            wants_quota=wants_quota,
            inflow=inflow,
            write_frame=write_frame,
            handshake=handshake,
            outgoing=outgoing,
            transport_bytes=transport_bytes,
        )
        self.statuses = StatusCounter(self._send_statuses)
        self.saved_counter = self.statuses

    @property
    def sent_bytes(self) -> int:
        """Return the bytes sent to the client for all documents, because all share the transport of the socket."""
        return self._socket_sent_bytes()

    @property
    def is_asked_for_updates(self) -> bool:
        """Return True: a viewer is asked for its updates too, because its client otherwise never counts as synced."""
        return True

    def settle_role(self, role: CanvasRole, doubt_count: int) -> bool:
        """Adopt a role, and send the client its scope if it has changed. Return whether the client became an editor."""
        could_edit = self.may_edit
        became_editor = super().settle_role(role, doubt_count)
        if self.may_edit != could_edit:
            self.send_scope()
        return became_editor

    def send_scope(self) -> None:
        """Tell the client whether it may edit."""
        self._send_named(self._writer.authenticated(may_edit=self.may_edit))

    def send_frame(self, message: bytes, frame: bytes) -> None:
        """Send a message of y-protocols as a message of Hocuspocus."""
        del frame  # this frame lacks the document's name
        if isinstance(self.flow, Ended):
            return  # the cache of frames would keep the message after the last client has left
        if message[0] == protocol.TOKEN:
            self._send_named(self._writer.token_request())
        elif message[0] == protocol.QUOTA:
            use = Decoder(message[1:]).text()
            self._send_named(self._writer.stateless(f'{{"quota":{use}}}'))
        else:
            super().send_frame(*self._frames.named(self._writer, message))

    def send_saved(self, number: int, epoch: str, *, with_broadcast: bool = False) -> None:
        """Record that the messages up to `number` are committed, and send the client their statuses at once."""
        del with_broadcast
        saved = self.saved_counter.commit(number, epoch)
        if saved is not None:
            self.statuses.send_saved(saved)

    def _limit_viewer(self) -> None:
        # All documents of the socket share its inflow, so the socket decides whether the inflow is a viewer's.
        self._role_changed()

    def _send_statuses(self, applied: bool, count: int) -> None:  # a callback without keywords
        message = self._writer.sync_status(applied=applied)
        frame = encode_frame(message)
        if count > 1 and not self.has_backlog and not isinstance(self.flow, Ended):
            # Send all in one write, because thousands of writes would delay other connections.
            frames = frame * count
            if self._write_frame(frames):
                self._is_quiet = False
                self.written_bytes += len(frames)
                return
        for _ in range(count):
            super().send_frame(message, frame)

    def _send_named(self, message: bytes) -> None:
        super().send_frame(message, encode_frame(message))
