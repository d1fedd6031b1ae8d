"""The places of a token in a WebSocket handshake: query, header and subprotocol."""

import string
from collections.abc import Mapping, Sequence

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.e2e.clients.workspace import Workspace

SYNC_STEP_1 = bytes([0, 0, 1, 0])
TOKEN_CHARACTERS = frozenset("!#$%&'*+-.^_`|~" + string.ascii_letters + string.digits)
"""The characters that an HTTP token, and therefore a subprotocol, may contain (RFC 9110, 5.6.2)."""


async def try_connect(
    url: str, headers: Mapping[str, str] | None = None, offered: Sequence[str] = ()
) -> tuple[int, list[str]]:
    """Connect and send sync step 1. Return the close code and the subprotocols of the response.

    The code is 0 if the connection is accepted, and -1 if the connection ends without a close code.
    """
    subprotocols = [Subprotocol(each) for each in offered] or None
    async with connect(url, additional_headers=headers, subprotocols=subprotocols) as socket:
        assert socket.response is not None
        selected = socket.response.headers.get_all("Sec-WebSocket-Protocol")
        # The response must not contain the token of an offered `bearer.TOKEN`.
        assert not any("." in value for value in selected)
        try:
            await socket.send(SYNC_STEP_1)
            await socket.recv()
        except ConnectionClosed as error:
            return (error.rcvd.code if error.rcvd else -1), selected
        return 0, selected


async def create_api_key(workspace: Workspace) -> str:
    """Create an API key of the owner, and return it."""
    response = await workspace.owner.request("POST", "/auth/api-keys/", json={"name": "socket"})
    return str(response.json()["key"])


async def test_tokens_and_api_keys_are_accepted_in_each_documented_place(
    workspace: Workspace, canvas: str
) -> None:
    """A value without the Bearer scheme is refused. Proves R-ACCESS-12."""
    url = f"{workspace.api.websocket_url}/{canvas}"
    token, key = await workspace.owner.access_token(), await create_api_key(workspace)
    for credential in (token, key):
        assert await try_connect(f"{url}?token={credential}") == (0, [])
        assert await try_connect(url, {"Authorization": f"Bearer {credential}"}) == (0, [])
        assert await try_connect(url, offered=["svgx", f"bearer.{credential}"]) == (0, ["svgx"])
        # A `Basic` header is for a proxy. It does not replace the token of the query.
        basic = {"Authorization": "Basic eDp5"}
        assert await try_connect(f"{url}?token={credential}", basic) == (0, [])
        assert await try_connect(url, {"Authorization": credential}) == (4401, [])
        assert await try_connect(url, offered=["svgx", credential]) == (4401, ["svgx"])
        assert TOKEN_CHARACTERS.issuperset(credential)
    assert await try_connect(url, {"X-API-Key": key}) == (0, [])
    assert await try_connect(url) == (4401, [])


async def test_first_of_several_tokens_decides(workspace: Workspace, canvas: str) -> None:
    """The order is subprotocol, header, query. A bad token is refused even if a good one follows.

    Proves R-ACCESS-12.
    """
    url = f"{workspace.api.websocket_url}/{canvas}"
    good, bad = await workspace.owner.access_token(), "made-up"
    bearer = {"Authorization": f"Bearer {good}"}
    assert await try_connect(f"{url}?token={bad}", offered=["svgx", f"bearer.{good}"]) == (
        0,
        ["svgx"],
    )
    assert await try_connect(f"{url}?token={good}", bearer, ["svgx", f"bearer.{bad}"]) == (
        4401,
        ["svgx"],
    )
    assert await try_connect(f"{url}?token={bad}", bearer) == (0, [])
    assert await try_connect(f"{url}?token={good}", {"Authorization": f"Bearer {bad}"}) == (
        4401,
        [],
    )


async def test_y_websocket_authenticates_with_a_subprotocol_on_each_connection(
    workspace: Workspace, canvas: str
) -> None:
    """The URL contains no token, and the token is sent again on a reconnect. Proves R-ACCESS-12."""
    offered = ["svgx", f"bearer.{await workspace.owner.access_token()}"]
    client = await workspace.connect(canvas, params={"saved": "1"}, protocols=offered)
    await client.add_element("added")
    await workspace.driver.wait_saved([client])
    await client.drop_connection()
    await client.wait_closed()
    await workspace.driver.wait_saved([client])
    assert (await client.status()).connections == 2


async def test_bad_subprotocol_token_completes_the_handshake_and_closes_with_4401(
    workspace: Workspace, canvas: str
) -> None:
    """A browser shows the close code only after a complete handshake. Proves R-ACCESS-1 and R-ACCESS-12."""
    client = await workspace.connect(canvas, params={}, protocols=["svgx", "bearer.made-up"])
    close = await client.wait_closed()
    assert close.code == 4401
    assert (await client.status()).gave_up == close
