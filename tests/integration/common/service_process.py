"""`blocking_service` as a process: its log lines as they are written, and its exit status."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


class ServiceProcess:
    """A running service. `lines` are the log lines read so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.lines: list[str] = []
        self._process = process

    async def wait_for_log(self, event: str) -> dict[str, Any]:
        """Read log lines until one has this event, and return its content. Fail if the process ends first."""
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.lines.append(line.decode())
            if line.startswith(b"{"):
                content: dict[str, Any] = json.loads(line)
                if content["event"] == event:
                    return content
        raise AssertionError(f"the process ended without {event!r}: {''.join(self.lines)}")

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    async def wait_ended(self) -> int:
        """Wait until the process has ended, and return its exit status."""
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.lines.append(line.decode())
        return await self._process.wait()


@asynccontextmanager
async def running(**settings: str) -> AsyncIterator[ServiceProcess]:
    """Run the service with these settings in its environment. Kill it at the end of the block if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.common.blocking_service"),
        env={**os.environ, "API_HOST": "127.0.0.1", "API_PORT": "0", "LOG_FORMAT": "json"}
        | settings,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield ServiceProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
