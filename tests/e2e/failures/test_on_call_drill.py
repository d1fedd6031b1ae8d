"""A drill for on-call engineers: a part fails, messages and metrics report the failure, and the part recovers.

The stack has two replicas of auth, of state and of collab. A group of editors draws during each failure except that of
Redis. All edits must be saved afterwards, without a reconnect. The last test is a short live drill of `tests/chaos`.
"""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from svgx_common.contract.audit import AuditEvent
from svgx_common.messaging.repetition import MAX_BUDGET
from svgx_devstack import DevStack
from tests.chaos.live.drill import LiveDrill, Size
from tests.chaos.live.nats_proxy import NatsProxy
from tests.e2e.clients.editor_group import editing
from tests.e2e.clients.metrics import Metrics
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver
from tests.e2e.cluster.extra_gateway import extra_gateway
from tests.e2e.failures.postgres_disk import postgres_on_small_disk
from tests.limits import HIGH_LIMITS
from tests.polling import REQUEST_POLL_SECONDS, pause

pytestmark = pytest.mark.timeout(600)

SETTINGS = {**HIGH_LIMITS, "HEALTH_CHECK_INTERVAL": "1"}
WITH_DATABASE = ("auth", "auth-2", "state", "state-2")
HOLDERS = ("collab", "collab-2")
SHORT_DRILL = Size(editors=10, seconds=6, rate=5, gaps=(0.5, 1.2), power_cuts=False)
FROZEN = {"auth", "state", "collab"}
"""The services that have one frozen replica each."""

RECOVERY = 30.0
"""Seconds that each expected effect may take. The gateway forgets a silent replica only after 600 s."""


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevStack]:
    """Start a stack for this module only, because the tests freeze the stack's processes."""
    async with DevStack(tmp_path_factory.mktemp("on-call"), settings=SETTINGS) as stack:
        for service in ("auth", "state", "collab"):
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
    """Return a database connection as the owner of the tables. It can write while the database is read-only."""
    connection = await asyncpg.connect(
        own_stack.postgres_url, server_settings={"default_transaction_read_only": "off"}
    )
    yield connection
    await connection.close()


async def fill_audit_log(stack: DevStack) -> None:
    """Write entries until the disk has no room for one more. A log-in then fails, because it writes an entry too."""
    connection = await asyncpg.connect(stack.postgres_url)
    for size in (1000, 100, 1):
        with contextlib.suppress(asyncpg.DiskFullError):
            while True:
                await connection.execute(
                    "INSERT INTO auth.audit (event, address, user_agent, detail) "
                    "VALUES ($1, '', $2, '{}')",
                    AuditEvent.LOG_IN.value,
                    "x" * size,
                )
    await connection.close()


@pytest.fixture
def metrics(own_stack: DevStack) -> Metrics:
    """Return the metrics of the stack."""
    return Metrics(own_stack, timeout=RECOVERY)


async def until_metrics_report(metrics: Metrics, dependency: str, *names: str) -> None:
    """Wait until the metrics of the processes show that the dependency fails, and that the processes are not ready."""
    for name in names:
        service = name.removesuffix("-2")
        labels = {"component": service, "dependency": dependency}
        await metrics.until("dependency_up", lambda value: value == 0, name, **labels)
        await metrics.until("ready", lambda value: value == 0, name, component=service)


async def until_metrics_show_unsaved_edits(metrics: Metrics) -> None:
    """Wait until the metrics of the gateway and of the holder show edits that have waited for more than a second."""
    for prefix, processes in (("live", ("gateway",)), ("collab", HOLDERS)):
        name = f"{prefix}_oldest_unsaved_seconds"
        await metrics.until(name, lambda value: value > 1, *processes)
    assert await metrics.value("live_unacked_bytes", "gateway") > 0
    assert await metrics.value("collab_unsaved_bytes", *HOLDERS) > 0
    await metrics.until("collab_commit_failures_total", lambda value: value > 0, *HOLDERS)


async def check_summary_shows_unsaved_edits(workspace: Workspace) -> None:
    """Assert that the health summary shows edits that have waited for more than a second."""
    services = (await workspace.owner.request("GET", "/health/summary/")).json()["services"]
    for service, figures in (("gateway", "live"), ("collab", "canvases")):
        ages = [each["details"][figures]["oldest_unsaved_seconds"] for each in services[service]]
        assert max(ages) > 1, (service, ages)


async def until_metrics_show_no_outage(metrics: Metrics) -> None:
    """Wait until no metric shows an outage. Call this only after the editors have stopped."""
    for name in ("gateway", *HOLDERS, *WITH_DATABASE):
        service = name.removesuffix("-2")
        await metrics.until("ready", lambda value: value == 1, name, component=service)
        dependencies = {"gateway": ("nats", "redis"), "collab": ("nats", "redis")}
        for dependency in dependencies.get(service, ("nats", "postgresql")):
            labels = {"component": service, "dependency": dependency}
            await metrics.until("dependency_up", lambda value: value == 1, name, **labels)
    for metric in ("live_oldest_unsaved_seconds", "live_unacked_bytes", "silent_replicas"):
        await metrics.until(metric, lambda value: value == 0, "gateway")
    for metric in ("collab_oldest_unsaved_seconds", "collab_unsaved_bytes"):
        await metrics.until(metric, lambda value: value == 0, *HOLDERS)


async def health(workspace: Workspace, name: str, path: str = "/health/ready") -> httpx.Response:
    """Return the health page of one process."""
    async with httpx.AsyncClient(timeout=30) as http:
        return await http.get(f"{workspace.stack.service_url(name)}{path}")


async def until_ready(workspace: Workspace, *names: str) -> None:
    """Wait until the processes are ready."""
    async with asyncio.timeout(RECOVERY):
        for name in names:
            while (await health(workspace, name)).status_code != 200:
                await pause(REQUEST_POLL_SECONDS)


async def until_not_ready(workspace: Workspace, name: str, text: str) -> None:
    """Wait until the process is not ready with a reason that contains the text, and check that it is still live."""

    async def is_unready() -> bool:
        answer = await health(workspace, name)
        return answer.status_code != 200 and text in answer.json()["reason"]

    async with asyncio.timeout(RECOVERY):
        while not await is_unready():
            await pause(REQUEST_POLL_SECONDS)
    for path in ("/health/live", "/health/", "/health"):
        assert (await health(workspace, name, path)).status_code == 200, path


async def until_logged(workspace: Workspace, name: str, event: str) -> dict[str, Any]:
    """Wait until the process has logged the event, and return the line."""
    return await until_any_logged(workspace, (name,), event)


async def until_any_logged(
    workspace: Workspace, names: tuple[str, ...], event: str
) -> dict[str, Any]:
    """Wait until one of the processes has logged the event, and return the line."""
    async with asyncio.timeout(RECOVERY):
        while True:
            for name in names:
                for line in workspace.stack.log_path(name).read_text().splitlines():
                    if line.startswith("{") and event in line:
                        found: dict[str, Any] = json.loads(line)
                        return found
            await asyncio.sleep(0.05)


def log_lines(workspace: Workspace) -> dict[str, int]:
    """Return the number of lines in the log of each process that uses PostgreSQL."""
    return {
        name: len(workspace.stack.log_path(name).read_text().splitlines()) for name in WITH_DATABASE
    }


async def log_in(workspace: Workspace) -> httpx.Response:
    """Log in as the admin."""
    body = {"username": workspace.stack.admin_username, "password": workspace.stack.admin_password}
    async with httpx.AsyncClient(base_url=workspace.stack.url, timeout=60) as http:
        return await http.post("/auth/login", json=body)


async def until_answer(
    ask: Callable[[], Any], accept: Callable[[httpx.Response], bool], interval: float = 0.2
) -> httpx.Response:
    """Call `ask` again and again until `accept` accepts its answer, and return the answer."""
    async with asyncio.timeout(RECOVERY):
        while True:
            answer: httpx.Response = await ask()
            if accept(answer):
                return answer
            # Wait, because a request that an open circuit refuses does not show the cause.
            await asyncio.sleep(interval)


def is_503_with(answer: httpx.Response, text: str) -> bool:
    """Return whether the answer is a 503 that contains the text."""
    assert answer.status_code in (200, 201, 503), answer.text
    return answer.status_code == 503 and text in answer.json()["detail"]


async def create_canvas(workspace: Workspace) -> httpx.Response:
    """Create a canvas as the owner."""
    return await workspace.owner.request("POST", "/runtime/canvases/", json={"name": "x"})


def shows_no_fault(answer: httpx.Response) -> bool:
    """Return whether a health summary has an answer of each replica, and no fault."""
    summary = answer.json()
    return (summary["status"], summary["missing"], summary["silent"]) == ("ok", [], [])


async def check_everything_works(workspace: Workspace) -> None:
    """Wait until all replicas are ready, and then log in and create canvases often enough to reach each of them."""
    await until_ready(workspace, "gateway", *HOLDERS, *WITH_DATABASE)
    for ask in (lambda: log_in(workspace), lambda: create_canvas(workspace)):
        await until_answer(ask, lambda answer: answer.is_success)
    for _ in range(8):
        assert (await log_in(workspace)).status_code == 200
        assert (await create_canvas(workspace)).status_code == 201
    # A busy replica may answer one summary too late.
    await until_answer(lambda: workspace.owner.request("GET", "/health/summary/"), shows_no_fault)


async def test_read_only_database_is_named_and_recovers_by_itself(
    workspace: Workspace, operator: "asyncpg.Connection[asyncpg.Record]", metrics: Metrics
) -> None:
    """The services replace connections that were opened during the failure, because these would stay read-only.

    Proves R-FAIL-18, R-FAIL-19, R-OBS-3, R-OBS-10 and R-OBS-11.
    """
    async with editing(workspace, 4, seed=21) as editors:
        await operator.execute("ALTER DATABASE svgx SET default_transaction_read_only TO on")
        try:
            await operator.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name LIKE 'svgx-%'"
            )
            for name in WITH_DATABASE:
                await until_not_ready(workspace, name, "postgresql (is read-only)")
            await until_metrics_report(metrics, "postgresql", *WITH_DATABASE)
            await until_answer(
                lambda: log_in(workspace), lambda answer: is_503_with(answer, "is read-only")
            )
            await until_answer(
                lambda: create_canvas(workspace), lambda answer: is_503_with(answer, "is read-only")
            )
            labels = {"component": "gateway", "code": "unavailable"}
            assert await metrics.value("errors_total", "gateway", **labels) > 0
            await until_logged(workspace, "state", "postgresql cannot be used")
            await editors.wait_for_broadcast()  # editing continues
            await until_metrics_show_unsaved_edits(metrics)
            await check_summary_shows_unsaved_edits(workspace)
        finally:
            await operator.execute("ALTER DATABASE svgx RESET default_transaction_read_only")
        await check_everything_works(workspace)
        await editors.stop_and_verify()
        assert await editors.connection_counts() == {1}
        await until_metrics_show_no_outage(metrics)


async def until_full(workspace: Workspace) -> str:
    """Wait until a replica of state names the full disk, and return the replica's name.

    The reason may be missing at times, because a replica is ready again after a small write that succeeds. Meanwhile,
    the commits of edits fail, because they need more space.
    """
    async with asyncio.timeout(RECOVERY):
        while True:
            for name in ("state", "state-2"):
                reason = (await health(workspace, name)).json().get("reason", "")
                if "postgresql (has no disk space left)" in reason:
                    return name
            await pause(REQUEST_POLL_SECONDS)


async def test_full_disk_is_named_and_recovers_by_itself(
    workspace: Workspace, metrics: Metrics
) -> None:
    """No byte is free on the disk of PostgreSQL. The log has no traceback. Proves R-FAIL-18, R-OBS-10 and R-OBS-11."""
    async with postgres_on_small_disk(workspace.stack) as disk:
        await check_everything_works(workspace)
        async with editing(workspace, 4, seed=22) as editors:
            before = log_lines(workspace)
            disk.fill()
            await fill_audit_log(workspace.stack)
            for ask in (lambda: log_in(workspace), lambda: create_canvas(workspace)):
                # The first writes succeed, because they fit into free space in the existing pages of their tables.
                await until_answer(
                    ask, lambda answer: is_503_with(answer, "disk space"), interval=0
                )
            await until_any_logged(workspace, HOLDERS, "a commit failed and is repeated")
            await until_metrics_show_unsaved_edits(metrics)
            full = await until_full(workspace)
            await until_metrics_report(metrics, "postgresql", full)
            await editors.wait_for_broadcast()
            disk.free()
            for name in WITH_DATABASE:
                lines = workspace.stack.log_path(name).read_text().splitlines()[before[name] :]
                assert not [line for line in lines if "Traceback" in line or '"exception"' in line]
            await check_everything_works(workspace)
            await editors.stop_and_verify()
            assert await editors.connection_counts() == {1}
            await until_metrics_show_no_outage(metrics)


async def silent_replicas(workspace: Workspace) -> dict[str, str]:
    """Return the reason that the health summary reports for the silent replica of each service."""
    summary = (await workspace.owner.request("GET", "/health/summary/")).json()
    assert (summary["status"] == "degraded") or not summary["silent"]
    return {
        service: report["reason"]
        for service, reports in summary["services"].items()
        for report in reports
        if f"{service}/{report['replica']}" in summary["silent"]
    }


async def silent_count(metrics: Metrics, service: str) -> float:
    """Return the number of the service's silent replicas in the metrics of the gateway."""
    return await metrics.value("silent_replicas", "gateway", component=service)


async def holder_of(workspace: Workspace, canvas_id: str) -> str:
    """Return the name of the process that holds the canvas."""
    for name in HOLDERS:
        for line in workspace.stack.log_path(name).read_text().splitlines():
            if "holding a canvas" in line and canvas_id in line:
                return name
    raise AssertionError("no replica holds the canvas")


async def permit_repetitions(workspace: Workspace) -> None:
    """Send reads until the gateway's budget of repeated reads is full.

    Unanswered reads in earlier tests may have used up this budget. Each answered read permits one more repetition.
    """
    for _ in range(int(MAX_BUDGET) // 10):
        answers = await asyncio.gather(
            *(workspace.owner.request("GET", "/auth/me") for _ in range(10))
        )
        assert {answer.status_code for answer in answers} == {200}


async def test_frozen_replicas_are_named_and_no_read_fails(
    workspace: Workspace, metrics: Metrics
) -> None:
    """Reads reach the other replicas, another replica holds the canvas, and the summary names the frozen replicas.

    Proves R-FAIL-21, R-FAIL-24, R-OBS-3 and R-OBS-11.
    """
    await check_everything_works(workspace)
    await permit_repetitions(workspace)
    async with editing(workspace, 4, seed=23) as editors:
        frozen = ["auth-2", "state-2", await holder_of(workspace, editors.canvas_id)]
        processes = [workspace.stack.process(name) for name in frozen]
        began = time.monotonic()
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
            # The edit reaches the other clients only after another replica has taken over the canvas.
            await editors.wait_for_broadcast()
            print(f"another replica held the canvas after {time.monotonic() - began:.1f} s")
            async with asyncio.timeout(RECOVERY):
                while (reasons := await silent_replicas(workspace)).keys() != FROZEN:
                    await pause(REQUEST_POLL_SECONDS)
                assert all("its last answer was" in reason for reason in reasons.values())
                await until_logged(workspace, "gateway", "a replica does not answer")
                while any([await silent_count(metrics, service) != 1 for service in FROZEN]):
                    await pause(REQUEST_POLL_SECONDS)
                    reasons = await silent_replicas(workspace)  # the gateway asks them again
                while not all("has ended" in reason for reason in reasons.values()):
                    await pause(REQUEST_POLL_SECONDS)
                    reasons = await silent_replicas(workspace)
            print(f"nats had dropped the frozen replicas after {time.monotonic() - began:.1f} s")
            # Writes are sent only once. They succeed again, because NATS has dropped the frozen replicas.
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
        await until_metrics_show_no_outage(metrics)


async def test_paused_postgresql_is_named_and_recovers_by_itself(
    workspace: Workspace, metrics: Metrics
) -> None:
    """Requests fail within ten seconds. The errors name the database.

    Proves R-FAIL-18, R-FAIL-19, R-OBS-10 and R-OBS-11.
    """
    server = workspace.stack.process("postgres")
    async with editing(workspace, 4, seed=24) as editors:
        server.pause()
        try:
            for name in WITH_DATABASE:
                await until_not_ready(workspace, name, "postgresql (does not answer)")
            await until_answer(
                lambda: create_canvas(workspace), lambda answer: is_503_with(answer, "the database")
            )
            began = time.monotonic()
            assert (await create_canvas(workspace)).status_code == 503
            assert time.monotonic() - began < 10
            summary = (await workspace.owner.request("GET", "/health/summary/")).json()
            for report in (*summary["services"]["state"], *summary["services"]["auth"]):
                assert report["dependencies"]["postgresql"]["detail"] == "does not answer"
            await editors.wait_for_broadcast()
            await until_metrics_report(metrics, "postgresql", *WITH_DATABASE)
            await until_metrics_show_unsaved_edits(metrics)
        finally:
            server.resume()
        await check_everything_works(workspace)
        await editors.stop_and_verify()
        assert await editors.connection_counts() == {1}
        await until_metrics_show_no_outage(metrics)


async def test_paused_nats_is_noticed_and_recovers_by_itself(
    workspace: Workspace, metrics: Metrics
) -> None:
    """The liveness checks succeed, and requests do not hang. Proves R-FAIL-19, R-FAIL-20, R-OBS-10 and R-OBS-11."""
    server = workspace.stack.process("nats")
    async with editing(workspace, 4, seed=25) as editors:
        server.pause()
        try:
            everything = ("gateway", *HOLDERS, *WITH_DATABASE)
            for name in everything:
                await until_not_ready(workspace, name, "nats")
            await until_metrics_report(metrics, "nats", *everything)
            await metrics.until("live_oldest_unsaved_seconds", lambda value: value > 1, "gateway")
            assert await metrics.value("live_unacked_bytes", "gateway") > 0
            await until_answer(
                lambda: create_canvas(workspace), lambda answer: is_503_with(answer, "message bus")
            )
            began = time.monotonic()
            for _ in range(5):
                assert is_503_with(await create_canvas(workspace), "message bus")
            assert time.monotonic() - began < 10
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
        await until_metrics_show_no_outage(metrics)


async def test_missing_redis_is_named_and_stops_nothing(
    workspace: Workspace, metrics: Metrics
) -> None:
    """The gateway and collab stay ready, and their health and metrics name Redis. Proves R-FAIL-19 and R-OBS-10."""
    server = workspace.stack.process("valkey")
    server.restart = False
    server.kill()
    try:
        for name in ("gateway", *HOLDERS):
            service = name.removesuffix("-2")
            async with asyncio.timeout(RECOVERY):
                while "redis" not in (await health(workspace, name)).json().get("reason", ""):
                    await pause(REQUEST_POLL_SECONDS)
            for path in ("/health/ready", "/health/"):
                answer = await health(workspace, name, path)
                assert (answer.status_code, answer.json()["status"]) == (200, "ok")
                assert not answer.json()["dependencies"]["redis"]["ok"]
            labels = {"component": service, "dependency": "redis"}
            await metrics.until("dependency_up", lambda value: value == 0, name, **labels)
            assert await metrics.value("ready", name, component=service) == 1
        summary = (await workspace.owner.request("GET", "/health/summary/")).json()
        assert summary["status"] == "degraded"
    finally:
        server.restart = True
        await server.start()
        await server.wait_ready()
    await check_everything_works(workspace)
    await until_metrics_show_no_outage(metrics)


async def test_short_live_drill_loses_no_saved_edit(workspace: Workspace) -> None:
    """Parts of the stack fail at random while ten editors draw. Each run has a new seed. Proves R-FAIL-12.

    `make chaos CHAOS_ROUNDS=0` runs long drills.
    """
    stack = workspace.stack
    async with (
        NatsProxy.open(stack.nats_url("gateway")) as link,
        extra_gateway(stack, {"NATS_URL": link.url}) as gateway,
    ):
        seed = secrets.randbelow(10**6)
        print(f"\nseed {seed}")
        async with LiveDrill.open(workspace, {gateway.name: link}, seed, SHORT_DRILL) as drill:
            await drill.check(await drill.run())
