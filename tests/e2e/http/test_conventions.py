"""Conventions of all responses: problem documents, headers, compression, idempotency, slow and endless requests."""

import asyncio
import contextlib
import gzip
import json
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from svgx_common.http import protocol as http1
from svgx_devstack import DevStack, ports
from svgx_gateway.http import compression
from tests.deploy.debian import program
from tests.e2e.clients.api import CANVASES, SVG_TYPE
from tests.e2e.clients.close_code import wait_close_code
from tests.e2e.clients.problems import check_problem
from tests.e2e.clients.workspace import Workspace
from tests.e2e.cluster.extra_gateway import ExtraGateway, extra_gateway
from tests.unit.common.http.raw_server import RawResponse, parse_response

HEALTH_CHECK = Path(__file__).parents[3] / "deploy" / "scripts" / "health_check.sh"


async def test_unknown_paths_and_methods_get_problem_documents(workspace: Workspace) -> None:
    """The response to a refused method lists the allowed methods in `Allow`. Proves R-HTTP-6."""
    check_problem(await workspace.owner.request("GET", "/nowhere"), 404, "not_found")
    response = await workspace.owner.request("PUT", CANVASES)
    check_problem(response, 405, "method_not_allowed")
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
    response = await workspace.owner.request("POST", "/health/summary")
    check_problem(response, 405, "method_not_allowed")


@pytest.mark.parametrize(
    "path",
    [
        "/metrics%2Fprometheus",
        "/metrics%2fprometheus",
        "/%6Detrics/prometheus",
        "/metrics/%70rometheus",
        "//metrics/prometheus",
        "/metrics;/prometheus",
        "/health%2Flive",
        "/health%2Fsummary",
        "/docs%2Fstart.js",
        "/openapi%2Ejson",
        "/auth%2Fme",
        "/auth%2Flogin",
        "/runtime%2Fcanvases",
        "/runtime/canvases%2FCANVAS",
        "/runtime%2Fcanvases/CANVAS",
        "/runtime/canvases/CANVAS%2Fexport",
        "/admin%2Fusers",
        "/security%2Frate-limits%2Fconfig",
        "/runtime%2Fevents/CANVAS",
    ],
)
async def test_path_in_another_spelling_is_another_path(
    workspace: Workspace, canvas: str, path: str
) -> None:
    """A path in another spelling cannot bypass a proxy's rule for `/metrics` or `/admin`. Proves R-HTTP-1."""
    sent = path.replace("CANVAS", canvas).encode()
    token = await workspace.admin.access_token()
    address = urlsplit(workspace.stack.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %s\r\n\r\n"
        % (sent, token.encode())
    )
    response = parse_response(await asyncio.wait_for(reader.read(), timeout=10))
    writer.close()
    # A canvas id with a slash is malformed.
    assert response.status in (404, 422)
    assert response.problem()["code"] == ("not_found" if response.status == 404 else "invalid")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 404),
        ("/nowhere", 404),
        ("/auth/me", 404),
        ("/health/live", 404),
        ("/metrics/prometheus", 404),
        ("/runtime/events/a/b", 404),
        ("/runtime/events//", 404),
        ("/runtime/events/a//", 404),
        ("/runtime%2Fevents/a", 404),
        ("/runtime/events%2Fa", 404),
        ("/runtime/%65vents/a", 404),
        ("/runtime/events", 101),
        ("/runtime/events/", 101),
        ("/runtime/events/a", 101),
        ("/runtime/events/a/", 101),
    ],
)
async def test_unknown_websocket_path_gets_404_before_the_upgrade(
    stack: DevStack, path: str, status: int
) -> None:
    """A known path is served with and without its trailing slash. Proves R-HTTP-1 and R-HTTP-6."""
    response = await raw_handshake(stack, path, {})
    assert response.status == status
    if status == 404:
        assert response.problem()["code"] == "not_found"
        assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"Host": None}, 400, "bad_request"),
        ({"Host": "a\r\nHost: b"}, 400, "bad_request"),
        ({"Host": "a b"}, 400, "bad_request"),
        ({"Host": ""}, 400, "bad_request"),
        ({"Sec-WebSocket-Key": None}, 400, "bad_request"),
        ({"Sec-WebSocket-Key": "short"}, 400, "bad_request"),
        ({"Sec-WebSocket-Key": "a\r\nSec-WebSocket-Key: b"}, 400, "bad_request"),
        ({"Sec-WebSocket-Version": None}, 400, "bad_request"),
        ({"Sec-WebSocket-Version": "8"}, 400, "bad_request"),
        ({"Upgrade": "h2c\r\nUpgrade: websocket"}, 400, "bad_request"),
        ({"Content-Length": "1"}, 400, "bad_request"),
        ({"Transfer-Encoding": "chunked"}, 400, "bad_request"),
        ({"Transfer-Encoding": "gzip, chunked"}, 501, "unsupported_coding"),
        ({"X-Long": "x" * 20_000}, 431, "headers_too_large"),
        ({f"X-{number}": "x" for number in range(130)}, 431, "headers_too_large"),
        # These are ordinary requests for a path without an operation.
        ({"Upgrade": None}, 404, "not_found"),
        ({"Connection": "close"}, 404, "not_found"),
        ({"Upgrade": "h2c", "Connection": "Upgrade, close"}, 404, "not_found"),
    ],
)
async def test_every_refused_handshake_gets_a_problem_document(
    stack: DevStack, changed: dict[str, str | None], status: int, code: str
) -> None:
    """The response has the status, the code of the fault and a trace id.

    Proves R-HTTP-6, R-HTTP-11, R-HTTP-14 and R-OBS-7.
    """
    response = await raw_handshake(stack, "/runtime/events/a", changed)
    assert response.status == status
    assert response.problem()["code"] == code
    assert response.trace_id()


async def test_handshake_by_http_1_0_or_another_method_is_refused(stack: DevStack) -> None:
    """HTTP/1.0 has no upgrade, so the gateway treats the handshake as an ordinary request.

    Proves R-HTTP-6 and R-HTTP-14.
    """
    old = await raw_handshake(stack, "/runtime/events/a", {"Host": None}, version="1.0")
    assert (old.status, old.problem()["code"]) == (404, "not_found")
    posted = await raw_handshake(stack, "/runtime/events/a", {}, method="POST")
    assert (posted.status, posted.headers["allow"]) == (405, "get")
    assert posted.problem()["code"] == "method_not_allowed"


async def raw_handshake(
    stack: DevStack,
    path: str,
    changed: Mapping[str, str | None],
    *,
    method: str = "GET",
    version: str = "1.1",
) -> RawResponse:
    """Send a handshake with changed headers, and return the response. A header with the value None is not sent."""
    address = urlsplit(stack.url)
    headers: dict[str, str | None] = {
        "Host": address.netloc,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version": "13",
        **changed,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(f"{method} {path} HTTP/{version}\r\n{lines}\r\n".encode())
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            length = parse_response(head).headers.get("content-length", "0")
            return parse_response(head + await reader.readexactly(int(length)))
    finally:
        writer.close()


async def test_request_to_a_stopped_service_gets_503_with_retry_after(workspace: Workspace) -> None:
    """The request fails at once, because no service answers it. Proves R-HTTP-6 and R-BUS-8."""
    auth = workspace.stack.process("auth")
    await workspace.owner.access_token()
    auth.restart = False
    auth.kill()
    await auth.wait_dead()
    try:
        started = asyncio.get_running_loop().time()
        response = await workspace.owner.request("GET", "/auth/me")
        assert asyncio.get_running_loop().time() - started < 8  # the operation's limit is 10 s
        check_problem(response, 503, "unavailable")
        assert int(response.headers["retry-after"]) >= 1
    finally:
        auth.restart = True
        await auth.start()
        await auth.wait_ready()


async def test_every_response_has_the_security_headers(workspace: Workspace) -> None:
    """Successful responses, errors and unknown paths have the same headers. Proves R-HTTP-7."""
    for method, path in (("GET", "/auth/me"), ("POST", CANVASES), ("GET", "/nowhere")):
        response = await workspace.owner.request(method, path)
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cache-control"] == "no-store"
        policy = response.headers["content-security-policy"]
        assert policy == "default-src 'none'; frame-ancestors 'none'"
        assert "strict-transport-security" not in response.headers


def svg_with_rectangles(rectangles: int) -> bytes:
    """Return an SVG file with this many rectangles. Each rectangle has 124 bytes."""
    shapes = "".join(f'<rect id="{n:090}" width="1" height="1"/>' for n in range(rectangles))
    return f'<svg xmlns="http://www.w3.org/2000/svg">{shapes}</svg>'.encode()


async def test_compressible_responses_are_compressed_for_clients_that_accept_gzip(
    workspace: Workspace, canvas: str
) -> None:
    """PNG and Yjs exports are never compressed. Proves R-HTTP-8."""
    plain = {"Accept-Encoding": "identity"}
    path = f"{CANVASES}{canvas}/export"
    for rectangles in (100, 1_500):
        await workspace.owner.import_svg(canvas, svg_with_rectangles(rectangles))
        uncompressed = await workspace.owner.request("GET", path, headers=plain)
        assert "content-encoding" not in uncompressed.headers
        compressed = await workspace.owner.request("GET", path, headers={"Accept-Encoding": "gzip"})
        assert compressed.headers["content-encoding"] == "gzip"
        assert compressed.content == uncompressed.content
        assert (len(uncompressed.content) > compression.LARGE_BYTES) == (rectangles == 1_500)
        assert int(compressed.headers["content-length"]) < len(uncompressed.content) / 3
        assert "accept-encoding" in compressed.headers["vary"].lower()
        no_gzip = {"Accept-Encoding": "gzip;q=0, identity"}
        response = await workspace.owner.request("GET", path, headers=no_gzip)
        assert "content-encoding" not in response.headers
    for kind in ("png", "yjs"):
        response = await workspace.owner.request("GET", f"{path}?format={kind}")
        assert "content-encoding" not in response.headers


async def test_repeated_post_with_the_same_key_runs_once(workspace: Workspace) -> None:
    """The second request gets the stored response of the first request. Proves R-HTTP-9."""
    key = {"Idempotency-Key": secrets.token_hex(16)}
    body = {"name": f"once {secrets.token_hex(4)}"}
    first = await workspace.owner.request("POST", CANVASES, json=body, headers=key)
    assert first.status_code == 201
    assert "idempotency-replayed" not in first.headers
    again = await workspace.owner.request("POST", CANVASES, json=body, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["content-type"] == "application/json"
    assert again.headers["idempotency-replayed"] == "true"
    listed = await workspace.owner.request("GET", CANVASES, params=body)
    assert len(listed.json()["items"]) == 1
    # The same key with another body is refused.
    other = await workspace.owner.request("POST", CANVASES, json={"name": "other"}, headers=key)
    assert check_problem(other, 422, "invalid")["field"] == "idempotency-key"
    # Another account may use the same key.
    other_session = workspace.api.session_of(await workspace.create_user())
    response = await other_session.request("POST", CANVASES, json={"name": "other"}, headers=key)
    assert response.status_code == 201


async def test_idempotency_keys_belong_to_one_session(workspace: Workspace) -> None:
    """Two sessions of an account log out with the same key, and both end. Proves R-HTTP-9."""
    key = {"Idempotency-Key": secrets.token_hex(16)}
    user = await workspace.create_user()
    for _ in range(2):
        session = workspace.api.session_of(user)
        response = await session.request("POST", "/auth/logout", headers=key)
        assert response.status_code == 204
        check_problem(await session.request("GET", "/auth/me"), 401, "unauthenticated")


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "é".encode("latin-1")])
async def test_invalid_idempotency_key_gets_422(workspace: Workspace, key: str | bytes) -> None:
    """The problem document names the header. Proves R-HTTP-2."""
    value = key if isinstance(key, bytes) else key.encode()
    headers = {b"Idempotency-Key": value}
    headers[b"Authorization"] = f"Bearer {await workspace.owner.access_token()}".encode()
    async with httpx.AsyncClient(base_url=workspace.stack.url, timeout=60) as http:
        response = await http.post(CANVASES, json={"name": "n"}, headers=headers)
    assert check_problem(response, 422, "invalid")["field"] == "idempotency-key"


async def test_concurrent_posts_with_the_same_key_run_once(workspace: Workspace) -> None:
    """Of twenty equal requests, one runs. The others get the same response, or status 409. Proves R-HTTP-9."""
    key = {"Idempotency-Key": secrets.token_hex(16)}
    body = {"name": f"at once {secrets.token_hex(4)}"}
    post = workspace.owner.request
    await workspace.owner.access_token()
    responses = await asyncio.gather(
        *(post("POST", CANVASES, json=body, headers=key) for _ in range(20))
    )
    assert {response.status_code for response in responses} <= {201, 409}
    assert len({response.text for response in responses if response.status_code == 201}) == 1
    for response in responses:
        if response.status_code == 409:
            assert check_problem(response, 409, "conflict")["field"] == "idempotency-key"
            assert response.headers["retry-after"] == "1"
    listed = await workspace.owner.request("GET", CANVASES, params=body)
    assert len(listed.json()["items"]) == 1


async def test_failed_post_may_be_repeated_with_the_same_key(workspace: Workspace) -> None:
    """A response with status 503 is not stored for the key. Proves R-HTTP-9."""
    key = {"Idempotency-Key": secrets.token_hex(16)}
    await workspace.owner.access_token()
    state = workspace.stack.process("state")
    state.restart = False
    state.kill()
    await state.wait_dead()
    try:
        response = await workspace.owner.request("POST", CANVASES, json={"name": "n"}, headers=key)
        check_problem(response, 503, "unavailable")
    finally:
        state.restart = True
        await state.start()
        await state.wait_ready()
    response = await workspace.owner.request("POST", CANVASES, json={"name": "n"}, headers=key)
    assert response.status_code == 201


async def test_refused_post_is_checked_again_with_the_same_key(workspace: Workspace) -> None:
    """A refusal is not stored for the key, so a client gets the true reason each time. Proves R-HTTP-9.

    The response of an executed request is secret here, so its repetition gets 409.
    """
    key = {"Idempotency-Key": secrets.token_hex(16)}
    body = {"name": "n", "role": "admin"}
    for _ in range(2):
        response = await workspace.owner.request("POST", "/auth/api-keys", json=body, headers=key)
        assert check_problem(response, 403, "forbidden")["field"] == "role"
    body = {"name": "n"}
    created = await workspace.owner.request("POST", "/auth/api-keys", json=body, headers=key)
    assert created.status_code == 201
    repeated = await workspace.owner.request("POST", "/auth/api-keys", json=body, headers=key)
    assert "sent only once" in check_problem(repeated, 409, "conflict")["detail"]


@pytest.fixture(scope="module")
def metrics_port() -> int:
    """Return the metrics port of `studio_gateway`."""
    return ports.choose()


@pytest.fixture(scope="module")
async def studio_gateway(stack: DevStack, metrics_port: int) -> AsyncIterator[ExtraGateway]:
    """Start a gateway with one allowed origin and a separate metrics port."""
    settings = {"CORS_ORIGINS": "https://studio.example", "METRICS_PORT": str(metrics_port)}
    async with extra_gateway(stack, settings) as gateway:
        yield gateway


async def test_websocket_handshake_from_another_origin_gets_403(
    studio_gateway: ExtraGateway, stack: DevStack
) -> None:
    """The gateway accepts listed origins and its own origin. With `*`, it accepts every origin. Proves R-HTTP-10."""
    url = f"{studio_gateway.websocket_url}/runtime/events/x"
    for origin in ("https://evil.example", "null", "http://studio.example", "https://[", ""):
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, additional_headers={"Origin": origin})
        assert refused.value.response.status_code == 403
        problem = json.loads(refused.value.response.body or b"")
        assert (problem["code"], problem["field"]) == ("forbidden", "origin")
        assert refused.value.response.headers["cache-control"] == "no-store"
    allowed = [{"Origin": each} for each in ("https://STUDIO.example", studio_gateway.url)]
    for headers in ({}, *allowed):
        async with connect(url, additional_headers=headers) as socket:
            assert await wait_close_code(socket) == 4401
    url = f"{stack.url.replace('http', 'ws', 1)}/runtime/events/x"
    async with connect(url, additional_headers={"Origin": "https://any.example"}) as socket:
        assert await wait_close_code(socket) == 4401


async def test_response_over_tls_has_strict_transport_security(stack: DevStack) -> None:
    """The gateway takes the protocol from the `X-Forwarded-Proto` header of the trusted proxy. Proves R-HTTP-7."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=60) as http:
        response = await http.get("/auth/me", headers={"X-Forwarded-Proto": "https"})
    assert response.headers["strict-transport-security"] == "max-age=31536000"


async def test_metrics_port_serves_the_metrics_without_a_rate_limit(
    studio_gateway: ExtraGateway, metrics_port: int
) -> None:
    """With `METRICS_PORT`, the API port neither serves nor describes the metrics. Proves R-LIMIT-15."""
    async with httpx.AsyncClient(timeout=60) as http:
        url = f"http://127.0.0.1:{metrics_port}"
        for path in ["/metrics", "/metrics/prometheus"] * 100:
            response = await http.get(url + path)
            assert response.status_code == 200
            assert "x-ratelimit-limit" not in response.headers  # each counted response has it
        described = (await http.get(f"{studio_gateway.url}/openapi.json")).json()["paths"]
        assert not any(path.startswith("/metrics") for path in described)
        for path in ("/metrics", "/metrics/prometheus"):
            check_problem(await http.get(studio_gateway.url + path), 404, "not_found")
        for path in ("/health/live", "/auth/me"):
            check_problem(await http.get(url + path), 404, "not_found")


async def test_health_check_reads_the_metrics_at_their_own_address(
    studio_gateway: ExtraGateway, metrics_port: int
) -> None:
    """The script fails if it looks for the metrics on the API port. Proves R-LIMIT-15."""
    program("curl", "curl")
    addresses = {
        "SVGX_URL": studio_gateway.url,
        "SVGX_METRICS_URL": f"http://127.0.0.1:{metrics_port}",
    }
    assert await health_check(addresses) == (0, "Health checks passed\n")
    del addresses["SVGX_METRICS_URL"]
    assert await health_check(addresses) == (1, "")


async def health_check(variables: Mapping[str, str]) -> tuple[int, str]:
    """Run `health_check.sh` with these variables. Return its exit status and output."""
    process = await asyncio.create_subprocess_exec(
        *("bash", str(HEALTH_CHECK)),
        env={"PATH": os.environ["PATH"], **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_endless_headers_get_431(stack: DevStack) -> None:
    """Endless headers are refused before they use much memory. Proves R-HTTP-11."""
    address = urlsplit(stack.url)
    for endless in (b"X-A: " + b"a" * 1000, b"X-A: b\r\n" * 100):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(b"GET /auth/me HTTP/1.1\r\nHost: x\r\n")
        sent = 0
        try:
            while sent < 64 * 1024 * 1024:
                writer.write(endless)
                await writer.drain()
                sent += len(endless)
        except ConnectionError:
            pass
        assert sent < 16 * 1024 * 1024  # upper bound of the bytes in socket buffers
        try:
            assert b" 431 " in await reader.readline()
        except ConnectionError:
            pass  # the response is lost, because the server closed the socket with unread bytes
        writer.close()


async def test_endless_trailers_close_the_connection(stack: DevStack) -> None:
    """The gateway stops reading, and closes the connection. Proves R-HTTP-11."""
    address = urlsplit(stack.url)
    for endless in (b"a: b\r\n" * 1000, b"a" * 4000):
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(
            b"POST /runtime/canvases/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1\r\n{\r\n0\r\n"
        )
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 * 1024 * 1024:
                writer.write(endless)
                await writer.drain()
                sent += len(endless)
        assert sent < 16 * 1024 * 1024  # upper bound of the bytes in socket buffers
        writer.close()


async def test_unfinished_body_after_the_response_closes_the_connection(stack: DevStack) -> None:
    """The gateway closes the connection, even if the client sends more of the body. Proves R-HTTP-11."""
    address = urlsplit(stack.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"POST /runtime/canvases/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    assert b" 401 " in await reader.readline()
    writer.write(b"{")
    async with asyncio.timeout(http1.LINGER_SECONDS + 5):
        await reader.read()
    writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET /auth/me HTTP/1.1\r\nHost: x\r\n"])
async def test_slow_headers_close_the_connection(stack: DevStack, sent: bytes) -> None:
    """A client that sends nothing, or a part of the headers, is disconnected. Proves R-HTTP-11."""
    address = urlsplit(stack.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(sent)
    async with asyncio.timeout(http1.HEADER_SECONDS + 5):
        assert await reader.read() == b""
    writer.close()


async def test_large_response_is_compressed_once(workspace: Workspace, canvas: str) -> None:
    """The body of the response is the SVG file after one decompression. Proves R-HTTP-8."""
    await workspace.owner.import_svg(canvas, svg_with_rectangles(1_500))
    headers = {
        "Authorization": f"Bearer {await workspace.owner.access_token()}",
        "Accept-Encoding": "gzip",
    }
    path = f"{CANVASES}{canvas}/export"
    async with (
        httpx.AsyncClient(base_url=workspace.stack.url, timeout=60) as http,
        http.stream("GET", path, headers=headers) as response,
    ):
        raw = b"".join([chunk async for chunk in response.aiter_raw()])
    exported = gzip.decompress(raw)
    assert exported.startswith(b"<svg")
    assert len(exported) > compression.LARGE_BYTES
    assert SVG_TYPE["Content-Type"] in response.headers["content-type"]


@pytest.mark.parametrize("accepted", ["zstd", "zstd, gzip;q=0", "br, zstd"])
async def test_large_response_is_not_compressed_without_gzip(
    workspace: Workspace, canvas: str, accepted: str
) -> None:
    """Codings other than gzip run on the event loop, so only small responses get them. Proves R-HTTP-8."""
    headers = {
        "Authorization": f"Bearer {await workspace.owner.access_token()}",
        "Accept-Encoding": accepted,
    }
    path = f"{CANVASES}{canvas}/export"
    async with httpx.AsyncClient(base_url=workspace.stack.url, timeout=60) as http:
        await workspace.owner.import_svg(canvas, svg_with_rectangles(20))
        small = await http.get(path, headers=headers)
        await workspace.owner.import_svg(canvas, svg_with_rectangles(1_500))
        large = await http.get(path, headers=headers)
    assert small.headers["content-encoding"] == "zstd"
    assert len(large.content) > compression.LARGE_BYTES
    assert "content-encoding" not in large.headers
    assert "accept-encoding" in large.headers["vary"].lower()
