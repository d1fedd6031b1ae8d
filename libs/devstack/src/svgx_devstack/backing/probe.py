"""Test whether a server on loopback is ready. Any failure means that the server is not ready."""

import asyncio

from svgx_devstack.ports import HOST

_TEST_SECONDS = 2.0
"""Time limit of one test, in seconds. Beyond it, the server is not ready."""


async def _replies(port: int, request: bytes, expected: bytes) -> bool:
    """Return whether the reply to a request begins with the expected bytes."""
    try:
        async with asyncio.timeout(_TEST_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(request)
                reply = b""
                while len(reply) < len(expected):
                    chunk = await reader.read(1024)
                    if not chunk:
                        break
                    reply += chunk
                return reply.startswith(expected)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


async def nats(port: int) -> bool:
    """Return whether NATS sends its greeting."""
    return await _replies(port, b"", b"INFO ")


async def valkey(port: int, password: str) -> bool:
    """Return whether Valkey answers a ping."""
    return await _replies(port, f"AUTH {password}\r\nPING\r\n".encode(), b"+OK\r\n+PONG")


async def service(port: int) -> bool:
    """Return whether a service's `/health/ready` answers 200."""
    return await _replies(
        port,
        f"GET /health/ready HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode(),
        b"HTTP/1.1 200",
    )
