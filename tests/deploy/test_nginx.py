"""Debian's nginx with the shipped configuration, in front of a gateway."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest

from svgx_devstack import DevStack
from tests.deploy.nginx import exchange, run_nginx
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver
from tests.polling import pause


@pytest.fixture(scope="module")
async def nginx(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Run nginx in front of the stack's gateway, and return nginx's address."""
    folder = tmp_path_factory.mktemp("nginx")
    async with run_nginx(folder, urlsplit(stack.url).netloc) as url:
        yield url
    # Proves R-SHIP-5: the logs have no token, although the tests sent tokens in the URLs of WebSockets.
    log = (folder / "access.log").read_text(encoding="utf-8")
    assert "/runtime/events" in log
    assert "token=" not in log + (folder / "error.log").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
async def mirror(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Run nginx in front of a server that returns the head of each request, and return nginx's address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = str(len(head)).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: " + size + b"\r\n\r\n" + head)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with run_nginx(tmp_path_factory.mktemp("mirror"), f"127.0.0.1:{port}") as url:
        yield url
    server.close()


def statuses(answers: str) -> Counter[int]:
    """Return how often each status is in the answers."""
    return Counter(int(each) for each in re.findall(r"^HTTP/1\.1 (\d+) ", answers, re.MULTILINE))


@pytest.fixture
async def workspace(nginx: str, stack: DevStack, driver: YjsDriver) -> AsyncIterator[Workspace]:
    """Open a workspace that reaches the gateway through nginx."""
    websockets = nginx.replace("http", "ws", 1)
    async with open_workspace(stack, driver, url=nginx, websocket_base=websockets) as workspace:
        yield workspace
        await workspace.destroy_all()


async def test_yjs_clients_draw_together_through_nginx(workspace: Workspace) -> None:
    """WebSockets and HTTP requests share one address. Proves R-SHIP-5."""
    canvas = await workspace.create_canvas("Proxied")
    first, second = await workspace.connect_many(canvas, 2)
    await first.add_element("through-nginx")
    await workspace.driver.wait_for_elements([second], "through-nginx")
    await workspace.driver.wait_saved([first])
    assert b"<rect/>" in await workspace.owner.export(canvas, "svg")


@pytest.mark.parametrize(
    "path",
    [
        *("/metrics", "/metrics/", "/metrics/prometheus", "//metrics/prometheus"),
        *("/metrics?x=1", "/./metrics", "/health/../metrics/prometheus", "/%6detrics/prometheus"),
        *("/metrics%2Fprometheus", "/METRICS/prometheus", "/health/%2e%2e/metrics"),
    ],
)
async def test_metrics_are_not_reachable_through_nginx(nginx: str, path: str) -> None:
    """Prometheus scrapes the gateways directly. Proves R-SHIP-5."""
    answer = await exchange(nginx, f"GET {path} HTTP/1.1")
    assert statuses(answer) == {404: 1}
    assert "svgx_engine_" not in answer


@pytest.mark.parametrize(
    ("path", "burst", "rate"), [("/health/live", 20, 10), ("/runtime/events/x", 50, 100)]
)
async def test_requests_beyond_the_limit_of_nginx_get_429(
    mirror: str, path: str, burst: int, rate: int
) -> None:
    """nginx admits a burst of requests from an address, and a larger burst for WebSockets. Proves R-SHIP-5."""
    began = time.monotonic()
    answers = await asyncio.gather(
        *(exchange(mirror, *[f"GET {path} HTTP/1.1"] * 400) for _ in range(3))
    )
    elapsed = time.monotonic() - began
    found = statuses("".join(answers))
    assert found.keys() == {200, 429}
    # nginx admits more requests between the first and the last request: `rate` each second.
    assert burst <= found[200] <= burst + 2 + rate * elapsed


async def test_later_request_succeeds_after_refused_ones(mirror: str) -> None:
    """nginx refuses only the requests beyond a limit, and does not block the client. Proves R-SHIP-5."""
    async with httpx.AsyncClient(base_url=mirror, timeout=60) as http, asyncio.timeout(30):
        while (await http.get("/health/live")).status_code != 200:
            await pause()


@pytest.mark.parametrize("upgrade", [False, True])
async def test_gateways_get_the_address_and_the_protocol_that_nginx_sees(
    mirror: str, upgrade: bool
) -> None:
    """nginx replaces a client's headers for address and protocol, because the gateways trust nginx. Proves R-SHIP-5."""
    claims = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 192.0.2.1"
    if upgrade:
        claims += "\r\nUpgrade: websocket"
    answer = await exchange(mirror, f"GET /runtime/events/y HTTP/1.1\r\n{claims}")
    _, _, head = answer.partition("\r\n\r\n")
    lines = [line.partition(": ") for line in head.lower().splitlines()[1:] if line]
    found = {name: value for name, _, value in lines}
    assert len(found) == len(lines)
    assert found["x-forwarded-for"] == found["x-real-ip"] == "127.0.0.1"
    assert found["x-forwarded-proto"] == "http"
    assert found["host"] == urlsplit(mirror).netloc
    assert found.get("upgrade") == ("websocket" if upgrade else None)
    # Without a WebSocket, the connection to the gateway stays open for the next request.
    assert found.get("connection") == ("upgrade" if upgrade else None)


async def test_body_beyond_the_limit_of_nginx_is_refused_before_it_is_sent(mirror: str) -> None:
    """The limit of nginx is higher than the gateway's, so the gateway refuses most large bodies. Proves R-SHIP-5."""
    length = f"Content-Length: {32 * 2**20 + 1}"
    answer = await exchange(mirror, f"PUT /runtime/canvases/x/svg HTTP/1.1\r\n{length}")
    assert statuses(answer) == {413: 1}


async def test_answers_have_the_gateways_headers_and_no_version_of_nginx(nginx: str) -> None:
    """Proves R-SHIP-5: nginx removes no header of the gateway, and does not show nginx's version."""
    async with httpx.AsyncClient(base_url=nginx, timeout=60) as http, asyncio.timeout(30):
        while (response := await http.get("/health/")).status_code == 429:
            await pause()
    assert response.headers["server"] == "nginx"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-type"].startswith("application/json")
