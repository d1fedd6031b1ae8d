"""Where a WebSocket's token may be."""

import string
from collections.abc import Mapping, Sequence

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.e2e.clients.canvas_session import Studio

SYNC_STEP_1 = bytes([0, 0, 1, 0])
TOKEN_CHARACTERS = frozenset("!#$%&'*+-.^_`|~" + string.ascii_letters + string.digits)
"""What an HTTP token, and so a subprotocol, is made of (RFC 9110, 5.6.2)."""


async def join(
    url: str, headers: Mapping[str, str] | None = None, offered: Sequence[str] = ()
) -> tuple[int, list[str]]:
    """Connect and ask for everything: the close code, or 0; and the subprotocols of the answer."""
    subprotocols = [Subprotocol(each) for each in offered] or None
    async with connect(url, additional_headers=headers, subprotocols=subprotocols) as socket:
        assert socket.response is not None
        picked = socket.response.headers.get_all("Sec-WebSocket-Protocol")
        assert not any("." in value for value in picked)
        try:
            await socket.send(SYNC_STEP_1)
            await socket.recv()
        except ConnectionClosed as closed:
            return (closed.rcvd.code if closed.rcvd else -1), picked
        return 0, picked


async def key_of(studio: Studio) -> str:
    """An API key of the owner."""
    answer = await studio.owner.request("POST", "/auth/api-keys/", json={"name": "socket"})
    return str(answer.json()["key"])


async def test_a_token_may_be_in_four_places(studio: Studio, canvas: str) -> None:
    """Proves R-ACCESS-12: of tokens and API keys; what is no bearer token counts nowhere."""
    url = f"{studio.api.live_url}/{canvas}"
    token, key = await studio.owner.token(), await key_of(studio)
    for good in (token, key):
        assert await join(f"{url}?token={good}") == (0, [])
        assert await join(url, {"Authorization": f"Bearer {good}"}) == (0, [])
        assert await join(url, offered=["svgx", f"bearer.{good}"]) == (0, ["svgx"])
        # A proxy's own password is none of ours, and takes nobody's token away.
        assert await join(f"{url}?token={good}", {"Authorization": "Basic eDp5"}) == (0, [])
        assert await join(url, {"Authorization": good}) == (4401, [])
        assert await join(url, offered=["svgx", good]) == (4401, ["svgx"])
        assert TOKEN_CHARACTERS.issuperset(good)
    assert await join(url, {"X-API-Key": key}) == (0, [])
    assert await join(url) == (4401, [])


async def test_the_first_of_several_counts(studio: Studio, canvas: str) -> None:
    """Proves R-ACCESS-12: subprotocol, header, query; a bad one is not made good by a later one."""
    url = f"{studio.api.live_url}/{canvas}"
    good, bad = await studio.owner.token(), "made-up"
    bearer = {"Authorization": f"Bearer {good}"}
    assert await join(f"{url}?token={bad}", offered=["svgx", f"bearer.{good}"]) == (0, ["svgx"])
    assert await join(f"{url}?token={good}", bearer, ["svgx", f"bearer.{bad}"]) == (4401, ["svgx"])
    assert await join(f"{url}?token={bad}", bearer) == (0, [])
    assert await join(f"{url}?token={good}", {"Authorization": f"Bearer {bad}"}) == (4401, [])


async def test_y_websocket_sends_it_as_a_subprotocol(studio: Studio, canvas: str) -> None:
    """Proves R-ACCESS-12: with `protocols`, again when it reconnects, and nothing is in the address."""
    offered = ["svgx", f"bearer.{await studio.owner.token()}"]
    client = await studio.join(canvas, params={"saved": "1"}, protocols=offered)
    await client.add("drawn")
    await studio.driver.saved([client])
    await client.drop()
    await client.closed()
    await studio.driver.saved([client])
    assert (await client.status()).connections == 2


async def test_a_refused_token_is_told_as_ever(studio: Studio, canvas: str) -> None:
    """Proves R-ACCESS-1 and R-ACCESS-12: a page sees the close code, since the handshake was completed."""
    client = await studio.join(canvas, params={}, protocols=["svgx", "bearer.made-up"])
    closed = await client.closed()
    assert closed.code == 4401
    assert (await client.status()).gave_up == closed
