"""The close code with which the server closes a WebSocket."""

import asyncio
import contextlib

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

_TIMEOUT = 30.0
"""Longest time, in seconds, until the server closes a connection."""


async def wait_close_code(socket: ClientConnection) -> int | None:
    """Discard messages until the connection is closed, and return the close code.

    Without a reader, the close frame would stay behind the messages that fill the client's queue.
    """
    async with asyncio.timeout(_TIMEOUT):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code
