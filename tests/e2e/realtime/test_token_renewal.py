"""A WebSocket that outlives its access token."""

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
from tests.e2e.clients.api import reach
from tests.limits import ROOMY

SECRET = secrets.token_hex(32)


def token(user_id: str, seconds: int) -> str:
    """An access token that lasts so long."""
    now = int(time.time())
    claims = tokens.AccessClaims(user_id, "ada", Role.EDITOR, "s", "t", now, now + seconds)
    return tokens.sign(claims, secret_key(SECRET))


def fresh(user_id: str, seconds: int) -> bytes:
    """The message with a fresh one."""
    return Encoder().uint(protocol.TOKEN).text(token(user_id, seconds)).finish()


@pytest.fixture(scope="module")
async def canvas(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[str, str]]:
    """A WebSocket's address, and its owner."""
    settings = {**ROOMY, "JWT_SECRET": SECRET}
    async with (
        DevStack(tmp_path_factory.mktemp("renewal"), settings=settings) as stack,
        reach(stack.url) as api,
    ):
        admin = api.session(stack.admin_username, stack.admin_password)
        owner = str((await admin.me())["id"])
        yield f"{api.live_url}/{await admin.create_canvas('n')}", owner


async def told(socket: websockets.ClientConnection) -> int:
    """Wait until the server says how many seconds the token lasts."""
    while True:
        decoder = Decoder(bytes(await socket.recv(decode=False)))
        if decoder.uint() == protocol.TOKEN:
            return decoder.uint()


async def closed(socket: websockets.ClientConnection) -> int:
    """Wait for the end, and return its code."""
    await socket.wait_closed()
    assert socket.close_code is not None
    return socket.close_code


async def test_a_fresh_token_prolongs_a_connection(canvas: tuple[str, str]) -> None:
    """Proves R-ACCESS-10: told in time, taken, told again, and ended with the last one."""
    url, owner = canvas
    first = time.time()
    async with websockets.connect(f"{url}?renew=1&token={token(owner, 3)}") as socket:
        assert await told(socket) <= 2
        await socket.send(fresh(owner, 6))
        assert await told(socket) > 3
        # Half-way through the second one, the first has ended.
        assert await told(socket) <= 3
        assert time.time() > first + 3
        assert await closed(socket) == 4401


async def test_only_a_good_token_of_the_same_account_is_taken(canvas: tuple[str, str]) -> None:
    """Proves R-ACCESS-10 and R-ACCESS-1."""
    url, owner = canvas
    nonsense = Encoder().uint(protocol.TOKEN).text("nonsense").finish()
    for message in (fresh("somebody-else", 60), fresh(owner, -60), nonsense):
        async with websockets.connect(f"{url}?token={token(owner, 60)}") as socket:
            await socket.send(message)
            assert await closed(socket) == 4401


async def test_who_did_not_ask_is_not_told(canvas: tuple[str, str]) -> None:
    """Proves R-SYNC-9: y-websocket complains of message types that it does not know."""
    url, owner = canvas
    async with websockets.connect(f"{url}?token={token(owner, 2)}") as socket:
        with pytest.raises(websockets.ConnectionClosedError, match="4401"):
            await told(socket)
