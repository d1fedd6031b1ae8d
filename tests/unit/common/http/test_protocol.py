"""The HTTP/1.1 protocol of the services."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.types import Receive, Scope, Send

from svgx_common.http import protocol
from svgx_common.http.protocol import MAX_HEADER_BYTES, MAX_WAITING_REQUESTS
from tests.unit.common.http.raw_server import RawServer, parse_response, serve

HOST = b"Host: here\r\n"
CHUNKS = b"1\r\nx\r\n0\r\n\r\n"
CLOSE = b"Connection: close\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
GET_SLOW = b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n"
LAST_GET = b"GET / HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n"


INVALID_HEADS: list[tuple[bytes, bytes, int, str | None]] = [
    # Host (RFC 9112, 3.2)
    (b"GET / HTTP/1.1\r\n", b"", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", b"", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n", b"", 400, "host"),
    (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n", b"", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost:\r\n", b"", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n", b"", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost: user@a\r\n", b"", 400, "host"),
    (b"GET http://a/ HTTP/1.1\r\n", b"", 400, "host"),
    (b"GET / HTTP/1.1\r\nHost : a\r\n", b"", 400, None),
    (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n", b"", 400, None),
    (b"GET / HTTP/1.1\r\n\tHost: a\r\n", b"", 400, None),
    # version and target
    (b"GET / HTTP/2.0\r\n" + HOST, b"", 400, None),
    (b"GET / HTTP/0.9\r\n", b"", 400, None),
    (b"GET /\r\n", b"", 400, None),
    (b"PRI * HTTP/2.0\r\n", b"SM\r\n\r\n", 400, None),
    (b"GET /a#b HTTP/1.1\r\n" + HOST, b"", 400, None),
    (b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST, b"", 400, None),
    (b"GET http://user@a/ HTTP/1.1\r\n" + HOST, b"", 400, None),
    (b"GET http://a HTTP/1.1\r\n" + HOST, b"", 400, None),
    (b"CONNECT a:80 HTTP/1.1\r\n" + HOST, b"", 400, None),
    (b"INVENTED / HTTP/1.1\r\n" + HOST, b"", 400, None),
    (b"\x16\x03\x01\r\n", b"", 400, None),
    # transfer codings (RFC 9112, 6 and 7)
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n" + HOST, CHUNKS, 501, None),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: br,chunked\r\n" + HOST, CHUNKS, 501, None),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: identity, chunked\r\n" + HOST, CHUNKS, 501, None),
    (
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n" + HOST,
        CHUNKS,
        501,
        None,
    ),
    (b"GET / HTTP/1.1\r\nTransfer-Encoding: invented, chunked\r\n" + HOST, CHUNKS, 501, None),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n" + HOST, CHUNKS, 400, None),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n" + HOST, CHUNKS, 400, None),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding:\r\n" + HOST, CHUNKS, 400, None),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n" + HOST, CHUNKS, 400, None),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked;a=b\r\n" + HOST, CHUNKS, 400, None),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n" + HOST, CHUNKS, 400, None),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n" + HOST, CHUNKS, 400, None),
    (
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 11\r\n" + HOST,
        CHUNKS,
        400,
        None,
    ),
    (
        b"POST / HTTP/1.1\r\nContent-Length: 11\r\nTransfer-Encoding: chunked\r\n" + HOST,
        CHUNKS,
        400,
        None,
    ),
    (
        b"POST / HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n" + HOST,
        CHUNKS,
        400,
        None,
    ),
    (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", CHUNKS, 400, None),
    (b"POST / HTTP/1.0\r\nTransfer-Encoding: gzip, chunked\r\n", CHUNKS, 400, None),
    # lengths
    (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n" + HOST, b"x", 400, None),
    (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n" + HOST, b"x", 400, None),
    (b"POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n" + HOST, b"x", 400, None),
    (b"POST / HTTP/1.1\r\nContent-Length: +1\r\n" + HOST, b"x", 400, None),
    (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n" + HOST, b"x", 400, None),
    (b"POST / HTTP/1.1\r\nContent-Length: 0x1\r\n" + HOST, b"x", 400, None),
    (b"POST / HTTP/1.1\r\nContent-Length:\r\n" + HOST, b"", 400, None),
    (
        b"POST / HTTP/1.1\r\nContent-Length: " + b"1".zfill(19) + b"\r\n" + HOST,
        b"x",
        400,
        "content-length",
    ),
    (
        b"POST / HTTP/1.1\r\nContent-Length: " + b"1".zfill(5000) + b"\r\n" + HOST,
        b"x",
        400,
        "content-length",
    ),
    (
        b"GET / HTTP/1.1\r\nContent-Length: " + b"0" * 5000 + b"\r\n" + HOST,
        b"",
        400,
        "content-length",
    ),
]
"""Each case: the head without the empty line at its end, the body, the status, and the field that the error names."""


class Application:
    """An application that reads the whole body, and then answers with the names of the request's headers."""

    def __init__(self) -> None:
        self.requests = 0
        self.release = asyncio.Event()
        """The event for which a request to `/slow` waits."""
        self.arrived = asyncio.Event()
        """Set when a request to `/slow` has arrived."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self.requests += 1
        while (event := await receive())["type"] == "http.request" and event["more_body"]:
            pass
        if scope["path"] == "/slow":
            self.arrived.set()
            await self.release.wait()
        names = b",".join(name for name, _ in scope["headers"])
        length = (b"content-length", b"%d" % len(names))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": names})


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
async def server(application: Application) -> AsyncIterator[RawServer]:
    async with serve(application) as server:
        yield server


async def test_trailers_are_not_added_to_the_headers(server: RawServer) -> None:
    """Proves R-HTTP-11: trailers stay apart, because a proxy does not remove a forged `X-Forwarded-For` from them."""
    answer = await server.exchange(
        b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
        b"Trailer: X-Forwarded-For\r\n\r\n1\r\nx\r\n0\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"
    )
    assert b"host,transfer-encoding,connection,trailer" in answer
    assert b"x-forwarded-for" not in answer


@pytest.mark.parametrize(
    ("many", "keep_alive", "short_keep_alive"), [(1, 0, 3600), (0, 3600, 0)], ids=["few", "many"]
)
async def test_unused_connection_is_closed_earlier_among_many_connections(
    server: RawServer,
    monkeypatch: pytest.MonkeyPatch,
    *,
    many: int,
    keep_alive: int,
    short_keep_alive: int,
) -> None:
    """Without many connections, an unused one stays open for longer than proxies keep theirs. Proves R-HTTP-11."""
    assert protocol.KEEP_ALIVE_SECONDS > 60
    monkeypatch.setattr(protocol, "MANY_CONNECTIONS", many)
    monkeypatch.setattr(protocol, "KEEP_ALIVE_SECONDS", keep_alive)
    monkeypatch.setattr(protocol, "SHORT_KEEP_ALIVE_SECONDS", short_keep_alive)
    answer = await server.exchange(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("content", "status", "field"),
    [(head + b"\r\n" + body, status, field) for head, body, status, field in INVALID_HEADS],
)
async def test_invalid_head_gets_a_problem_document_and_reaches_no_application(
    server: RawServer, application: Application, content: bytes, status: int, field: str | None
) -> None:
    """Proves R-HTTP-14 and R-HTTP-6: the response is 400 or 501, and the server closes the connection."""
    response = await server.request(content)
    assert response.status == status
    problem = response.problem()
    assert problem["code"] == ("bad_request" if status == 400 else "unsupported_coding")
    assert field is None or problem["field"] == field
    assert response.headers["connection"] == "close"
    assert response.headers["cache-control"] == "no-store"
    assert int(response.headers["content-length"]) == len(response.body)
    assert application.requests == 0


async def test_refusal_without_an_application_has_a_trace_id_of_its_own(server: RawServer) -> None:
    """The response has the id in the document and in `traceresponse`. Proves R-HTTP-2 and R-OBS-7."""
    long_head = b"GET / HTTP/1.1\r\nX-Long: %b\r\n\r\n" % (b"x" * MAX_HEADER_BYTES)
    heads = (b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\r\n", long_head)
    trace_ids = {(await server.request(head)).trace_id() for head in heads}
    assert len(trace_ids) == len(heads)


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1]:8000\r\n" + CLOSE + b"\r\n",
        b"GET http://other/ HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n" + HOST + CLOSE + b"\r\n" + CHUNKS,
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\n" + HOST + CLOSE + b"\r\nx",
        b"POST / HTTP/1.1\r\nContent-Length: %b \r\n" % b"1".zfill(18) + HOST + CLOSE + b"\r\nx",
        b"GET / HTTP/1.1\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\n" + HOST + b"\r\n",
    ],
)
async def test_valid_head_reaches_the_application(server: RawServer, content: bytes) -> None:
    """Proves R-HTTP-14: HTTP/1.0 needs no host, and a body in chunks is read."""
    assert (await server.request(content)).status == 200


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket", b"invented"])
async def test_unsupported_upgrade_is_ignored_without_a_log_line(
    server: RawServer, caplog: pytest.LogCaptureFixture, upgrade: bytes
) -> None:
    """Proves R-OBS-5: a service without WebSockets answers the request as any other, and logs nothing."""
    response = await server.request(
        b"GET / HTTP/1.1\r\nConnection: close, Upgrade\r\nUpgrade: %s\r\n" % upgrade
        + HOST
        + b"\r\n"
    )
    assert response.status == 200
    assert caplog.records == []


async def test_invalid_head_behind_an_unfinished_request_gets_no_response(
    server: RawServer, application: Application
) -> None:
    """Proves R-HTTP-14: the first response ends the connection, so no request gets the response to another."""
    first = b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n"
    exchange = asyncio.create_task(server.exchange(first + b"GET / HTTP/1.1\r\n\r\n"))
    await application.arrived.wait()
    application.release.set()
    received = await exchange
    response = parse_response(received)
    assert (response.status, response.body) == (200, b"host")
    assert application.requests == 1


async def test_invalid_chunk_gets_400_and_ends_the_request(
    server: RawServer, application: Application
) -> None:
    """Proves R-HTTP-14: the application does not wait for the rest of the body."""
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n"
    response = await server.request(head + b"invalid\r\n")
    assert response.problem()["code"] == "bad_request"
    assert application.requests == 1


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX-A: " + b"a" * (MAX_HEADER_BYTES + 1),
        b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * MAX_HEADER_BYTES + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"A: \r\n" * (MAX_HEADER_BYTES // 5) + b"\r\n",
        b"GET /" + b"a" * MAX_HEADER_BYTES + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    ],
)
async def test_too_large_headers_get_431_with_a_problem_document(
    server: RawServer, application: Application, head: bytes
) -> None:
    """Proves R-HTTP-6 and R-HTTP-11: the problem document states the limit, also for a head that ends in one read."""
    response = await server.request(head)
    problem = response.problem()
    assert (response.status, problem["code"]) == (431, "headers_too_large")
    assert problem["limit"] == MAX_HEADER_BYTES
    assert application.requests == 0


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (MAX_WAITING_REQUESTS, MAX_WAITING_REQUESTS),
        (MAX_WAITING_REQUESTS + 1, MAX_WAITING_REQUESTS),
        (MAX_WAITING_REQUESTS * 20, MAX_WAITING_REQUESTS),
    ],
)
async def test_request_beyond_the_limit_of_waiting_requests_ends_the_connection(
    server: RawServer, application: Application, sent: int, answered: int
) -> None:
    """The requests up to the limit are answered in their order. Proves R-HTTP-19."""
    exchange = asyncio.create_task(server.exchange(GET_SLOW + GET * (sent - 1) + LAST_GET))
    await application.arrived.wait()
    assert application.requests == 1
    application.release.set()
    responses = (await exchange).split(b"HTTP/1.1 200 OK\r\n")
    assert len(responses) == 1 + 1 + answered
    assert application.requests == 1 + answered
    assert [b"connection: close" in each for each in responses[1:]] == [False] * answered + [True]


async def test_connection_is_not_read_while_requests_wait(
    server: RawServer, application: Application
) -> None:
    """Requests that arrive later do not count, because they wait in the socket. Proves R-HTTP-19."""
    reader, writer = await server.connect()
    writer.write(GET_SLOW + GET * 2)
    await application.arrived.wait()
    writer.write(GET * MAX_WAITING_REQUESTS + LAST_GET)
    await writer.drain()
    await server.exchange(LAST_GET)
    application.release.set()
    received = await reader.read()
    assert received.count(b"HTTP/1.1 200 OK") == 3 + MAX_WAITING_REQUESTS + 1
    writer.close()


async def test_body_of_a_waiting_request_is_read_after_the_earlier_response(
    server: RawServer, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time limit for the rest of a body begins with the response to its own request. Proves R-HTTP-19."""
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0)
    reader, writer = await server.connect()
    writer.write(GET_SLOW + b"POST / HTTP/1.1\r\nContent-Length: 1\r\n" + HOST + CLOSE + b"\r\n")
    await application.arrived.wait()
    application.release.set()
    await reader.readuntil(b"\r\n\r\nhost")
    await server.exchange(LAST_GET)
    writer.write(b"x")
    assert parse_response(await reader.read()).status == 200
    writer.close()


async def test_time_for_a_head_does_not_pass_while_the_connection_is_not_read(
    server: RawServer, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of a head behind a waiting request does not end the earlier requests. Proves R-HTTP-19."""
    reader, writer = await server.connect()
    writer.write(GET)
    await reader.readuntil(b"\r\n\r\nhost")
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0)
    writer.write(GET_SLOW + GET + b"GET / HT")
    await application.arrived.wait()
    application.release.set()
    assert (await reader.read()).count(b"HTTP/1.1 200 OK") == 2
    writer.close()
