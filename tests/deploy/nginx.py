"""nginx of Debian with the shipped configuration."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from deploy.build.tools import ROOT
from svgx_devstack.ports import choose
from tests.deploy.debian import program
from tests.polling import pause

CONFIGURATION = ROOT / "deploy" / "nginx" / "nginx.conf"


@asynccontextmanager
async def run_nginx(folder: Path, upstream: str, *changes: tuple[str, str]) -> AsyncIterator[str]:
    """Run nginx with the shipped configuration in front of `upstream`, and yield nginx's address.

    Only ports, paths, the address of the gateway and the texts in `changes` are changed. The folder then has the logs
    `access.log` and `error.log`.
    """
    executable = program("nginx", "nginx-light")
    port = choose()
    text = CONFIGURATION.read_text(encoding="utf-8")
    for shipped, changed in (
        ("server gateway:8000 max_fails=0;", f"server {upstream} max_fails=0;"),
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("/tmp/", f"{folder}/"),
        ("access_log /dev/stdout svgx;", f"access_log {folder}/access.log svgx;"),
        *changes,
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
    with (folder / "error.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(executable, "-c", str(path), "-g", "daemon off;"), stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http, asyncio.timeout(30):
            while not await _answers(http):
                await pause()
        yield url
    finally:
        process.terminate()
        await process.wait()


async def exchange(url: str, *requests: str) -> str:
    """Send requests over one connection, with a Host header and unchanged paths, and return all answers."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    *others, last = requests
    heads = [f"{each}\r\nHost: {address.netloc}\r\n\r\n" for each in others]
    heads.append(f"{last}\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n")
    writer.write("".join(heads).encode())
    async with asyncio.timeout(60):
        answers = await reader.read()
    writer.close()
    return answers.decode()


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        # nginx answers this path without a gateway.
        return (await http.get("/metrics")).status_code == 404
    except httpx.TransportError:
        return False
