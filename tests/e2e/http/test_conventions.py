"""What holds for every answer, whatever was asked."""

import asyncio
import contextlib
import gzip
import json
import secrets
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from svgx_common.http import protocol as http1
from svgx_devstack import DevStack
from tests.e2e.clients.api import CANVASES, SVG_TYPE
from tests.e2e.clients.problems import check_problem
from tests.e2e.clients.workspace import Workspace


async def test_problems_where_no_operation_answers(workspace: Workspace) -> None:
    """Proves R-HTTP-6."""
    check_problem(await workspace.owner.request("GET", "/nowhere"), 404, "not_found")
    answer = await workspace.owner.request("PUT", CANVASES)
    check_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
    answer = await workspace.owner.request("POST", "/health/summary")
    check_problem(answer, 405, "method_not_allowed")


async def test_503_says_when_to_try_again(workspace: Workspace) -> None:
    """Proves R-HTTP-6, and R-BUS-8 through HTTP: nobody waits for a service that is not there."""
    auth = workspace.stack.process("auth")
    auth.restart = False
    auth.kill()
    await auth.wait_dead()
    try:
        began = asyncio.get_running_loop().time()
        answer = await workspace.owner.request("GET", "/auth/me")
        assert asyncio.get_running_loop().time() - began < 1
        check_problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
    finally:
        auth.restart = True
        await auth.start()
        await auth.wait_ready()


async def test_headers_of_every_answer(workspace: Workspace) -> None:
    """Proves R-HTTP-7: of answers, of errors, of what no operation answers."""
    for method, path in (("GET", "/auth/me"), ("POST", CANVASES), ("GET", "/nowhere")):
        answer = await workspace.owner.request(method, path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        policy = answer.headers["content-security-policy"]
        assert policy == "default-src 'none'; frame-ancestors 'none'"
        assert "strict-transport-security" not in answer.headers


def drawing(rectangles: int) -> bytes:
    shapes = "".join(f'<rect x="{n}" width="1" height="1"/>' for n in range(rectangles))
    return f'<svg xmlns="http://www.w3.org/2000/svg">{shapes}</svg>'.encode()


async def test_what_shrinks_is_compressed(workspace: Workspace, canvas: str) -> None:
    """Proves R-HTTP-8: small and large answers; not what is compressed already, and not for who cannot read it."""
    plain = {"Accept-Encoding": "identity"}
    path = f"{CANVASES}{canvas}/export"
    for rectangles in (100, 10_000):
        await workspace.owner.import_svg(canvas, drawing(rectangles))
        whole = await workspace.owner.request("GET", path, headers=plain)
        assert "content-encoding" not in whole.headers
        packed = await workspace.owner.request("GET", path, headers={"Accept-Encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.content == whole.content
        assert int(packed.headers["content-length"]) < len(whole.content) / 3
        assert "accept-encoding" in packed.headers["vary"].lower()
        refused = {"Accept-Encoding": "gzip;q=0, identity"}
        answer = await workspace.owner.request("GET", path, headers=refused)
        assert "content-encoding" not in answer.headers
    for kind in ("png", "yjs"):
        answer = await workspace.owner.request("GET", f"{path}?format={kind}")
        assert "content-encoding" not in answer.headers


async def test_a_repeated_post_is_done_once(workspace: Workspace) -> None:
    """Proves R-HTTP-9."""
    key = {"Idempotency-Key": secrets.token_hex(16)}
    body = {"name": f"once {secrets.token_hex(4)}"}
    first = await workspace.owner.request("POST", CANVASES, json=body, headers=key)
    assert first.status_code == 201
    assert "idempotency-replayed" not in first.headers
    again = await workspace.owner.request("POST", CANVASES, json=body, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["content-type"] == "application/json"
    assert again.headers["idempotency-replayed"] == "true"
    found = await workspace.owner.request("GET", CANVASES, params=body)
    assert len(found.json()["items"]) == 1
    # Another body, or another path: the key was used.
    other = await workspace.owner.request("POST", CANVASES, json={"name": "other"}, headers=key)
    assert check_problem(other, 422, "invalid")["field"] == "idempotency-key"
    # Somebody else's key of the same text is another one.
    theirs = workspace.api.session_of(await workspace.create_user())
    answer = await theirs.request("POST", CANVASES, json={"name": "other"}, headers=key)
    assert answer.status_code == 201


async def test_each_session_has_its_own_keys(workspace: Workspace) -> None:
    """Proves R-HTTP-9: a log-out is not done because another session's was."""
    key = {"Idempotency-Key": secrets.token_hex(16)}
    user = await workspace.create_user()
    for _ in range(2):
        session = workspace.api.session_of(user)
        answer = await session.request("POST", "/auth/logout", headers=key)
        assert answer.status_code == 204
        check_problem(await session.request("GET", "/auth/me"), 401, "unauthenticated")


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "é".encode("latin-1")])
async def test_a_wrong_key_is_named(workspace: Workspace, key: str | bytes) -> None:
    """Proves R-HTTP-2 for the header."""
    value = key if isinstance(key, bytes) else key.encode()
    headers = {b"Idempotency-Key": value}
    headers[b"Authorization"] = f"Bearer {await workspace.owner.access_token()}".encode()
    async with httpx.AsyncClient(base_url=workspace.stack.url) as http:
        answer = await http.post(CANVASES, json={"name": "n"}, headers=headers)
    assert check_problem(answer, 422, "invalid")["field"] == "idempotency-key"


async def test_at_once_it_is_done_once(workspace: Workspace) -> None:
    """Proves R-HTTP-9: of twenty at once one is done, the others are told to wait or get its answer."""
    key = {"Idempotency-Key": secrets.token_hex(16)}
    body = {"name": f"at once {secrets.token_hex(4)}"}
    post = workspace.owner.request
    await workspace.owner.access_token()
    answers = await asyncio.gather(
        *(post("POST", CANVASES, json=body, headers=key) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.text for answer in answers if answer.status_code == 201}) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert check_problem(answer, 409, "conflict")["field"] == "idempotency-key"
            assert answer.headers["retry-after"] == "1"
    found = await workspace.owner.request("GET", CANVASES, params=body)
    assert len(found.json()["items"]) == 1


async def test_a_failure_may_be_repeated(workspace: Workspace) -> None:
    """Proves R-HTTP-9: what failed on our side is not remembered as the answer."""
    key = {"Idempotency-Key": secrets.token_hex(16)}
    await workspace.owner.access_token()
    state = workspace.stack.process("state")
    state.restart = False
    state.kill()
    await state.wait_dead()
    try:
        answer = await workspace.owner.request("POST", CANVASES, json={"name": "n"}, headers=key)
        check_problem(answer, 503, "unavailable")
    finally:
        state.restart = True
        await state.start()
        await state.wait_ready()
    answer = await workspace.owner.request("POST", CANVASES, json={"name": "n"}, headers=key)
    assert answer.status_code == 201


async def test_pages_of_other_origins_get_no_websocket(
    tmp_path_factory: pytest.TempPathFactory, stack: DevStack
) -> None:
    """Proves R-HTTP-10; with `*` anybody may."""
    settings = {"CORS_ORIGINS": "https://studio.example", "TRUSTED_PROXIES": "127.0.0.1"}
    async with DevStack(tmp_path_factory.mktemp("origins"), settings=settings) as own:
        url = f"{own.url.replace('http', 'ws', 1)}/runtime/events/x"
        for origin in ("https://evil.example", "null", "http://studio.example", "https://[", ""):
            with pytest.raises(InvalidStatus) as refused:
                await connect(url, additional_headers={"Origin": origin})
            assert refused.value.response.status_code == 403
            problem = json.loads(refused.value.response.body or b"")
            assert (problem["code"], problem["field"]) == ("forbidden", "origin")
        admitted = [{"Origin": each} for each in ("https://STUDIO.example", own.url)]
        for headers in ({}, *admitted):
            async with connect(url, additional_headers=headers) as socket:
                await socket.wait_closed()
                assert socket.close_code == 4401
        async with httpx.AsyncClient(base_url=own.url) as http:
            tls = {"X-Forwarded-Proto": "https"}
            answer = await http.get("/auth/me", headers=tls)
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
    url = f"{stack.url.replace('http', 'ws', 1)}/runtime/events/x"
    async with connect(url, additional_headers={"Origin": "https://any.example"}) as socket:
        await socket.wait_closed()
        assert socket.close_code == 4401


async def test_headers_without_end(stack: DevStack) -> None:
    """Proves R-HTTP-11: refused with 431 long before they fill the memory."""
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
        assert sent < 16 * 1024 * 1024  # what the sockets' buffers take, at most
        try:
            assert b" 431 " in await reader.readline()
        except ConnectionError:
            pass  # the rest of what was sent met a closed socket
        writer.close()


async def test_trailers_without_end(stack: DevStack) -> None:
    """Proves R-HTTP-11: nobody reads them, so nobody keeps them."""
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
        assert sent < 16 * 1024 * 1024  # what the sockets' buffers take, at most
        writer.close()


async def test_a_body_that_goes_on_after_its_answer(stack: DevStack) -> None:
    """Proves R-HTTP-11: whoever sends a byte now and then holds no connection."""
    address = urlsplit(stack.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"POST /runtime/canvases/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    assert b" 401 " in await reader.readline()
    writer.write(b"{")
    async with asyncio.timeout(http1.LINGER_SECONDS + 5):
        await reader.read()
    writer.close()


@pytest.mark.parametrize("said", [b"", b"GET /auth/me HTTP/1.1\r\nHost: x\r\n"])
async def test_headers_that_take_too_long(stack: DevStack, said: bytes) -> None:
    """Proves R-HTTP-11: whoever connects and says nothing, or half of it, is cut off."""
    address = urlsplit(stack.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(said)
    async with asyncio.timeout(http1.HEADER_SECONDS + 5):
        assert await reader.read() == b""
    writer.close()


async def test_compressed_once(workspace: Workspace, canvas: str) -> None:
    """Proves R-HTTP-8: what comes out of the thread is not compressed again."""
    await workspace.owner.import_svg(canvas, drawing(10_000))
    headers = {
        "Authorization": f"Bearer {await workspace.owner.access_token()}",
        "Accept-Encoding": "gzip",
    }
    path = f"{CANVASES}{canvas}/export"
    async with (
        httpx.AsyncClient(base_url=workspace.stack.url) as http,
        http.stream("GET", path, headers=headers) as answer,
    ):
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert gzip.decompress(raw).startswith(b"<svg")
    assert SVG_TYPE["Content-Type"] in answer.headers["content-type"]
