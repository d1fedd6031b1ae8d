"""The session of a JSON client: it handles the client's messages in their order."""

from typing import Any, TypeVar

from prometheus_client import Counter
from starlette.types import Message
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import (
    TEMPORARY_ERRORS,
    Conflict,
    Forbidden,
    SvgxError,
)
from svgx_common.contract.live.element_changes import CHANGE_ELEMENTS, ChangeElementsRequest
from svgx_common.contract.live.json_messages import (
    CLIENT_MESSAGES,
    ClientMessage,
    EditOperation,
    EditSaved,
    Handshake,
    HandshakeAccepted,
    LockAcquired,
    LockDenied,
    LockReleased,
    MessageFailed,
    Ping,
    Pong,
    ReleaseLock,
    RenewToken,
    ReportActivity,
    RequestLock,
)
from svgx_common.contract.live.locks import (
    LOCK_OBJECT,
    LOCK_STATUS,
    UNLOCK_OBJECT,
    LockRequest,
    LockStatusRequest,
    ObjectLock,
    UnlockRequest,
)
from svgx_common.contract.operation import Operation, ReplyModel, RequestModel
from svgx_common.messaging.bus import Bus
from svgx_gateway.http.proxies import client_of
from svgx_gateway.observability import socket_spans
from svgx_gateway.quotas.enforcement import QuotaEnforcement
from svgx_gateway.websocket.connection import Closing
from svgx_gateway.websocket.json_clients.connection import JsonConnection
from svgx_gateway.websocket.json_clients.lock_pace import LockPace
from svgx_gateway.websocket.json_clients.presence import JsonPresence
from svgx_gateway.websocket.json_clients.reading import ReceivedText, receive
from svgx_gateway.websocket.json_clients.reading_turns import ReadingTurns
from svgx_gateway.websocket.sessions.session import Session, closing_of, receive_first
from svgx_yjs import protocol

MESSAGES = Counter(
    "svgx_engine_live_json_messages",
    "Messages of JSON clients with a known type, by type and outcome: `ok` or `refused`.",
    ["type", "outcome"],
)
for _type in CLIENT_MESSAGES:
    for _outcome in ("ok", "refused"):
        MESSAGES.labels(_type, _outcome)

Reply = TypeVar("Reply", bound=ReplyModel)


class JsonSession:
    """The session of one JSON client."""

    def __init__(
        self,
        websocket: WebSocket,
        session: Session,
        *,
        bus: Bus,
        quotas: QuotaEnforcement,
        turns: ReadingTurns,
        lock_pace: LockPace,
        session_id: str | None,
        first_message_seconds: float,
    ) -> None:
        self._websocket = websocket
        self._session = session
        assert isinstance(session.connection, JsonConnection)
        self._connection = connection = session.connection
        self._canvas_id = session.canvas.canvas_id
        self._bus = bus
        self._quotas = quotas
        self._turns = turns
        self._lock_pace = lock_pace
        self._session_id = session_id
        self._first_message_seconds = first_message_seconds
        self._presence = JsonPresence(connection.client, session_id, self._publish)
        connection.on_removal = self._presence.renew_soon
        self._is_accepted = False
        """True once the handshake is answered."""

    async def read(self) -> Closing:
        """Handle messages until the client closes the connection or sends a malformed one. Return the reason."""
        event = await receive_first(self._websocket, self._first_message_seconds)
        if isinstance(event, Closing):
            return event
        try:
            while (closing := await self._handle_event(event)) is None:
                event = await self._websocket.receive()
            return closing
        finally:
            await self._presence.stop()
            await self._session.canvas.elements.leave(self._connection)

    async def _handle_event(self, event: Message) -> Closing | None:
        """Handle one ASGI event. Return the reason of the close, or None to read on."""
        if event["type"] == "websocket.disconnect":
            return Closing(Close.NORMAL, "")
        text = event.get("text")
        if text is None:
            return Closing(Close.BAD_MESSAGE, "only text frames are accepted")
        try:
            async with self._turns.turn(self._connection.account):
                received = receive(text)
        except SvgxError as error:
            return closing_of(error)
        if self._is_accepted == (received.type == "handshake"):
            return Closing(Close.BAD_MESSAGE, "the first message, and no other, is a handshake")
        try:
            async with self._turns.turn(self._connection.account):
                message = received.read()
            await self._handle(message)
        except SvgxError as error:
            MESSAGES.labels(received.type, "refused").inc()
            return self._refuse(received, error)
        MESSAGES.labels(received.type, "ok").inc()
        return None

    def _refuse(self, received: ReceivedText, error: SvgxError) -> Closing | None:
        """Tell the client that its message had no effect. Return the reason of a close, or None to read on."""
        if received.type in ("handshake", "token"):
            return closing_of(error)
        body = error.body().model_dump(exclude_none=True)
        self._connection.send_event(MessageFailed(id=received.id, **body))
        return None

    async def _handle(self, message: ClientMessage) -> None:
        """Handle one message. Raises the `SvgxError` of the operation that the message asks for."""
        match message:
            case Handshake():
                await self._accept()
            case EditOperation():
                await self._edit(message)
            case RequestLock():
                await self._lock(message)
            case ReleaseLock():
                await self._unlock(message)
            case ReportActivity(activity=activity):
                await self._presence.report(self._connection.caller, activity)
            case Ping(id=message_id):
                self._connection.send_event(Pong(id=message_id))
            case RenewToken(token=token):
                await self._session.handle(protocol.TokenMessage(token))

    async def _accept(self) -> None:
        """Join the element feed, publish the client's presence, and answer the handshake."""
        connection = self._connection
        async with connection.sync_turn(self._canvas_id) as turn:
            connection.begin()
            sync, revision = await self._session.canvas.elements.join(connection)
            await self._presence.report(connection.caller, {})
            self._presence.start()
            self._is_accepted = True
            answer = HandshakeAccepted(
                canvas_id=self._canvas_id,
                session_id=self._session_id,
                client=connection.client,
                user_id=connection.caller.user_id,
                role=connection.role.role.value,
                revision=revision,
                members=[],
                locks=await self._locks(),
            )
            turn.size = connection.accept(answer, sync.awareness)

    async def _locks(self) -> list[ObjectLock] | None:
        """Return the locks of the canvas, or None while Redis or collab does not answer, or collab is overloaded."""
        try:
            request = LockStatusRequest(canvas_id=self._canvas_id)
            return (await self._ask(LOCK_STATUS, request)).items
        except TEMPORARY_ERRORS:
            return None

    async def _edit(self, message: EditOperation) -> None:
        await self._require_editor()
        request = ChangeElementsRequest(
            canvas_id=self._canvas_id,
            operations=message.operations,
            undo_group=message.undo_group,
        )
        if request.adds_content:
            self._quotas.require_space(self._connection.caller, self._canvas_id)
        changed = await self._ask(CHANGE_ELEMENTS, request)
        self._connection.send_event(
            EditSaved(id=message.id, revision=changed.revision, created=changed.created)
        )

    async def _lock(self, message: RequestLock) -> None:
        await self._lock_pace.wait(self._connection.account)
        await self._require_editor()
        request = LockRequest(
            canvas_id=self._canvas_id, object_id=message.object_id, seconds=message.seconds
        )
        try:
            lock = await self._ask(LOCK_OBJECT, request)
        except Conflict as conflict:
            self._deny(message, conflict)
        else:
            self._connection.send_event(LockAcquired(id=message.id, lock=lock))

    async def _unlock(self, message: ReleaseLock) -> None:
        await self._lock_pace.wait(self._connection.account)
        await self._require_editor()
        request = UnlockRequest(canvas_id=self._canvas_id, object_id=message.object_id)
        try:
            await self._ask(UNLOCK_OBJECT, request)
        except Conflict as conflict:
            self._deny(message, conflict)
        else:
            self._connection.send_event(
                LockReleased(
                    id=message.id,
                    object_id=message.object_id,
                    user_id=self._connection.caller.user_id,
                )
            )

    def _deny(self, message: RequestLock | ReleaseLock, conflict: Conflict) -> None:
        self._connection.send_event(
            LockDenied(
                id=message.id,
                object_id=message.object_id,
                detail=conflict.detail,
                retry_after=conflict.retry_after,
            )
        )

    async def _require_editor(self) -> None:
        """Wait until the role is known. Raises `Forbidden` for a viewer."""
        await self._connection.wait_for_known_role()
        if not self._connection.may_edit:
            raise Forbidden("this needs the role of an editor on the canvas")

    async def _ask(self, operation: Operation[Any, Reply], request: RequestModel) -> Reply:
        """Send a request of the client to its service, and return the reply."""
        connection = self._connection
        caller = connection.caller
        with socket_spans.request(
            operation.name, connection.route, self._canvas_id, caller.user_id, connection.handshake
        ):
            return await self._bus.ask(
                operation, request, caller=caller, client=client_of(self._websocket)
            )

    async def _publish(self, update: bytes) -> None:
        await self._session.handle(protocol.AwarenessMessage(update))
