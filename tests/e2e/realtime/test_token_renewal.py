"""Renewal of the access token on an open WebSocket."""

import secrets
import time
from collections.abc import AsyncIterator

import pytest
import websockets

from svgx_common.contract.policy import Role
from svgx_common.tokens import access_tokens as tokens
from svgx_common.tokens.signing_keys import secret_key
from svgx_devstack import DevStack
from svgx_yjs import protocol
from svgx_yjs.lib0 import Decoder, Encoder
from tests.e2e.clients.api import open_api
from tests.limits import HIGH_LIMITS

JWT_SECRET = secrets.token_hex(32)


def sign_token(user_id: str, seconds: int) -> str:
    """Return an access token that expires after `seconds`."""
    now = int(time.time())
    claims = tokens.AccessClaims(user_id, "ada", Role.EDITOR, "s", "t", now, now + seconds)
    return tokens.sign(claims, secret_key(JWT_SECRET))


def token_message(user_id: str, seconds: int) -> bytes:
    """Return the message that sends a new access token."""
    return Encoder().uint(protocol.TOKEN).text(sign_token(user_id, seconds)).finish()


@pytest.fixture(scope="module")
async def canvas_and_owner(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[str, str]]:
    """Start a stack with a known JWT secret, and return a canvas's WebSocket URL and the id of its owner."""
    settings = {**HIGH_LIMITS, "JWT_SECRET": JWT_SECRET}
    async with (
        DevStack(tmp_path_factory.mktemp("renewal"), settings=settings) as stack,
        open_api(stack.url) as api,
    ):
        admin = api.session(stack.admin_username, stack.admin_password)
        owner = str((await admin.me())["id"])
        yield f"{api.websocket_url}/{await admin.create_canvas('n')}", owner


async def receive_token_lifetime(socket: websockets.ClientConnection) -> int:
    """Wait until the server reports the seconds until the token expires, and return them."""
    while True:
        decoder = Decoder(bytes(await socket.recv(decode=False)))
        if decoder.uint() == protocol.TOKEN:
            return decoder.uint()


async def wait_close_code(socket: websockets.ClientConnection) -> int:
    """Wait until the connection is closed, and return the close code."""
    await socket.wait_closed()
    assert socket.close_code is not None
    return socket.close_code


async def test_new_token_prolongs_the_connection(canvas_and_owner: tuple[str, str]) -> None:
    """The server warns before a token expires, accepts a new token, and closes the socket when the newest one expires.

    Proves R-ACCESS-10.
    """
    url, owner = canvas_and_owner
    started = time.time()
    async with websockets.connect(f"{url}?renew=1&token={sign_token(owner, 3)}") as socket:
        assert await receive_token_lifetime(socket) <= 2
        await socket.send(token_message(owner, 6))
        assert await receive_token_lifetime(socket) > 3
        # The second warning comes after the first token has expired.
        assert await receive_token_lifetime(socket) <= 3
        assert time.time() > started + 3
        assert await wait_close_code(socket) == 4401


async def test_invalid_or_foreign_new_token_closes_the_socket_with_4401(
    canvas_and_owner: tuple[str, str],
) -> None:
    """The new token must be valid and belong to the same account. Proves R-ACCESS-10 and R-ACCESS-1."""
    url, owner = canvas_and_owner
    nonsense = Encoder().uint(protocol.TOKEN).text("nonsense").finish()
    for message in (token_message("somebody-else", 60), token_message(owner, -60), nonsense):
        async with websockets.connect(f"{url}?token={sign_token(owner, 60)}") as socket:
            await socket.send(message)
            assert await wait_close_code(socket) == 4401


async def test_client_without_the_renew_parameter_receives_no_token_messages(
    canvas_and_owner: tuple[str, str],
) -> None:
    """No token message is sent, because y-websocket logs an error for unknown message types. Proves R-SYNC-9."""
    url, owner = canvas_and_owner
    async with websockets.connect(f"{url}?token={sign_token(owner, 2)}") as socket:
        with pytest.raises(websockets.ConnectionClosedError, match="4401"):
            await receive_token_lifetime(socket)
