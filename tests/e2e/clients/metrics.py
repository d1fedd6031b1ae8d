"""The metrics of a stack's processes, read as Prometheus reads them."""

import asyncio
from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

from svgx_devstack import DevStack

PREFIX = "svgx_engine_"

PAUSE = 0.2
"""Seconds between two reads. A process renders its metrics at most once a second."""


class Metrics:
    """The metrics of a stack. Names are given without `PREFIX`. The values of several processes are added."""

    def __init__(self, stack: DevStack, *, timeout: float) -> None:
        self._stack = stack
        self._timeout = timeout

    async def value(self, name: str, *processes: str, **labels: str) -> float:
        """Return the sum of a metric's values that have these labels. Fail if a process has no such value."""
        total = 0.0
        for process in processes:
            async with httpx.AsyncClient(timeout=30) as http:
                url = f"{self._stack.service_url(process)}/metrics/prometheus"
                answer = await http.get(url)
            assert answer.status_code == 200, answer.text
            # Parse only the lines of this metric, because parsing the whole page takes long.
            lines = [line for line in answer.text.splitlines() if line.startswith(PREFIX + name)]
            values = [
                sample.value
                for family in text_string_to_metric_families("\n".join(lines))
                for sample in family.samples
                if sample.name == PREFIX + name and sample.labels.items() >= labels.items()
            ]
            assert values, f"{process} has no {PREFIX}{name} with {labels}"
            total += sum(values)
        return total

    async def until(
        self, name: str, accept: Callable[[float], bool], *processes: str, **labels: str
    ) -> None:
        """Read a metric again and again until its value is accepted. Fail after the time limit."""
        value = await self.value(name, *processes, **labels)
        try:
            async with asyncio.timeout(self._timeout):
                while not accept(value):
                    await asyncio.sleep(PAUSE)
                    value = await self.value(name, *processes, **labels)
        except TimeoutError:
            raise AssertionError(f"{processes}: {name} {labels} is {value}") from None
