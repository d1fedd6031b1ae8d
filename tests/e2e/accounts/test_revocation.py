"""Sessions that end, end everywhere: HTTP and WebSockets, on two gateways, within a second."""

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

AT_MOST = 1.0
"""Seconds from the answer to who ended it, to the end on every gateway."""


@dataclass
class Somebody:
    """An account with two sessions; `tokens` is the one that will end."""

    user: User
    tokens: dict[str, Any]
    elsewhere: dict[str, Any]


@pytest.fixture(scope="module")
async def gateways(shared_workspace: Workspace) -> AsyncIterator[list[str]]:
    """The addresses of two gateways."""
    stack = shared_workspace.stack
    name = await stack.add_replica("gateway")
    try:
        yield [stack.service_url("gateway"), stack.service_url(name)]
    finally:
        await stack.remove_replica(name)


async def call(url: str, method: str, path: str, tokens: dict[str, Any], **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        return await http.request(method, path, headers=headers, **options)


async def sign_in(url: str, user: User) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        body = {"username": user.username, "password": user.password}
        answer = await http.post("/auth/login", json=body)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def refresh(url: str, tokens: dict[str, Any]) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        return await http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})


async def join(url: str, canvas: str, tokens: dict[str, Any]) -> ClientConnection:
    address = url.replace("http", "ws", 1)
    socket = await connect(
        f"{address}/runtime/events/{canvas}?token={tokens['access_token']}", max_size=None
    )
    # Asked for all there is, the server has let it in when it answers.
    await socket.send(b"\x00\x00\x01\x00")
    await socket.recv()
    return socket


async def closed(socket: ClientConnection) -> tuple[int, float]:
    """The close code, and when it came."""
    try:
        while True:
            await socket.recv()
    except ConnectionClosed as end:
        return (end.rcvd.code if end.rcvd else 0), time.perf_counter()


async def log_out(workspace: Workspace, url: str, who: Somebody) -> httpx.Response:
    answer: httpx.Response = await call(url, "POST", "/auth/logout", who.tokens)
    return answer


async def end_the_session(workspace: Workspace, url: str, who: Somebody) -> httpx.Response:
    listed = (await call(url, "GET", "/auth/sessions/", who.tokens)).json()["items"]
    (session_id,) = (each["id"] for each in listed if each["current"])
    assert all(each["address"] and each["user_agent"] for each in listed)
    path = f"/auth/sessions/{session_id}"
    answer: httpx.Response = await call(url, "DELETE", path, who.elsewhere)
    return answer


async def change_the_password(workspace: Workspace, url: str, who: Somebody) -> httpx.Response:
    body = {"old_password": who.user.password, "new_password": "something new to remember"}
    answer: httpx.Response = await call(url, "POST", "/auth/password", who.elsewhere, json=body)
    return answer


async def disable(workspace: Workspace, url: str, who: Somebody) -> httpx.Response:
    path = f"/admin/users/{who.user.id}"
    return await workspace.admin.request("PATCH", path, json={"disabled": True})


async def delete(workspace: Workspace, url: str, who: Somebody) -> httpx.Response:
    return await workspace.admin.request("DELETE", f"/admin/users/{who.user.id}")


async def change_the_role(workspace: Workspace, url: str, who: Somebody) -> httpx.Response:
    path = f"/admin/users/{who.user.id}"
    return await workspace.admin.request("PATCH", path, json={"role": "viewer"})


Act = Callable[[Workspace, str, Somebody], Awaitable[httpx.Response]]


@pytest.mark.parametrize(
    ("act", "refreshes"),
    [
        (log_out, False),
        (end_the_session, False),
        (change_the_password, False),
        (disable, False),
        (delete, False),
        (change_the_role, True),
    ],
)
async def test_what_ends_a_session_ends_it_everywhere(
    workspace: Workspace, gateways: list[str], canvas: str, act: Act, refreshes: bool
) -> None:
    """Proves R-AUTH-18."""
    user = await workspace.create_user("editor")
    await workspace.owner.set_member(canvas, user, "editor")
    who = Somebody(user, await sign_in(gateways[0], user), await sign_in(gateways[1], user))
    sockets = [await join(url, canvas, who.tokens) for url in gateways]
    bystander = await workspace.connect(canvas)
    for url in gateways:
        assert (await call(url, "GET", "/auth/me", who.tokens)).status_code == 200

    closing = [asyncio.create_task(closed(socket)) for socket in sockets]
    answer = await act(workspace, gateways[0], who)
    assert answer.is_success, answer.text
    done = time.perf_counter()
    async with asyncio.timeout(10):
        ends = await asyncio.gather(*closing)
    statuses = [(await call(url, "GET", "/auth/me", who.tokens)).status_code for url in gateways]
    assert statuses == [401, 401]
    assert [code for code, _ in ends] == [4401, 4401]
    late = max(moment for _, moment in ends) - done
    print(f"{act.__name__}: the last socket closed {late * 1000:.1f} ms after the answer")
    assert late < AT_MOST
    for url in gateways:
        socket = await connect(
            f"{url.replace('http', 'ws', 1)}/runtime/events/{canvas}"
            f"?token={who.tokens['access_token']}"
        )
        assert (await closed(socket))[0] == 4401

    renewed = await refresh(gateways[1], who.tokens)
    assert renewed.status_code == (200 if refreshes else 401)
    if refreshes:
        me = await call(gateways[0], "GET", "/auth/me", renewed.json())
        assert (me.status_code, me.json()["role"]) == (200, "viewer")
        await (await join(gateways[1], canvas, renewed.json())).close()
    # Who shares the canvas is not disturbed.
    assert (await bystander.status()).connections == 1


async def test_who_is_joining_is_not_forgotten(workspace: Workspace, canvas: str) -> None:
    """Proves R-AUTH-18: revoked between the look at the token and the place among the canvas's connections."""
    user = await workspace.create_user("editor")
    await workspace.owner.set_member(canvas, user, "editor")
    url = workspace.stack.url
    tokens = await sign_in(url, user)
    state = workspace.stack.process("state")
    state.pause()
    try:
        # The gateway has seen the token and waits for the role on the canvas.
        socket = await connect(
            f"{url.replace('http', 'ws', 1)}/runtime/events/{canvas}?token={tokens['access_token']}"
        )
        assert (await call(url, "POST", "/auth/logout", tokens)).status_code == 204
    finally:
        state.resume()
    async with asyncio.timeout(10):
        assert (await closed(socket))[0] == 4401


async def test_an_api_key_draws_until_it_ends(
    workspace: Workspace, gateways: list[str], canvas: str
) -> None:
    """Proves R-AUTH-27: by HTTP, in either header, and by WebSocket, on every gateway."""
    answer = await workspace.owner.request("POST", "/auth/api-keys/", json={"name": "robot"})
    assert answer.status_code == 201
    made = answer.json()
    key = made["key"]
    for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
        for url in gateways:
            async with httpx.AsyncClient(base_url=url, timeout=30) as http:
                me = await http.get("/auth/me", headers=headers)
                assert me.json()["username"] == workspace.owner.username
                refused = await http.post("/auth/logout", headers=headers)
                assert refused.status_code == 403
    sockets = [await join(url, canvas, {"access_token": key}) for url in gateways]
    closing = [asyncio.create_task(closed(socket)) for socket in sockets]
    answer = await workspace.owner.request("DELETE", f"/auth/api-keys/{made['id']}")
    assert answer.status_code == 204
    async with asyncio.timeout(AT_MOST):
        assert [code for code, _ in await asyncio.gather(*closing)] == [4401, 4401]
    for url in gateways:
        assert (await call(url, "GET", "/auth/me", {"access_token": key})).status_code == 401
    for name in ("auth", "gateway"):
        assert key not in workspace.stack.log_path(name).read_text()
