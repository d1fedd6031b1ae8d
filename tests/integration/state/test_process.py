"""The service as a process: its start, its metrics and its end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from svgx_devstack import DevStack
from svgx_devstack.ports import choose
from tests.integration.state.drawing import Pen
from tests.integration.state.service import Client
from tests.polling import pause


@asynccontextmanager
async def state_process(
    environment: Mapping[str, str],
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `python -m svgx_state`, and kill it when the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "svgx_state"),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _wait_ready(http: httpx.AsyncClient, process: asyncio.subprocess.Process) -> None:
    while process.returncode is None:
        try:
            if (await http.get("/health/ready")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await pause()
    pytest.fail("the service ended before it was ready")


async def test_process_starts_serves_metrics_and_ends_with_status_0(
    backing: DevStack, client: Client
) -> None:
    """The process becomes ready, counts commits in its metrics, and ends with status 0 on SIGTERM.

    Proves R-STATE-19.
    """
    port = choose()
    environment = {
        "API_HOST": "127.0.0.1",
        "API_PORT": str(port),
        "NATS_URL": backing.nats_url("state"),
        "POSTGRES_URL": backing.postgres_url,
    }
    async with (
        asyncio.timeout(60),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
        state_process(environment) as process,
    ):
        await _wait_ready(http, process)
        entry = Pen(await client.create(), "holder").draw("a")
        await client.append(entry)
        await client.append(entry)
        other = Pen(await client.create(), "holder").draw("b")
        await client.append(entry, other)
        text = (await http.get("/metrics/prometheus")).text
        samples = {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if not sample.labels
        }
        assert samples["svgx_engine_journal_commits_total"] == 3
        assert samples["svgx_engine_journal_entries_total"] == 2
        assert samples["svgx_engine_journal_repeated_entries_total"] == 2
        assert samples["svgx_engine_journal_bytes_total"] == len(entry.update + other.update)
        assert samples["svgx_engine_journal_commit_seconds_count"] == 3
        assert samples["svgx_engine_snapshot_backlog"] == 0
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert process.returncode == 0


async def test_wrong_settings_are_named_and_end_the_process_with_status_2() -> None:
    """The process names each wrong setting on one line, and ends with status 2. Proves R-STATE-19."""
    async with (
        asyncio.timeout(60),
        state_process({"POSTGRES_URL": "", "WORKER_COUNT": "0"}) as process,
    ):
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert {line.split(":")[1].strip() for line in errors.decode().splitlines()} == {
        "POSTGRES_URL",
        "WORKER_COUNT",
    }
