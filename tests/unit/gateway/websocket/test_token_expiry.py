"""The notice before a token expires, and the close of the connection when it has expired."""

import asyncio
import time
from typing import Any, cast

import pytest
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.policy import Role
from svgx_common.messaging.caller import Caller
from svgx_gateway.identity.authenticator import Authenticator
from svgx_gateway.identity.identity import Identity
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.token_expiry import TokenExpiry
from svgx_yjs import protocol
from svgx_yjs.lib0 import Decoder

CALLER = Caller("u", "ann", Role.EDITOR, "s")
NOTICE = "notice"


class Client:
    """A connection that stores its events: each notice, and the code with which it is closed."""

    caller = CALLER

    def __init__(self) -> None:
        self.events: asyncio.Queue[str | Close] = asyncio.Queue()

    def send(self, message: bytes) -> None:
        """Store a notice."""
        assert Decoder(message).uint() == protocol.TOKEN
        self.events.put_nowait(NOTICE)

    def close(self, close: Close, _: str) -> None:
        """Store the close code."""
        self.events.put_nowait(close)

    def renew(self, _: Caller) -> None:
        """Take the caller of a fresh token."""

    async def events_until_the_end(self) -> list[str | Close]:
        """Wait until the connection is closed, and return the events up to its close code."""
        events: list[str | Close] = []
        while Close.UNAUTHENTICATED not in events:
            events.append(await self.events.get())
        return events


class Tokens:
    """An authenticator. The text of a token is the Unix time at which the token expires."""

    async def authenticate_token(self, token: str, _: object) -> Identity:
        """Return the identity of a token."""
        return Identity(CALLER, float(token))


def expiry(client: Client, expires_at: float) -> TokenExpiry:
    """Return the timers of a client that wants a notice."""
    return TokenExpiry(
        cast(Connection, cast(Any, client)),
        cast(Authenticator, cast(Any, Tokens())),
        Identity(CALLER, expires_at),
        wants_notice=True,
    )


async def renew(timers: TokenExpiry, expires_at: float) -> None:
    """Send a fresh token."""
    await timers.renew(repr(expires_at), cast(WebSocket, None))


@pytest.mark.parametrize("earlier", [0.0, 0.05])
async def test_renewal_before_the_notice_keeps_the_notice(earlier: float) -> None:
    """A client that sends its token again before the notice still gets the notice before its connection is closed.

    The same is true for a token that expires earlier. Proves R-HOCUS-9.
    """
    client, end = Client(), time.time() + 0.5
    timers = expiry(client, end)
    await renew(timers, end - earlier)
    assert await client.events_until_the_end() == [NOTICE, Close.UNAUTHENTICATED]


async def test_same_token_after_the_notice_causes_no_second_notice() -> None:
    """Proves R-ACCESS-10: a client that answers each notice with the same token gets one notice."""
    client, end = Client(), time.time() + 0.5
    timers = expiry(client, end)
    assert await client.events.get() == NOTICE
    await renew(timers, end)
    assert await client.events_until_the_end() == [Close.UNAUTHENTICATED]


async def test_token_that_expires_later_causes_a_second_notice() -> None:
    """Proves R-HOCUS-9: a token that expires later has a notice of its own."""
    client, end = Client(), time.time() + 0.3
    timers = expiry(client, end)
    timers.stop()  # the first token must not expire before the renewal
    timers._send_notice()
    assert await client.events.get() == NOTICE
    await renew(timers, time.time() + 0.4)
    assert await client.events_until_the_end() == [NOTICE, Close.UNAUTHENTICATED]
