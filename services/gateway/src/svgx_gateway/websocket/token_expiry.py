"""Token expiry: a connection ends when its access token expires, unless the client sends a fresh token before then."""

import asyncio
import time

from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import Unauthenticated
from svgx_gateway.identity.authenticator import Authenticator
from svgx_gateway.identity.identity import Identity
from svgx_gateway.websocket.connection import Connection
from svgx_yjs import protocol

NOTICE_SECONDS = 60.0
"""Seconds between the notice to the client and the expiry of its token. If the token is valid for less than twice
this time, the notice is sent halfway to the expiry."""


class TokenExpiry:
    """The timers that close one connection when its token expires.

    With `wants_notice`, the client gets a notice before the expiry. A client may answer each notice with the same
    token, and would then get one notice after the other. So the client gets the next notice only if the fresh token
    expires later than the previous token. A renewal has no confirmation of its own, because a client that answers each
    notice with a fresh token would answer the confirmation too. A refused token closes the connection.
    """

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
        self._expires_at = 0.0
        """The Unix time, in seconds, at which the newest token expires."""
        self._has_sent_notice = False
        """True once the notice about `_expires_at` was sent, because the client needs no second notice."""
        self._timers: list[asyncio.TimerHandle] = []
        self._start_timers(identity)

    async def renew(self, token: str, websocket: WebSocket) -> None:
        """Keep the connection open until a fresh token of the same account expires.

        Raises `Unauthenticated`, and the other errors of `Authenticator.authenticate_token`.
        """
        identity = await self._authenticator.authenticate_token(token, websocket)
        if identity.caller.user_id != self._connection.caller.user_id:
            raise Unauthenticated("the fresh access token belongs to another account")
        self._connection.renew(identity.caller.with_link(self._connection.caller.link_id))
        self._start_timers(identity)

    def stop(self) -> None:
        """Cancel the timers."""
        for timer in self._timers:
            timer.cancel()

    def _start_timers(self, identity: Identity) -> None:
        self.stop()
        if identity.expires_at > self._expires_at:
            self._has_sent_notice = False
        self._expires_at = identity.expires_at
        seconds = self._seconds_left()
        call_later = asyncio.get_running_loop().call_later
        self._timers = [call_later(seconds, self._close)]
        if self._wants_notice and not self._has_sent_notice:
            notice_in = seconds - min(NOTICE_SECONDS, seconds / 2)
            self._timers.append(call_later(notice_in, self._send_notice))

    def _seconds_left(self) -> float:
        return max(0.0, self._expires_at - time.time())

    def _send_notice(self) -> None:
        self._has_sent_notice = True
        self._connection.send(protocol.encode_token_lifetime(int(self._seconds_left())))

    def _close(self) -> None:
        credential = self._connection.caller.credential
        self._connection.close(Close.UNAUTHENTICATED, f"the {credential} has expired")
