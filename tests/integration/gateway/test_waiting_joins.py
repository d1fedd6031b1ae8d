"""Joins at a gateway while the services that they need do not run."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
import pytest
from starlette.types import Message

from svgx_common.contract.api_keys import CHECK_API_KEY, CheckApiKeyRequest, CheckedApiKey
from svgx_common.contract.close_codes import Close
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.state import CANVAS_ACCESS, Access, CanvasRequest
from svgx_common.messaging.responder import Call
from svgx_devstack import DevStack
from svgx_gateway.websocket.live_canvases import CONNECTIONS
from svgx_gateway.websocket.sessions import join_retries
from svgx_gateway.websocket.transport.protocol import WRITE_FRAME
from tests.integration.gateway.running_gateway import answering, bearer, gateway
from tests.polling import pause

CANVAS = "00000000-0000-0000-0000-000000000001"


@dataclass
class Socket:
    """The ASGI server's side of one WebSocket. `sent` has the gateway's messages, and `received` the client's."""

    sent: list[Message] = field(default_factory=list)
    received: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)

    async def send(self, message: Message) -> None:
        """Store a message of the gateway."""
        self.sent.append(message)

    def types(self) -> list[str]:
        """Return the types of the gateway's messages."""
        return [each["type"].removeprefix("websocket.") for each in self.sent]


@asynccontextmanager
async def connecting(
    http: httpx.AsyncClient, token: str, path: str = f"/runtime/events/{CANVAS}", query: str = ""
) -> AsyncIterator[Socket]:
    """Connect to the canvas. When the block ends, disconnect and wait until the gateway has closed the connection."""
    socket = Socket()
    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "scheme": "ws",
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"authorization", token.encode())],
        "client": (f"{secrets.randbelow(250)}.1.1.1", 1),
        "server": ("gateway", 80),
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
        WRITE_FRAME: lambda _: True,
    }
    await socket.received.put({"type": "websocket.connect"})
    app = cast(Any, cast(httpx.ASGITransport, http._transport).app)
    serving = asyncio.create_task(app(scope, socket.received.get, socket.send))
    try:
        async with asyncio.timeout(30):
            yield socket
    finally:
        await socket.received.put({"type": "websocket.disconnect", "code": 1000})
        await serving


def waiting_clients() -> float:
    """Return the number of waiting clients."""
    return float(join_retries.WAITING._value.get())


def joined_connections() -> float:
    """Return the number of connections that have joined their canvas."""
    (metric,) = CONNECTIONS.collect()
    return metric.samples[0].value


async def access(_: CanvasRequest, __: Call) -> Access:
    """Answer in place of the state service: each caller has the role viewer."""
    return Access(role=CanvasRole.VIEWER)


async def test_join_waits_for_the_service_that_knows_the_roles(backing: DevStack) -> None:
    """Proves R-FAIL-26: the client is connected and waits; it joins when the service has started."""
    async with gateway(backing) as http, connecting(http, bearer()["Authorization"]) as socket:
        while not waiting_clients():
            await pause()
        async with answering(backing, CANVAS_ACCESS, access):
            while not joined_connections():
                await pause()
        assert socket.types() == ["accept"]


async def test_connection_that_waits_too_long_to_join_is_closed_with_1013(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-FAIL-26: the wait is bounded."""
    monkeypatch.setattr(join_retries, "RETRY_SECONDS", 0.5)
    async with gateway(backing) as http, connecting(http, bearer()["Authorization"]) as socket:
        while socket.types() != ["accept", "close"]:
            await pause()
        assert socket.sent[-1]["code"] == Close.OVERLOADED


async def test_handshake_waits_for_the_service_that_knows_the_key(backing: DevStack) -> None:
    """Proves R-FAIL-26: the gateway accepts a client with an API key when the auth service has started."""

    async def check(_: CheckApiKeyRequest, __: Call) -> CheckedApiKey:
        return CheckedApiKey.model_validate(
            {
                "key_id": "key",
                "user_id": "ann",
                "username": "ann",
                "role": Role.EDITOR,
                "token_version": 1,
                "expires_at": 2**40,
            }
        )

    key = f"Bearer svgx_{secrets.token_hex(16)}"
    async with (
        answering(backing, CANVAS_ACCESS, access),
        gateway(backing) as http,
        connecting(http, key) as socket,
    ):
        while not waiting_clients():
            await pause()
        assert socket.types() == []
        async with answering(backing, CHECK_API_KEY, check):
            while socket.types() != ["accept"]:
                await pause()
