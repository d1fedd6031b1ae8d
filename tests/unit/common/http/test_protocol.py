"""The HTTP/1.1 protocol of the services."""

import asyncio

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from svgx_common.http.protocol import LimitedHttp


async def echo_header_names(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the names of the headers, as they are after the end of the body."""
    while (await receive())["more_body"]:
        pass
    names = b",".join(name for name, _ in scope["headers"])
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": names})


async def test_trailers_are_not_added_to_the_headers() -> None:
    """Proves R-HTTP-11: trailers are not headers, because a proxy does not remove `X-Forwarded-For` from trailers."""
    config = uvicorn.Config(echo_header_names, lifespan="off", log_config=None, access_log=False)
    config.load()
    server = await asyncio.get_running_loop().create_server(
        lambda: LimitedHttp(config=config, server_state=ServerState(), app_state={}),
        "127.0.0.1",
        0,
    )
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(
            b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
            b"Trailer: X-Forwarded-For\r\n\r\n1\r\nx\r\n0\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"
        )
        answer = await asyncio.wait_for(reader.read(), timeout=5)
        writer.close()
    assert b"host,transfer-encoding,connection,trailer" in answer
    assert b"x-forwarded-for" not in answer
