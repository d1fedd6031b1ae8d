"""A NATS server with a configuration of its own."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from svgx_devstack.backing import binaries, probe
from svgx_devstack.ports import HOST, choose
from tests.polling import pause


@asynccontextmanager
async def nats_server(
    folder: Path,
    configuration: str,
    variables: Mapping[str, str] | None = None,
    *,
    port: int | None = None,
) -> AsyncIterator[str]:
    """Run a server until the block ends, and yield its address.

    `variables` are environment variables of the server. The configuration can refer to them.

    Without `port` the server gets a free port.
    """
    port = port or choose()
    path = folder / f"nats-{port}.conf"
    text = f"listen: {HOST}:{port}\n{configuration}"
    await asyncio.to_thread(path.write_text, text, encoding="utf-8")
    async with run(path, port, variables or {}):
        yield f"nats://{HOST}:{port}"


@asynccontextmanager
async def run(path: Path, port: int, variables: Mapping[str, str]) -> AsyncIterator[None]:
    """Run a server with this configuration file, which names the port. The block begins when the server answers."""
    process = await asyncio.create_subprocess_exec(
        *(str(binaries.nats_server()), "--config", str(path)),
        env={**os.environ, **variables},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30):
            while not await probe.nats(port):
                await pause()
        yield
    finally:
        process.terminate()
        await process.wait()
