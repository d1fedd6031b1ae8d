"""The client address of requests that come through proxies."""

import asyncio
import socket

import pytest
import uvicorn
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from svgx_common.http.protocol import LimitedHttp
from svgx_common.http.server import listen
from svgx_gateway.http.proxies import client_of, parse_networks, trust_proxies
from svgx_gateway.ratelimit.key import RateLimitKey


class Recorder:
    """An application that records the rate-limit key and the client's address of the last request."""

    def __init__(self) -> None:
        self.key = ""
        self.address = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record one request. Answer it, if it comes from a server."""
        self.key = RateLimitKey.of(HTTPConnection(scope), None).key
        self.address = client_of(HTTPConnection(scope)).address
        if "server" in scope:
            length = (b"content-length", b"0")
            await send({"type": "http.response.start", "status": 200, "headers": [length]})
            await send({"type": "http.response.body"})


async def record(
    peer: str, forwarded: list[str], trusted: str, connection_type: str = "http"
) -> Recorder:
    """Return the record of a request from `peer` with these `X-Forwarded-For` headers."""
    recorder = Recorder()
    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    scope = {"type": connection_type, "client": (peer, 1), "scheme": "http", "headers": headers}
    await trust_proxies(recorder, parse_networks(trusted))(scope, None, None)  # type: ignore[arg-type]
    return recorder


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "expected"),
    [
        ("192.0.2.1", [], "", "192.0.2.1"),
        # Without a trusted proxy the header is ignored, because the client may have written it.
        ("192.0.2.1", ["203.0.113.9"], "", "192.0.2.1"),
        ("192.0.2.1", ["203.0.113.9"], "10.0.0.0/8", "192.0.2.1"),
        ("10.0.0.1", ["203.0.113.9"], "10.0.0.0/8", "203.0.113.9"),
        # The header is read from the right. The client may have written all entries left of the first untrusted entry.
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9"], "10.0.0.0/8", "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9, 10.0.0.2"], "10.0.0.0/8", "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1", "203.0.113.9"], "10.0.0.0/8", "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9:4711"], "10.0.0.1", "203.0.113.9"),
        ("10.0.0.1", ["garbage"], "10.0.0.1", "unknown"),
        ("2001:db8:1:2::7", [], "", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", [], "", "192.0.2.1"),
    ],
)
async def test_client_address_comes_from_trusted_proxies_only(
    peer: str, forwarded: list[str], trusted: str, expected: str
) -> None:
    """Only the entries of `X-Forwarded-For` that trusted proxies wrote are used. Proves R-LIMIT-7."""
    assert (await record(peer, forwarded, trusted)).key == f"address:{expected}"


@pytest.mark.parametrize("connection_type", ["http", "websocket"])
@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "expected"),
    [
        # the address of the peer
        ("::ffff:192.0.2.1", [], "", "192.0.2.1"),
        ("::ffff:c000:201", [], "10.0.0.0/8", "192.0.2.1"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "", "10.0.0.1"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "10.0.0.0/8", "203.0.113.9"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "10.0.0.1", "203.0.113.9"),
        ("::ffff:11.0.0.1", ["203.0.113.9"], "10.0.0.0/8", "11.0.0.1"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "0.0.0.0/0", "203.0.113.9"),
        # the addresses in the header
        ("10.0.0.1", ["::ffff:203.0.113.9"], "10.0.0.0/8", "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, ::ffff:10.0.0.2"], "10.0.0.0/8", "203.0.113.9"),
        ("10.0.0.1", ["[::FFFF:203.0.113.9]:4711"], "10.0.0.0/8", "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, ::ffff:11.0.0.2"], "10.0.0.0/8", "11.0.0.2"),
        # the networks of the setting
        ("10.0.0.1", ["203.0.113.9"], "::ffff:10.0.0.0/104", "203.0.113.9"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "::ffff:10.0.0.0/104", "203.0.113.9"),
        ("11.0.0.1", ["203.0.113.9"], "::ffff:10.0.0.0/104", "11.0.0.1"),
        ("10.0.0.1", ["203.0.113.9"], "::/0", "10.0.0.1"),
        ("2001:db8::1", ["203.0.113.9"], "0.0.0.0/0", "2001:db8::1"),
    ],
)
async def test_mapped_ipv4_address_counts_as_ipv4_address(
    peer: str, forwarded: list[str], trusted: str, expected: str, connection_type: str
) -> None:
    """Both forms of an address are trusted alike, and all later parts see the IPv4 form. Proves R-LIMIT-7."""
    assert (await record(peer, forwarded, trusted, connection_type)).address == expected


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        pytest.param(
            "::",
            marks=pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here"),
        ),
    ],
)
async def test_trusted_ipv4_proxy_reports_the_client_on_every_socket(host: str) -> None:
    """A socket for IPv4 and IPv6 trusts the same proxies as a socket for IPv4. Proves R-LIMIT-7."""
    recorder = Recorder()
    app = trust_proxies(recorder, parse_networks("127.0.0.0/8"))
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, access_log=False, proxy_headers=False
    )
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: LimitedHttp(config=config, server_state=state, app_state={}), sock=listen(host, 0)
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"
        )
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
    assert recorder.address == "203.0.113.9"


def test_wrong_network_is_reported_with_its_position() -> None:
    """The error contains the position of the wrong entry in the list."""
    assert parse_networks(" 10.0.0.1, 10.0.0.0/8 ,::1") == ["10.0.0.1/32", "10.0.0.0/8", "::1/128"]
    with pytest.raises(ValueError, match="entry 2 is not an IP address"):
        parse_networks("10.0.0.0/8,10.0.0")
