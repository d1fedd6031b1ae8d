"""`/runtime/events/{canvas_id}`: a Yjs client's WebSocket, from its handshake to its end."""

import asyncio
import contextlib

import structlog
from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from svgx_common.contract.close_codes import Close, close_code
from svgx_common.contract.errors import NotFound, SvgxError
from svgx_common.contract.policy import CanvasRole
from svgx_common.contract.state import CanvasRequest
from svgx_gateway.identity.authenticator import Authenticator
from svgx_gateway.identity.canvas_roles import CanvasRoles
from svgx_gateway.websocket import handshake
from svgx_gateway.websocket.canvas import LiveCanvas
from svgx_gateway.websocket.connection import Closing, Connection
from svgx_gateway.websocket.hub import Hub
from svgx_gateway.websocket.lifetime import Lifetime
from svgx_yjs import protocol
from svgx_yjs.lib0 import Malformed

log = structlog.get_logger(__name__)

MAX_REASON = 120
"""Bytes of a close frame's reason (RFC 6455 allows 123)."""


class YjsEndpoint:
    """Accepts, checks, joins, reads. The upgrade is accepted first, so that browsers can see the close code."""

    def __init__(self, hub: Hub, authenticator: Authenticator, canvas_roles: CanvasRoles) -> None:
        self._hub = hub
        self._authenticator = authenticator
        self._canvas_roles = canvas_roles

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one connection until either side ends it."""
        await handshake.accept(websocket)
        canvas_id = websocket.path_params["canvas_id"]
        with structlog.contextvars.bound_contextvars(canvas_id=canvas_id):
            try:
                closing = await self._live(websocket, canvas_id)
            except SvgxError as error:
                closing = Closing(close_code(error), error.detail)
            except Exception:
                log.exception("a connection failed")
                closing = Closing(Close.INTERNAL, "internal error")
            with contextlib.suppress(RuntimeError, WebSocketDisconnect, OSError):
                reason = closing.reason.encode()[:MAX_REASON].decode(errors="ignore")
                await websocket.close(closing.code, reason)

    async def _live(self, websocket: WebSocket, canvas_id: str) -> Closing:
        identity = await self._authenticator.authenticate_websocket(websocket)
        _check_id(canvas_id)
        role = await self._canvas_roles.require(identity.caller, canvas_id, CanvasRole.VIEWER)
        wants_saved = websocket.query_params.get("saved") == "1"
        connection = Connection(websocket, identity.caller, role, wants_saved=wants_saved)
        with structlog.contextvars.bound_contextvars(user_id=identity.caller.user_id):
            async with self._hub.joined(canvas_id, connection) as canvas:
                # Revoked while this was joining, it would not have been among those that were closed.
                self._authenticator.check_not_revoked(identity)
                lifetime = Lifetime(
                    connection,
                    self._authenticator,
                    identity,
                    wants_notice=websocket.query_params.get("renew") == "1",
                )
                try:
                    return await self._talk(websocket, connection, canvas, lifetime)
                finally:
                    lifetime.stop()

    async def _talk(
        self,
        websocket: WebSocket,
        connection: Connection,
        canvas: LiveCanvas,
        lifetime: Lifetime,
    ) -> Closing:
        writing = asyncio.create_task(connection.write())
        reading = asyncio.create_task(self._read(websocket, connection, canvas, lifetime))
        try:
            await asyncio.wait({reading, connection.closing}, return_when=asyncio.FIRST_COMPLETED)
            if connection.closing.done():
                return connection.closing.result()
            return await reading
        finally:
            for task in (reading, writing):
                task.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)

    async def _read(
        self,
        websocket: WebSocket,
        connection: Connection,
        canvas: LiveCanvas,
        lifetime: Lifetime,
    ) -> Closing:
        while True:
            event = await websocket.receive()
            if event["type"] == "websocket.disconnect":
                return Closing(Close.NORMAL, "")
            frame = event.get("bytes")
            if frame is None:
                return Closing(Close.BAD_MESSAGE, "only binary frames are spoken here")
            try:
                message = protocol.decode(frame)
                if isinstance(message, protocol.TokenMessage):
                    await lifetime.renew(message.token, websocket)
                    # The account's own role may be another one now.
                    await self._hub.check_role(connection, canvas)
                else:
                    await _handle(message, connection, canvas)
            except Malformed as error:
                return Closing(Close.BAD_MESSAGE, f"malformed message: {error}")
            except SvgxError as error:
                bad = error.status == 400
                return Closing(Close.BAD_MESSAGE if bad else close_code(error), error.detail)


async def _handle(message: protocol.Message, connection: Connection, canvas: LiveCanvas) -> None:
    match message:
        case protocol.SyncStep1(state_vector):
            await canvas.sync(connection, state_vector)
        case protocol.DocumentMessage(update, whole):
            await canvas.outbox.room()
            # Last: nothing is awaited between the role and the edit.
            await connection.role_known.wait()
            if connection.may_edit:
                canvas.outbox.put(connection, update, connection.tally.take(whole=whole))
            else:
                connection.tally.discard()
        case protocol.AwarenessMessage(update):
            await canvas.hear(connection, update)
        case protocol.QueryAwareness():
            await canvas.send_everyone_to(connection)
        case _:
            pass


def _check_id(canvas_id: str) -> None:
    """An id becomes part of subjects: nothing else may get there."""
    try:
        CanvasRequest(canvas_id=canvas_id)
    except ValidationError:
        raise NotFound("there is no such canvas") from None
