"""Is a server ready? One short question each, on loopback; any failure is a no."""

import asyncio

from svgx_devstack.ports import HOST

_TIMEOUT = 2.0


async def _ask(port: int, question: bytes, good: bytes) -> bool:
    try:
        async with asyncio.timeout(_TIMEOUT):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(question)
                answer = b""
                while len(answer) < len(good):
                    chunk = await reader.read(1024)
                    if not chunk:
                        break
                    answer += chunk
                return answer.startswith(good)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


async def nats(port: int) -> bool:
    """NATS speaks first."""
    return await _ask(port, b"", b"INFO ")


async def valkey(port: int, password: str) -> bool:
    """Valkey answers a ping."""
    return await _ask(port, f"AUTH {password}\r\nPING\r\n".encode(), b"+OK\r\n+PONG")


async def service(port: int) -> bool:
    """A service's `/health/ready` answers 200."""
    return await _ask(
        port,
        f"GET /health/ready HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode(),
        b"HTTP/1.1 200",
    )
