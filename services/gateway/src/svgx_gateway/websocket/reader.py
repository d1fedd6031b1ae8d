"""The reader of one connection: it receives the client's messages and handles each."""

import asyncio

from starlette.types import Message
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close, close_code
from svgx_common.contract.errors import SvgxError
from svgx_gateway.websocket.admission import REFUSED
from svgx_gateway.websocket.canvas import LiveCanvas
from svgx_gateway.websocket.connection import Closing, Connection
from svgx_gateway.websocket.live_canvases import LiveCanvases
from svgx_gateway.websocket.token_expiry import TokenExpiry
from svgx_yjs import protocol
from svgx_yjs.lib0 import Malformed


class Reader:
    """The reader of one connection. The client has `first_message_seconds` to send its first message."""

    def __init__(
        self,
        websocket: WebSocket,
        connection: Connection,
        canvas: LiveCanvas,
        live_canvases: LiveCanvases,
        token_expiry: TokenExpiry,
        *,
        first_message_seconds: float,
    ) -> None:
        self._websocket = websocket
        self._connection = connection
        self._canvas = canvas
        self._live_canvases = live_canvases
        self._token_expiry = token_expiry
        self._first_message_seconds = first_message_seconds

    async def read(self) -> Closing:
        """Read until the client closes the connection or sends an invalid message. Return the reason of the close."""
        try:
            async with asyncio.timeout(self._first_message_seconds):
                event = await self._websocket.receive()
        except TimeoutError:
            REFUSED.labels("handshake").inc()
            return Closing(Close.HANDSHAKE_TIMEOUT, "no message arrived in time")
        while (closing := await self._handle_event(event)) is None:
            event = await self._websocket.receive()
        return closing

    async def _handle_event(self, event: Message) -> Closing | None:
        """Handle one ASGI event. Return the reason of the close, or None to read on."""
        if event["type"] == "websocket.disconnect":
            return Closing(Close.NORMAL, "")
        frame = event.get("bytes")
        if frame is None:
            return Closing(Close.BAD_MESSAGE, "only binary frames are accepted")
        try:
            await self._handle_message(protocol.decode(frame))
        except Malformed as error:
            return Closing(Close.BAD_MESSAGE, f"malformed message: {error}")
        except SvgxError as error:
            bad = error.status == 400
            return Closing(Close.BAD_MESSAGE if bad else close_code(error), error.detail)
        return None

    async def _handle_message(self, message: protocol.Message) -> None:
        connection, canvas = self._connection, self._canvas
        match message:
            case protocol.SyncStep1(state_vector):
                await canvas.sync(connection, state_vector)
            case protocol.DocumentMessage(update, whole):
                await canvas.outbox.wait_for_capacity()
                # The role comes last: nothing may be awaited between the check of the role and the edit.
                await connection.wait_for_known_role()
                if connection.may_edit:
                    number = connection.saved_counter.accept(is_step_2=whole)
                    canvas.outbox.add(connection, update, number)
                else:
                    connection.saved_counter.discard()
            case protocol.AwarenessMessage(update):
                await canvas.receive_awareness(connection, update)
            case protocol.QueryAwareness():
                await canvas.send_awareness(connection)
            case protocol.TokenMessage(token):
                await self._token_expiry.renew(token, self._websocket)
                # The account's role in the fresh token may differ.
                await self._live_canvases.check_role(connection, canvas)
            case _:
                pass
