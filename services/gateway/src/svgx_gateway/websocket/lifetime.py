"""How long a connection may last: as long as its access token, or as the fresh ones it is sent."""

import asyncio
import time

from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import Unauthenticated
from svgx_gateway.identity.authenticator import Authenticator
from svgx_gateway.identity.identity import Identity
from svgx_gateway.websocket.connection import Connection
from svgx_yjs import protocol

NOTICE = 60.0
"""Seconds before its token's end at which a client that wants to know is told; half-way for tokens that are shorter."""


class Lifetime:
    """Ends the connection with its token. `wants_notice`: the client connected with `renew=1`."""

    def __init__(
        self,
        connection: Connection,
        authenticator: Authenticator,
        identity: Identity,
        *,
        wants_notice: bool,
    ) -> None:
        self._connection = connection
        self._authenticator = authenticator
        self._wants_notice = wants_notice
        self._ends_at = 0.0
        self._timers: list[asyncio.TimerHandle] = []
        self._last_until(identity)

    async def renew(self, token: str, websocket: WebSocket) -> None:
        """Go on with a fresh token of the same account. Raises `Unauthenticated`, or `Unavailable`."""
        identity = await self._authenticator.authenticate_token(token, websocket)
        if identity.caller.user_id != self._connection.caller.user_id:
            raise Unauthenticated("the fresh access token is another account's")
        self._connection.caller = identity.caller
        self._last_until(identity)
        if self._wants_notice:
            self._tell()

    def stop(self) -> None:
        """The connection has ended."""
        for timer in self._timers:
            timer.cancel()

    def _last_until(self, identity: Identity) -> None:
        self.stop()
        self._ends_at = identity.expires_at
        left = self._left()
        later = asyncio.get_running_loop().call_later
        self._timers = [later(left, self._end)]
        if self._wants_notice:
            self._timers.append(later(left - min(NOTICE, left / 2), self._tell))

    def _left(self) -> float:
        return max(0.0, self._ends_at - time.time())

    def _tell(self) -> None:
        self._connection.send(protocol.encode_token_lifetime(int(self._left())))

    def _end(self) -> None:
        self._connection.close(Close.UNAUTHENTICATED, "the access token has expired")
