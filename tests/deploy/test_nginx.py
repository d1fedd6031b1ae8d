"""nginx of Debian with the shipped configuration, in front of a gateway."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest

from deploy.build.tools import ROOT
from svgx_devstack import DevStack
from svgx_devstack.ports import choose
from tests.deploy.debian import program
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver
from tests.polling import pause

CONFIGURATION = ROOT / "deploy" / "nginx" / "nginx.conf"


@pytest.fixture(scope="module")
async def nginx(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Start nginx with the shipped configuration, and return its address.

    Only ports, paths and the address of the gateway are changed.
    """
    executable = program("nginx", "nginx-light")
    folder = tmp_path_factory.mktemp("nginx")
    port = choose()
    text = CONFIGURATION.read_text(encoding="utf-8")
    for shipped, changed in (
        ("server gateway:8000 max_fails=0;", f"server {urlsplit(stack.url).netloc} max_fails=0;"),
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("/tmp/", f"{folder}/"),
        ("access_log /dev/stdout svgx;", f"access_log {folder}/access.log svgx;"),
    ):
        assert shipped in text
        text = text.replace(shipped, changed)
    path = folder / "nginx.conf"
    path.write_text(text, encoding="utf-8")
    check = await asyncio.create_subprocess_exec(
        *(executable, "-t", "-c", str(path)), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await check.communicate()
    assert check.returncode == 0, errors.decode()
    process = await asyncio.create_subprocess_exec(executable, "-c", str(path), "-g", "daemon off;")
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http, asyncio.timeout(30):
            while not await _answers(http):
                await pause()
        yield url
        assert "token=" not in (folder / "access.log").read_text(encoding="utf-8")
    finally:
        process.terminate()
        await process.wait()


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/health/live")).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
async def workspace(nginx: str, stack: DevStack, driver: YjsDriver) -> AsyncIterator[Workspace]:
    """Open a workspace that reaches the gateway through nginx."""
    websockets = nginx.replace("http", "ws", 1)
    async with open_workspace(stack, driver, url=nginx, websocket_base=websockets) as workspace:
        yield workspace
        await workspace.destroy_all()


async def test_yjs_clients_draw_together_through_nginx(workspace: Workspace) -> None:
    """WebSockets and HTTP requests share one address."""
    canvas = await workspace.create_canvas("Proxied")
    first, second = await workspace.connect_many(canvas, 2)
    await first.add_element("through-nginx")
    await workspace.driver.wait_for_elements([second], "through-nginx")
    await workspace.driver.wait_saved([first])
    assert b"<rect/>" in await workspace.owner.export(canvas, "svg")


async def test_metrics_are_not_reachable_through_nginx(nginx: str) -> None:
    """Prometheus asks the gateways themselves."""
    async with httpx.AsyncClient(base_url=nginx, timeout=60) as http:
        for path in ("/metrics", "/metrics/", "/metrics/prometheus", "//metrics/prometheus"):
            assert (await http.get(f"{nginx}{path}")).status_code == 404, path


async def test_requests_beyond_the_limit_of_nginx_get_429(nginx: str) -> None:
    """nginx admits 10 requests a second of an address, and 20 more at once."""
    async with httpx.AsyncClient(base_url=nginx, timeout=60) as http:
        responses = await asyncio.gather(*(http.get("/health/live") for _ in range(60)))
    statuses = [response.status_code for response in responses]
    assert statuses.count(429) > 0
    assert statuses.count(200) >= 20
