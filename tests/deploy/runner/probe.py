"""The probes of a container, run as the kubelet runs them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from tests.deploy.objects import Object

Execute = Callable[[list[str]], Awaitable[int]]
"""A function that runs a command in the container, and returns its exit status."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe: its test, its times in seconds, and its thresholds in numbers of tests."""

    test: Callable[[], Awaitable[bool]]
    period: float
    timeout: float
    failure_threshold: int
    success_threshold: int
    initial_delay: float

    @classmethod
    def of(cls, spec: Object, address: str, ports: Mapping[str, int], execute: Execute) -> Self:
        """Return the probe of a specification, with Kubernetes' defaults. `ports` maps names to ports."""

        async def test() -> bool:
            if "exec" in spec:
                return await execute(spec["exec"]["command"]) == 0
            action: dict[str, Any] = spec["httpGet"]
            port = action["port"]
            return await _answers(address, ports.get(port, port), action["path"])

        return cls(
            test,
            period=spec.get("periodSeconds", 10),
            timeout=spec.get("timeoutSeconds", 1),
            failure_threshold=spec.get("failureThreshold", 3),
            success_threshold=spec.get("successThreshold", 1),
            initial_delay=spec.get("initialDelaySeconds", 0),
        )

    async def run(self, report: Callable[[bool], None]) -> None:
        """Probe until cancelled, and report the results.

        Report success after a probe when the last `success_threshold` probes have succeeded, and failure when the last
        `failure_threshold` probes have failed.
        """
        successes = failures = 0
        await asyncio.sleep(self.initial_delay)
        while True:
            if await self._once():
                successes, failures = successes + 1, 0
                if successes >= self.success_threshold:
                    report(True)
            else:
                successes, failures = 0, failures + 1
                if failures >= self.failure_threshold:
                    report(False)
            # The sleep is the probe's period, not a wait for an event.
            await asyncio.sleep(self.period)

    async def _once(self) -> bool:
        try:
            async with asyncio.timeout(self.timeout):
                return await self.test()
        except (OSError, TimeoutError):
            return False


async def _answers(address: str, port: int, path: str) -> bool:
    """Return whether a GET request gets a status of 200 to 399."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        request = f"GET {path} HTTP/1.1\r\nHost: {address}:{port}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        status = (await reader.readline()).split(b" ")
        return len(status) > 1 and status[1].isdigit() and 200 <= int(status[1]) < 400
    finally:
        writer.close()
