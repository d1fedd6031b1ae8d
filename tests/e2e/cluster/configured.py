"""A stack with one configuration file for all services, and with a file of signing keys."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from svgx_devstack import DevStack

CONFIGURATION = """
security:
  rate_limit_requests_per_minute: 7777
monitoring:
  prometheus_enabled: false
  health_check_interval: 1
gateway:
  hsts_seconds: 60
  trusted_proxies: 127.0.0.1
auth:
  jwt_keys_file: {key_file}
"""


@asynccontextmanager
async def start_configured_stack(home: Path, key_file: Path) -> AsyncIterator[DevStack]:
    """Run a stack with `CONFIGURATION` and a first signing key until the end of the block."""
    await rotate_keys(key_file, "Ed25519")
    file = key_file.with_name("config.yaml")
    file.write_text(CONFIGURATION.format(key_file=key_file))
    async with DevStack(home, settings={"SVGX_CONFIG": str(file)}) as stack:
        yield stack


async def rotate_keys(path: Path, algorithm: str) -> None:
    """Add a key to the key file with the command of the auth service, and make it the signing key at once."""
    command = ["-m", "svgx_auth", "rotate-keys", "--file", str(path), "--lead", "0"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, "--algorithm", algorithm, stdout=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0
