"""`slow_service` as a process: its log lines as they come, and its end."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


class ServiceProcess:
    """A running service. `lines` are those of its log so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.lines: list[str] = []
        self._process = process

    async def logged(self, event: str) -> dict[str, Any]:
        """The first log line from now on that has this event."""
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.lines.append(line.decode())
            if line.startswith(b"{"):
                content: dict[str, Any] = json.loads(line)
                if content["event"] == event:
                    return content
        raise AssertionError(f"it ended without {event!r}: {''.join(self.lines)}")

    def tell_to_stop(self) -> None:
        """SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """The exit status, when it has ended."""
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.lines.append(line.decode())
        return await self._process.wait()


@asynccontextmanager
async def running(**settings: str) -> AsyncIterator[ServiceProcess]:
    """The service with these settings in its environment; killed at the end, when it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.common.slow_service"),
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
