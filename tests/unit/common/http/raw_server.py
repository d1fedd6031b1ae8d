"""A server that runs an application of a test with the services' HTTP protocol. Requests are raw bytes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from svgx_common.http.protocol import LimitedHttp


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A response. Header names and values are in lower case. Of repeated headers, only the last is kept."""

    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self) -> dict[str, Any]:
        """Return the problem document. Fail if the media type is wrong, or if the document's `status` differs."""
        assert self.headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = json.loads(self.body)
        assert problem["status"] == self.status
        return problem

    def trace_id(self) -> str:
        """Return the trace id of the problem document. Fail if it is zero, or if `traceresponse` has another one."""
        _, trace_id, span_id, _ = self.headers["traceresponse"].split("-")
        assert self.problem()["trace_id"] == trace_id
        assert int(trace_id, 16)
        assert int(span_id, 16)
        return trace_id


def parse_response(received: bytes) -> RawResponse:
    """Return the first response in received bytes. The rest counts as its body."""
    head, _, body = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return RawResponse(int(status_line.split(" ")[1]), headers, body)


class RawServer:
    """A listening server."""

    def __init__(self, server: asyncio.Server, state: ServerState) -> None:
        self._server = server
        self._state = state

    @property
    def address(self) -> tuple[str, int]:
        """The host and port of the server."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._state.connections)

    @property
    def unsent_bytes(self) -> int:
        """The bytes that wait for the clients."""
        connections: Any = self._state.connections
        return sum(each.transport.get_write_buffer_size() for each in connections)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection."""
        return await asyncio.open_connection(*self.address)

    async def exchange(self, *parts: bytes) -> bytes:
        """Send bytes over one connection. Return all received bytes after the server has closed the connection."""
        reader, writer = await self.connect()
        try:
            async with asyncio.timeout(10):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                return await reader.read()
        finally:
            writer.close()

    async def request(self, content: bytes) -> RawResponse:
        """Send one request, after which the server closes the connection, and return the response."""
        return parse_response(await self.exchange(content))


@contextlib.asynccontextmanager
async def serve(
    application: ASGIApp, websocket: type[asyncio.Protocol] | None = None
) -> AsyncIterator[RawServer]:
    """Serve an application. Without `websocket`, handshakes are ordinary requests."""
    config = uvicorn.Config(
        application,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none" if websocket is None else websocket,
        ws_per_message_deflate=False,
    )
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: LimitedHttp(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    async with server:
        yield RawServer(server, state)
