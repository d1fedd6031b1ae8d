"""Revocation: a revoked access token is refused on two gateways, over HTTP and on WebSockets."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.e2e.clients.api import User
from tests.e2e.clients.workspace import Workspace
from tests.e2e.cluster.extra_gateway import extra_gateway
from tests.polling import REQUEST_POLL_SECONDS, pause

MAX_DELAY = 10.0
"""Longest time in seconds between the response that confirms a revocation and the close of the last WebSocket.

The broadcast takes milliseconds, and the tests print the time. Without the broadcast, a gateway would need up to
30 seconds.
"""


@dataclass
class Account:
    """An account with two sessions.

    Each revocation revokes the access token in `tokens`. Some revocations send their request with `other_tokens`.
    """

    user: User
    tokens: dict[str, Any]
    other_tokens: dict[str, Any]


@pytest.fixture(scope="module")
async def gateways(shared_workspace: Workspace) -> AsyncIterator[list[str]]:
    """Start a second gateway, and return the addresses of both."""
    stack = shared_workspace.stack
    async with extra_gateway(stack, {}) as gateway:
        yield [stack.url, gateway.url]


async def send(url: str, method: str, path: str, tokens: dict[str, Any], **options: Any) -> Any:
    """Send a request with an access token to one gateway, and return the response."""
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        return await http.request(method, path, headers=headers, **options)


async def login(url: str, user: User) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        body = {"username": user.username, "password": user.password}
        response = await http.post("/auth/login", json=body)
    assert response.status_code == 200
    tokens: dict[str, Any] = response.json()
    return tokens


async def refresh(url: str, tokens: dict[str, Any]) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        return await http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})


async def connect_socket(url: str, canvas: str, tokens: dict[str, Any]) -> ClientConnection:
    """Open a WebSocket on a canvas, and wait until the server has accepted the client."""
    address = url.replace("http", "ws", 1)
    socket = await connect(
        f"{address}/runtime/events/{canvas}?token={tokens['access_token']}", max_size=None
    )
    # The server answers sync step 1 only after it has accepted the client.
    await socket.send(b"\x00\x00\x01\x00")
    await socket.recv()
    return socket


async def wait_closed(socket: ClientConnection) -> tuple[int, float]:
    """Discard messages until the connection is closed. Return the close code and the time of the close."""
    try:
        while True:
            await socket.recv()
    except ConnectionClosed as error:
        return (error.rcvd.code if error.rcvd else 0), time.perf_counter()


async def logout(workspace: Workspace, url: str, account: Account) -> httpx.Response:
    response: httpx.Response = await send(url, "POST", "/auth/logout", account.tokens)
    return response


async def delete_session(workspace: Workspace, url: str, account: Account) -> httpx.Response:
    listed = (await send(url, "GET", "/auth/sessions/", account.tokens)).json()["items"]
    (session_id,) = (each["id"] for each in listed if each["current"])
    assert all(each["address"] and each["user_agent"] for each in listed)
    path = f"/auth/sessions/{session_id}"
    response: httpx.Response = await send(url, "DELETE", path, account.other_tokens)
    return response


async def change_password(workspace: Workspace, url: str, account: Account) -> httpx.Response:
    body = {"old_password": account.user.password, "new_password": "something new to remember"}
    response: httpx.Response = await send(
        url, "POST", "/auth/password", account.other_tokens, json=body
    )
    return response


async def disable_account(workspace: Workspace, url: str, account: Account) -> httpx.Response:
    path = f"/admin/users/{account.user.id}"
    return await workspace.admin.request("PATCH", path, json={"disabled": True})


async def delete_account(workspace: Workspace, url: str, account: Account) -> httpx.Response:
    return await workspace.admin.request("DELETE", f"/admin/users/{account.user.id}")


async def change_role(workspace: Workspace, url: str, account: Account) -> httpx.Response:
    path = f"/admin/users/{account.user.id}"
    return await workspace.admin.request("PATCH", path, json={"role": "viewer"})


async def end_shown_session(workspace: Workspace, url: str, account: Account) -> httpx.Response:
    """As an admin, end the session that the list of open connections shows for the account."""
    path = f"/admin/connections/?user_id={account.user.id}"
    async with asyncio.timeout(20):
        # A busy gateway may answer one request too late.
        while (page := (await workspace.admin.request("GET", path)).json())["missing"]:
            await pause(REQUEST_POLL_SECONDS)
    # Proves R-OBS-15: one gateway shows the connections of both gateways.
    assert len({each["replica"] for each in page["items"]}) == len(page["items"]) == 2
    (session_id,) = {each["session_id"] for each in page["items"]}
    path = f"/admin/users/{account.user.id}/sessions/{session_id}"
    return await workspace.admin.request("DELETE", path)


async def end_all_sessions(workspace: Workspace, url: str, account: Account) -> httpx.Response:
    return await workspace.admin.request("DELETE", f"/admin/users/{account.user.id}/sessions/")


Revocation = Callable[[Workspace, str, Account], Awaitable[httpx.Response]]
"""A function that revokes an account's tokens through a gateway, and returns the response."""


@pytest.mark.parametrize(
    ("revoke", "refresh_succeeds"),
    [
        (logout, False),
        (delete_session, False),
        (change_password, False),
        (disable_account, False),
        (delete_account, False),
        (end_shown_session, False),
        (end_all_sessions, False),
        (change_role, True),
    ],
)
async def test_revoked_token_is_refused_on_all_gateways(
    workspace: Workspace,
    gateways: list[str],
    canvas: str,
    revoke: Revocation,
    refresh_succeeds: bool,
) -> None:
    """A log-out, a session's end, a new password, and an admin's change or deletion of the account revoke tokens.

    Proves R-AUTH-18. An admin that ends one or all sessions of an account revokes tokens too. Proves R-AUTH-43.
    """
    user = await workspace.create_user("editor")
    await workspace.owner.set_member(canvas, user, "editor")
    account = Account(user, await login(gateways[0], user), await login(gateways[1], user))
    sockets = [await connect_socket(url, canvas, account.tokens) for url in gateways]
    bystander = await workspace.connect(canvas)
    for url in gateways:
        assert (await send(url, "GET", "/auth/me", account.tokens)).status_code == 200

    closing = [asyncio.create_task(wait_closed(socket)) for socket in sockets]
    response = await revoke(workspace, gateways[0], account)
    assert response.is_success, response.text
    answered = time.perf_counter()
    async with asyncio.timeout(10):
        closes = await asyncio.gather(*closing)
    statuses = [
        (await send(url, "GET", "/auth/me", account.tokens)).status_code for url in gateways
    ]
    assert statuses == [401, 401]
    assert [code for code, _ in closes] == [4401, 4401]
    delay = max(closed_at for _, closed_at in closes) - answered
    print(f"{revoke.__name__}: the last socket closed {delay * 1000:.1f} ms after the answer")
    assert delay < MAX_DELAY
    for url in gateways:
        socket = await connect(
            f"{url.replace('http', 'ws', 1)}/runtime/events/{canvas}"
            f"?token={account.tokens['access_token']}"
        )
        assert (await wait_closed(socket))[0] == 4401

    renewed = await refresh(gateways[1], account.tokens)
    assert renewed.status_code == (200 if refresh_succeeds else 401)
    if refresh_succeeds:
        me = await send(gateways[0], "GET", "/auth/me", renewed.json())
        assert (me.status_code, me.json()["role"]) == (200, "viewer")
        await (await connect_socket(gateways[1], canvas, renewed.json())).close()
    # The client of another account keeps its connection.
    assert (await bystander.status()).connections == 1


async def test_session_that_ends_during_the_handshake_is_closed_with_4401(
    workspace: Workspace, canvas: str
) -> None:
    """The user logs out after the check of the token, and before the connection joins the canvas.

    Proves R-AUTH-18.
    """
    user = await workspace.create_user("editor")
    await workspace.owner.set_member(canvas, user, "editor")
    url = workspace.stack.url
    tokens = await login(url, user)
    state = workspace.stack.process("state")
    state.pause()
    try:
        # The gateway has accepted the token, and waits for the state service to return the role on the canvas.
        socket = await connect(
            f"{url.replace('http', 'ws', 1)}/runtime/events/{canvas}?token={tokens['access_token']}"
        )
        assert (await send(url, "POST", "/auth/logout", tokens)).status_code == 204
    finally:
        state.resume()
    async with asyncio.timeout(10):
        assert (await wait_closed(socket))[0] == 4401


async def test_malformed_api_key_is_refused_as_an_api_key(workspace: Workspace) -> None:
    """The refusal of a text in `X-API-Key` does not speak of an access token. Proves R-ACCESS-1."""
    async with httpx.AsyncClient(base_url=workspace.stack.url, timeout=30) as http:
        for key in ("robot", "svgx_robot"):
            refused = await http.get("/auth/me", headers={"X-API-Key": key})
            assert (refused.status_code, refused.json()["detail"]) == (
                401,
                "the API key is not valid",
            )


async def test_api_key_works_on_all_gateways_until_it_is_deleted(
    workspace: Workspace, gateways: list[str], canvas: str
) -> None:
    """The key works in both headers and on WebSockets, on each gateway, until it is deleted. Proves R-AUTH-27."""
    response = await workspace.owner.request("POST", "/auth/api-keys/", json={"name": "robot"})
    assert response.status_code == 201
    created = response.json()
    key = created["key"]
    for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
        for url in gateways:
            async with httpx.AsyncClient(base_url=url, timeout=30) as http:
                me = await http.get("/auth/me", headers=headers)
                assert me.json()["username"] == workspace.owner.username
                refused = await http.post("/auth/logout", headers=headers)
                assert refused.status_code == 403
    sockets = [await connect_socket(url, canvas, {"access_token": key}) for url in gateways]
    closing = [asyncio.create_task(wait_closed(socket)) for socket in sockets]
    response = await workspace.owner.request("DELETE", f"/auth/api-keys/{created['id']}")
    assert response.status_code == 204
    async with asyncio.timeout(MAX_DELAY):
        assert [code for code, _ in await asyncio.gather(*closing)] == [4401, 4401]
    for url in gateways:
        assert (await send(url, "GET", "/auth/me", {"access_token": key})).status_code == 401
    for name in ("auth", "gateway"):
        assert key not in workspace.stack.log_path(name).read_text()
