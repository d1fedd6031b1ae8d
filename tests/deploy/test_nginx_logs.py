"""The logs of nginx for requests that fail at nginx, at the gateway or between them."""

import asyncio
import socket
import struct
from pathlib import Path
from urllib.parse import urlsplit

from svgx_devstack.ports import choose
from tests.deploy.nginx import exchange, run_nginx

SOCKET = "GET /runtime/events/x?token=hunter2&link=hunter2 HTTP/1.1\r\nUpgrade: websocket"


def logs(folder: Path) -> list[str]:
    """Return the lines of the access log about WebSockets. Neither the access log nor the error log has their query."""
    lines = (folder / "access.log").read_text(encoding="utf-8").splitlines()
    errors = (folder / "error.log").read_text(encoding="utf-8")
    assert "hunter2" not in "\n".join(lines) + errors
    return [line for line in lines if "/runtime/events/x" in line]


async def test_log_of_an_unreachable_gateway_has_no_token(tmp_path: Path) -> None:
    """Proves R-SHIP-5: the access log has the address of the gateway, and no log has the query."""
    gateway = f"127.0.0.1:{choose()}"
    async with run_nginx(tmp_path, gateway) as url:
        assert "502 Bad Gateway" in await exchange(url, SOCKET)
    (line,) = logs(tmp_path)
    assert '"GET /runtime/events/x" 502 ' in line
    assert line.endswith(f" {gateway} 502")


async def test_log_of_requests_beyond_the_limit_has_no_token(tmp_path: Path) -> None:
    """Proves R-SHIP-5: no log has the query of a request that nginx refuses with 429."""
    async with run_nginx(tmp_path, f"127.0.0.1:{choose()}") as url:
        answers = await exchange(url, *[SOCKET.partition("\r\n")[0]] * 200)
    assert " 429 Too Many Requests" in answers
    lines = logs(tmp_path)
    assert len(lines) == 200
    assert any('" 429 ' in line and line.endswith(" - -") for line in lines)


async def test_log_of_a_websocket_that_the_gateway_resets_has_no_token(tmp_path: Path) -> None:
    """Proves R-SHIP-5: a gateway that is killed resets its WebSockets, and no log has their queries."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        )
        writer.write(head)
        await reader.readexactly(1)
        # A linger time of 0 makes the system reset the connection.
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    async with (
        await asyncio.start_server(reset, "127.0.0.1", 0) as server,
        run_nginx(tmp_path, f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as url,
        asyncio.timeout(60),
    ):
        address = urlsplit(url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(f"{SOCKET}\r\nHost: x\r\nConnection: upgrade\r\n\r\n".encode())
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"x")
        assert await reader.read() == b""
        writer.close()
    (line,) = logs(tmp_path)
    assert '"GET /runtime/events/x" 101 ' in line


async def test_log_of_nginx_without_free_connections_has_no_token(tmp_path: Path) -> None:
    """Proves R-SHIP-5: no log has the query of a request for which nginx has no free connection."""
    # A worker needs a connection each for the port, for the main process and for the client.
    change = ("worker_connections 8192;", "worker_connections 3;")
    async with run_nginx(tmp_path, f"127.0.0.1:{choose()}", change) as url:
        assert "500 Internal Server Error" in await exchange(url, SOCKET)
    (line,) = logs(tmp_path)
    assert '"GET /runtime/events/x" 500 ' in line
