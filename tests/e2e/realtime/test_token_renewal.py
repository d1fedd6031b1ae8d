"""Renewal of the access token on an open WebSocket."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets

from svgx_common.contract.policy import Role
from svgx_common.tokens import access_tokens as tokens
from svgx_common.tokens.signing_keys import secret_key
from svgx_devstack import DevStack
from svgx_yjs import protocol
from svgx_yjs.lib0 import Decoder, Encoder
from tests.e2e.accounts.test_share_links import create_link
from tests.e2e.clients.api import open_api
from tests.e2e.clients.close_code import wait_close_code
from tests.e2e.clients.workspace import Workspace
from tests.unit.house_rules.sources import ROOT


class TokenIssuer:
    """A signer of access tokens for one account, with the stack's JWT secret."""

    def __init__(self, secret: str, user_id: str) -> None:
        self._key = secret_key(secret)
        self._user_id = user_id

    def sign(self, seconds: int, user_id: str | None = None) -> str:
        """Return an access token that expires after `seconds`."""
        now = int(time.time())
        claims = tokens.AccessClaims(
            user_id or self._user_id, "ada", Role.EDITOR, "s", "t", now, now + seconds
        )
        return tokens.sign(claims, self._key)

    def message(self, seconds: int, user_id: str | None = None) -> bytes:
        """Return the message that sends a new access token."""
        return Encoder().uint(protocol.TOKEN).text(self.sign(seconds, user_id)).finish()


def options_of_page(*tokens: str) -> dict[str, Any]:
    """Return the settings of a Yjs client that has the first token, and gets the others as fresh tokens in turn."""
    first, *fresh = tokens
    return {"protocols": ["svgx", f"bearer.{first}"], "tokens": fresh}


@pytest.fixture
async def canvas_and_issuer(stack: DevStack) -> AsyncIterator[tuple[str, TokenIssuer]]:
    """Create a canvas, and return its WebSocket URL and a signer of tokens for its owner."""
    async with open_api(stack.url) as api:
        admin = api.session(stack.admin_username, stack.admin_password)
        issuer = TokenIssuer(stack.jwt_secret, str((await admin.me())["id"]))
        yield f"{api.websocket_url}/{await admin.create_canvas('n')}", issuer


async def receive_token_lifetime(socket: websockets.ClientConnection) -> int:
    """Wait until the server reports the seconds until the token expires, and return them."""
    while True:
        decoder = Decoder(bytes(await socket.recv(decode=False)))
        if decoder.uint() == protocol.TOKEN:
            return decoder.uint()


async def test_new_token_prolongs_the_connection(
    canvas_and_issuer: tuple[str, TokenIssuer],
) -> None:
    """The server warns before a token expires, accepts a new token, and closes the socket when the new token expires.

    Proves R-ACCESS-10.
    """
    url, issuer = canvas_and_issuer
    started = time.time()
    async with websockets.connect(f"{url}?renew=1&token={issuer.sign(6)}") as socket:
        assert await receive_token_lifetime(socket) <= 3
        await socket.send(issuer.message(9))
        # The warning of the new token comes after the first token has expired.
        assert await receive_token_lifetime(socket) <= 4
        assert time.time() > started + 6
        await socket.send(issuer.message(2))
        assert await wait_close_code(socket) == 4401


async def test_client_that_answers_each_warning_is_warned_once_for_each_token(
    canvas_and_issuer: tuple[str, TokenIssuer],
) -> None:
    """A client that answers each warning with a new token, as the README describes, gets the next one when it is due.

    Proves R-ACCESS-10.
    """
    url, issuer = canvas_and_issuer
    started = time.time()
    async with websockets.connect(f"{url}?renew=1&token={issuer.sign(5)}") as socket:
        for _ in range(3):
            await receive_token_lifetime(socket)
            await socket.send(issuer.message(5))
        # Each token lasts for at least 4 s, and its warning comes after half of this time.
        assert time.time() > started + 5


async def test_invalid_or_foreign_new_token_closes_the_socket_with_4401(
    canvas_and_issuer: tuple[str, TokenIssuer],
) -> None:
    """The new token must be valid and belong to the same account. Proves R-ACCESS-10 and R-ACCESS-1."""
    url, issuer = canvas_and_issuer
    nonsense = Encoder().uint(protocol.TOKEN).text("nonsense").finish()
    for message in (issuer.message(60, "another-account"), issuer.message(-60), nonsense):
        async with websockets.connect(f"{url}?token={issuer.sign(60)}") as socket:
            await socket.send(message)
            assert await wait_close_code(socket) == 4401


async def test_client_without_the_renew_parameter_receives_no_token_messages(
    canvas_and_issuer: tuple[str, TokenIssuer],
) -> None:
    """No token message is sent, because y-websocket logs an error for unknown message types. Proves R-ACCESS-10."""
    url, issuer = canvas_and_issuer
    async with websockets.connect(f"{url}?token={issuer.sign(2)}") as socket:
        with pytest.raises(websockets.ConnectionClosedError, match="4401"):
            await receive_token_lifetime(socket)


def test_readme_shows_the_tested_renewal() -> None:
    """The README has the function with which the clients of these tests renew their tokens. Proves R-ACCESS-10."""
    code = (ROOT / "tests/e2e/yjs/renewal.mjs").read_text(encoding="utf-8")
    code = code.partition("\n")[2].replace("export function", "function")
    assert f"```js\n{code}```" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("version", [2, 3])
async def test_yjs_client_with_a_renewed_token_reconnects_after_its_first_token_has_expired(
    workspace: Workspace, canvas: str, version: int
) -> None:
    """The next connection of y-websocket has the fresh token, so the server accepts it. Proves R-ACCESS-10."""
    issuer = TokenIssuer(workspace.stack.jwt_secret, str((await workspace.owner.me())["id"]))
    tokens = (issuer.sign(6), issuer.sign(12), issuer.sign(60))
    client = await workspace.connect(
        canvas, params={"renew": "1"}, version=version, **options_of_page(*tokens)
    )
    # The warning of the second token comes after the first token has expired.
    await client.wait_received(protocol.TOKEN, 2)
    await client.drop_connection()
    await client.wait_closed()
    await workspace.driver.wait_synced([client])
    status = await client.status()
    assert (status.connections, status.gave_up) == (2, None)


@pytest.mark.parametrize("version", [2, 3])
async def test_yjs_client_with_an_expired_token_reconnects_with_a_fresh_one(
    workspace: Workspace, canvas: str, version: int
) -> None:
    """After 4401 the client gets a fresh token, and connects with it. Proves R-ACCESS-10."""
    issuer = TokenIssuer(workspace.stack.jwt_secret, str((await workspace.owner.me())["id"]))
    tokens = (issuer.sign(2), issuer.sign(60))
    client = await workspace.connect(canvas, params={}, version=version, **options_of_page(*tokens))
    assert (await client.wait_closed()).code == 4401
    await workspace.driver.wait_synced([client])


@pytest.mark.parametrize("role", ["viewer", None])
async def test_renewed_token_keeps_the_role_of_the_share_link(
    workspace: Workspace, canvas: str, role: str | None
) -> None:
    """An account with the role viewer, or without a role, still edits with its link after the renewal.

    The gateway looks up the role again for the fresh token. Proves R-ACCESS-10 and R-LIFE-2.
    """
    user = await workspace.create_user()
    if role is not None:
        await workspace.owner.set_member(canvas, user, role)
    link = await create_link(workspace.owner, canvas, "editor")
    issuer = TokenIssuer(workspace.stack.jwt_secret, user.id)
    client = await workspace.connect(
        canvas,
        params={"renew": "1", "saved": "1", "link": link["token"]},
        **options_of_page(issuer.sign(6), issuer.sign(120)),
    )
    await client.wait_received(protocol.TOKEN, 1)
    # The client has sent its fresh token before this edit.
    await client.add_element("with-the-fresh-token")
    await workspace.driver.wait_saved([client])
    assert (await client.status()).connections == 1
