"""An on-call engineer's drill: parts that do not work, the messages about them, and the recovery.

The stack has two replicas of auth and of state. A group of editors draws during each drill except that of Redis; all
edits must be saved afterwards, without a reconnect.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from svgx_devstack import DevStack
from tests.e2e.clients.editor_group import editing
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver
from tests.limits import HIGH_LIMITS
from tests.polling import pause

pytestmark = pytest.mark.timeout(240)

SETTINGS = {**HIGH_LIMITS, "HEALTH_CHECK_INTERVAL": "1"}
WITH_DATABASE = ("auth", "auth-2", "state", "state-2")
RECOVERY = 30.0
"""Seconds within which everything works again. The gateway forgets a silent replica much later, after 600 s."""


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevStack]:
    """Start a stack of its own, because the tests freeze its processes."""
    async with DevStack(tmp_path_factory.mktemp("on-call"), settings=SETTINGS) as stack:
        for service in ("auth", "state"):
            await stack.add_replica(service)
        yield stack


@pytest.fixture(scope="module")
async def workspace(own_stack: DevStack, driver: YjsDriver) -> AsyncIterator[Workspace]:
    """Open a workspace on the stack of this module."""
    async with open_workspace(own_stack, driver) as workspace:
        await workspace.admin.access_token()
        await workspace.owner.access_token()
        yield workspace


@pytest.fixture
async def operator(own_stack: DevStack) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Return a connection of the tables' owner that may always write."""
    connection = await asyncpg.connect(
        own_stack.postgres_url, server_settings={"default_transaction_read_only": "off"}
    )
    yield connection
    await connection.close()


async def health(workspace: Workspace, name: str, path: str = "/health/ready") -> httpx.Response:
    """Return the health page of one process."""
    async with httpx.AsyncClient(timeout=30) as http:
        return await http.get(f"{workspace.stack.service_url(name)}{path}")


async def until_ready(workspace: Workspace, *names: str) -> None:
    """Wait until the processes are ready."""
    async with asyncio.timeout(RECOVERY):
        for name in names:
            while (await health(workspace, name)).status_code != 200:
                await pause()


async def until_not_ready(workspace: Workspace, name: str) -> str:
    """Wait until the process is not ready, and return its reason. It stays alive."""
    async with asyncio.timeout(RECOVERY):
        while (answer := await health(workspace, name)).status_code == 200:
            await pause()
    for path in ("/health/live", "/health/", "/health"):
        assert (await health(workspace, name, path)).status_code == 200, path
    return str(answer.json()["reason"])


async def until_logged(workspace: Workspace, name: str, event: str) -> dict[str, Any]:
    """Wait until the process has logged the event, and return the line."""
    async with asyncio.timeout(RECOVERY):
        while True:
            for line in workspace.stack.log_path(name).read_text().splitlines():
                if line.startswith("{") and event in line:
                    found: dict[str, Any] = json.loads(line)
                    return found
            await asyncio.sleep(0.05)


def log_size(workspace: Workspace) -> dict[str, int]:
    """Return the number of lines in each service's log."""
    return {
        name: len(workspace.stack.log_path(name).read_text().splitlines()) for name in WITH_DATABASE
    }


async def log_in(workspace: Workspace) -> httpx.Response:
    """Log in as the admin."""
    body = {"username": workspace.stack.admin_username, "password": workspace.stack.admin_password}
    async with httpx.AsyncClient(base_url=workspace.stack.url, timeout=60) as http:
        return await http.post("/auth/login", json=body)


async def until_answer(
    ask: Callable[[], Any], accept: Callable[[httpx.Response], bool]
) -> httpx.Response:
    """Ask again and again until the answer is accepted, and return it."""
    async with asyncio.timeout(RECOVERY):
        while True:
            answer: httpx.Response = await ask()
            if accept(answer):
                return answer
            # Wait for the circuit breaker, because a refused request shows nothing.
            await asyncio.sleep(0.2)


def names(answer: httpx.Response, text: str) -> bool:
    """Return whether the answer is a 503 that contains the text."""
    assert answer.status_code in (200, 201, 503), answer.text
    return answer.status_code == 503 and text in answer.json()["detail"]


async def create_canvas(workspace: Workspace) -> httpx.Response:
    """Create a canvas as the owner."""
    return await workspace.owner.request("POST", "/runtime/canvases/", json={"name": "x"})


async def check_everything_works(workspace: Workspace) -> None:
    """Wait until all replicas are ready, and then log in and create canvases on each of them."""
    await until_ready(workspace, "gateway", "collab", *WITH_DATABASE)
    for ask in (lambda: log_in(workspace), lambda: create_canvas(workspace)):
        await until_answer(ask, lambda answer: answer.is_success)
    for _ in range(8):
        assert (await log_in(workspace)).status_code == 200
        assert (await create_canvas(workspace)).status_code == 201
    summary = (await workspace.owner.request("GET", "/health/summary/")).json()
    assert (summary["status"], summary["missing"], summary["silent"]) == ("ok", [], []), summary


async def test_read_only_database_is_named_and_recovers_by_itself(
    workspace: Workspace, operator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Connections opened meanwhile would stay read-only, so they are replaced. Proves R-FAIL-18 and R-FAIL-19."""
    async with editing(workspace, 4, seed=21) as editors:
        await operator.execute("ALTER DATABASE svgx SET default_transaction_read_only TO on")
        try:
            await operator.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name LIKE 'svgx-%'"
            )
            for name in WITH_DATABASE:
                assert "postgresql (is read-only)" in await until_not_ready(workspace, name)
            await until_answer(
                lambda: log_in(workspace), lambda answer: names(answer, "is read-only")
            )
            await until_answer(
                lambda: create_canvas(workspace), lambda answer: names(answer, "is read-only")
            )
            await until_logged(workspace, "state", "postgresql cannot be used")
            await editors.wait_for_broadcast()  # editing goes on
        finally:
            await operator.execute("ALTER DATABASE svgx RESET default_transaction_read_only")
        await check_everything_works(workspace)
        await editors.stop_and_verify()
        assert await editors.connection_counts() == {1}


async def test_full_disk_is_named_and_recovers_by_itself(
    workspace: Workspace, operator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """PostgreSQL refuses each write with the code of a full disk. The log has no traceback. Proves R-FAIL-18."""
    tables = ("auth.session", "state.canvas", "state.journal")
    async with editing(workspace, 4, seed=22) as editors:
        before = log_size(workspace)
        await operator.execute(
            """CREATE OR REPLACE FUNCTION public.disk_full() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"""
            if await operator.fetchval("SELECT has_schema_privilege('public', 'CREATE')")
            else """CREATE OR REPLACE FUNCTION state.disk_full() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"""
        )
        schema = await operator.fetchval(
            "SELECT pronamespace::regnamespace::text FROM pg_proc WHERE proname = 'disk_full'"
        )
        for table in tables:
            await operator.execute(
                f"CREATE TRIGGER full_disk BEFORE INSERT ON {table} FOR EACH ROW "
                f"EXECUTE FUNCTION {schema}.disk_full()"
            )
        try:
            await until_answer(
                lambda: log_in(workspace), lambda answer: names(answer, "disk space")
            )
            await until_answer(
                lambda: create_canvas(workspace), lambda answer: names(answer, "disk space")
            )
            line = await until_logged(workspace, "collab", "a commit failed and is repeated")
            assert "the database" in line["reason"]
            reports = [await health(workspace, name) for name in ("state", "state-2")]
            reasons = [each.json().get("reason", "") for each in reports]
            assert any("postgresql (has no disk space left)" in reason for reason in reasons)
            await editors.wait_for_broadcast()
        finally:
            for table in tables:
                await operator.execute(f"DROP TRIGGER full_disk ON {table}")
            await operator.execute(f"DROP FUNCTION {schema}.disk_full()")
        for name in WITH_DATABASE:
            lines = workspace.stack.log_path(name).read_text().splitlines()[before[name] :]
            assert not [line for line in lines if "Traceback" in line or '"exception"' in line]
        await check_everything_works(workspace)
        await editors.stop_and_verify()
        assert await editors.connection_counts() == {1}


async def silent_replicas(workspace: Workspace) -> dict[str, str]:
    """Return the reason of each silent replica's report, by its service."""
    summary = (await workspace.owner.request("GET", "/health/summary/")).json()
    assert (summary["status"] == "degraded") or not summary["silent"]
    return {
        service: report["reason"]
        for service, reports in summary["services"].items()
        for report in reports
        if f"{service}/{report['replica']}" in summary["silent"]
    }


async def test_frozen_replicas_cost_no_read_and_are_named(workspace: Workspace) -> None:
    """Reads reach the other replicas; the summary names the frozen ones; NATS drops them. Proves R-FAIL-21, R-OBS-3."""
    await check_everything_works(workspace)
    processes = [workspace.stack.process(name) for name in ("auth-2", "state-2")]
    async with editing(workspace, 4, seed=23) as editors:
        for process in processes:
            process.pause()
        try:
            reads = await asyncio.gather(
                *(
                    workspace.owner.request("GET", path)
                    for path in ("/runtime/canvases/", "/auth/me")
                    for _ in range(10)
                )
            )
            assert {answer.status_code for answer in reads} == {200}
            async with asyncio.timeout(RECOVERY):
                while (reasons := await silent_replicas(workspace)).keys() != {"auth", "state"}:
                    await pause()
                assert all("its last answer was" in reason for reason in reasons.values())
                await until_logged(workspace, "gateway", "a replica does not answer")
                while not all("has ended" in reason for reason in reasons.values()):
                    await pause()
                    reasons = await silent_replicas(workspace)
            # NATS has dropped them: writes, which are sent once only, do not fail any more.
            for _ in range(10):
                assert (await create_canvas(workspace)).status_code == 201
                assert (await log_in(workspace)).status_code == 200
            await editors.wait_for_edits()
        finally:
            for process in processes:
                process.resume()
        await check_everything_works(workspace)
        await editors.stop_and_verify()
        assert await editors.connection_counts() == {1}


async def test_paused_postgresql_is_named_and_recovers_by_itself(workspace: Workspace) -> None:
    """Requests fail within seconds, then at once, and name the database. Proves R-FAIL-18 and R-FAIL-19."""
    server = workspace.stack.process("postgres")
    async with editing(workspace, 4, seed=24) as editors:
        server.pause()
        try:
            for name in WITH_DATABASE:
                assert "postgresql (does not answer)" in await until_not_ready(workspace, name)
            await until_answer(
                lambda: create_canvas(workspace), lambda answer: names(answer, "the database")
            )
            began = time.monotonic()
            assert (await create_canvas(workspace)).status_code == 503
            assert time.monotonic() - began < 2
            summary = (await workspace.owner.request("GET", "/health/summary/")).json()
            for report in (*summary["services"]["state"], *summary["services"]["auth"]):
                assert report["dependencies"]["postgresql"]["detail"] == "does not answer"
            await editors.wait_for_broadcast()
        finally:
            server.resume()
        await check_everything_works(workspace)
        await editors.stop_and_verify()
        assert await editors.connection_counts() == {1}


async def test_paused_nats_is_noticed_and_recovers_by_itself(workspace: Workspace) -> None:
    """No probe of liveness fails, and requests do not hang. Proves R-FAIL-19 and R-FAIL-20."""
    server = workspace.stack.process("nats")
    async with editing(workspace, 4, seed=25) as editors:
        server.pause()
        try:
            for name in ("gateway", "collab", *WITH_DATABASE):
                assert "nats" in await until_not_ready(workspace, name)
            await until_answer(
                lambda: create_canvas(workspace), lambda answer: names(answer, "message bus")
            )
            began = time.monotonic()
            for _ in range(5):
                assert names(await create_canvas(workspace), "message bus")
            assert time.monotonic() - began < 2
            summary = (await workspace.owner.request("GET", "/health/summary/")).json()
            assert summary["status"] == "degraded"
            (report,) = summary["services"]["gateway"]
            assert "nats" in report["reason"]
            await until_logged(workspace, "gateway", "nats does not answer")
        finally:
            server.resume()
        await check_everything_works(workspace)
        await editors.wait_for_edits()
        await editors.stop_and_verify()
        assert await editors.connection_counts() == {1}


async def test_missing_redis_is_named_and_stops_nothing(workspace: Workspace) -> None:
    """The gateway and collab stay ready, and their health names Redis. Proves R-FAIL-7 and R-FAIL-19."""
    server = workspace.stack.process("valkey")
    server.restart = False
    server.kill()
    try:
        for name in ("gateway", "collab"):
            async with asyncio.timeout(RECOVERY):
                while "redis" not in (await health(workspace, name)).json().get("reason", ""):
                    await pause()
            for path in ("/health/ready", "/health/"):
                answer = await health(workspace, name, path)
                assert (answer.status_code, answer.json()["status"]) == (200, "ok")
                assert not answer.json()["dependencies"]["redis"]["ok"]
        summary = (await workspace.owner.request("GET", "/health/summary/")).json()
        assert summary["status"] == "degraded"
    finally:
        server.restart = True
        await server.start()
        await server.wait_ready()
    await check_everything_works(workspace)
