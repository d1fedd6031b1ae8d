"""The umbrella chart with its trial values, run without a kubelet: Yjs clients draw, also while pods are replaced.

`tests.deploy.runner` lists the differences from a cluster.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from deploy.build.helm import Helm
from tests.deploy.runner.cluster import Cluster
from tests.deploy.runner.rendered import Rendered
from tests.deploy.runner.usage import Usage
from tests.e2e.clients.editor_group import EditorGroup
from tests.e2e.clients.workspace import Workspace, open_workspace_at
from tests.e2e.clients.yjs_driver import Close, YjsDriver
from tests.e2e.documents.large_svg import large_svg

pytestmark = pytest.mark.timeout(300)

VALUES = (
    "--values=svgx/values-dev.yaml",
    "--set=collab.reserved.replicaCount=1",
    # With two gateways, a client that leaves one old gateway could reach the other old one and be disconnected again.
    # The tests check that this does not happen.
    "--set=gateway.replicaCount=2",
    # On a busy machine, the new gateways become ready seconds apart, so the old ones begin to stop seconds apart. The
    # notice time is longer than this gap, so a client that leaves one old gateway does not reach the other old one.
    "--set=gateway.drain.noticeSeconds=12",
    "--set=gateway.drain.seconds=30",
    # The test sends more requests than a person does.
    "--set=gateway.config.security.rate_limit_requests_per_minute=100000",
)
ADMIN_PASSWORD = "a strong password of a first admin"
DATABASE_PASSWORD = "p@ss:w/rd%3F and $HOME"
CACHE_PASSWORD = "#1 of 100%"
"""Passwords with characters that must be percent-encoded in a URL."""


def secrets() -> dict[str, dict[str, str]]:
    """Return the secrets that an operator creates, except the NATS keys."""
    account = f"svgx:{quote(DATABASE_PASSWORD, safe='')}"
    return {
        "svgx-secrets": {
            "postgres-url": f"postgresql://{account}@svgx-postgresql:5432/svgx",
            "redis-url": f"redis://:{quote(CACHE_PASSWORD, safe='')}@svgx-valkey:6379/0",
            "jwt-secret": "0123456789abcdef" * 4,
        },
        "svgx-admin": {
            "username": "admin",
            "email": "admin@example.com",
            "password": ADMIN_PASSWORD,
        },
    }


async def nats_keys() -> dict[str, str]:
    """Return the data of the secret that the gateway's command `nats-keys` prints."""
    program = Path(sys.executable).with_name("svgx-gateway")
    process = await asyncio.create_subprocess_exec(
        *(str(program), "nats-keys", "--format", "secret"), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    data: dict[str, str] = json.loads(output)["stringData"]
    return data


@pytest.fixture(scope="module")
async def cluster(
    helms: dict[str, Helm], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    """Start the rendered umbrella chart."""
    rendered = Rendered(
        await asyncio.to_thread(helms["helm4"].template, "svgx", *VALUES),
        {**secrets(), "svgx-nats": await nats_keys()},
    )
    async with Cluster(rendered, tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
async def workspace(cluster: Cluster, driver: YjsDriver) -> AsyncIterator[Workspace]:
    """Open a workspace at the address of the gateway's Kubernetes Service."""
    async with open_workspace_at(
        f"http://{cluster.address('svgx-gateway', 80)}",
        driver,
        admin_username="admin",
        admin_password=ADMIN_PASSWORD,
    ) as workspace:
        yield workspace


@asynccontextmanager
async def reading(workspace: Workspace, editors: EditorGroup) -> AsyncIterator[None]:
    """Request the canvas over HTTP after each edit, until the end of the block. A failed request fails the test."""

    async def read_after_each_edit() -> None:
        edits = 0
        while True:
            edits = await workspace.driver.wait_for_edits(editors.clients, edits + 1)
            await workspace.owner.canvas(editors.canvas_id)

    task = asyncio.create_task(read_after_each_edit())
    try:
        yield
    finally:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_pods_replaced_at_the_same_time_disconnect_no_client_twice(
    cluster: Cluster, workspace: Workspace
) -> None:
    """An upgrade replaces the pods of all Deployments at the same time, as their rendered settings specify.

    Each client is disconnected once, by its gateway. No edit is lost, and no request fails. All pods stop within their
    grace period, and none needs more memory than its limit. Proves R-FAIL-17 and R-FAIL-11.
    """
    with Usage(cluster.pods) as usage:
        try:
            editors = await EditorGroup.start(workspace, 2, seed=1)
            async with reading(workspace, editors), asyncio.TaskGroup() as group:
                for workload in cluster.workloads.values():
                    if workload.kind == "Deployment":
                        group.create_task(workload.restart())
            await editors.stop_and_verify()
            statuses = [await client.status() for client in editors.clients]
        finally:
            await workspace.destroy_all()
    print(usage.report())
    assert {status.connections for status in statuses} == {2}
    assert {status.closes for status in statuses} == {(Close(1012, "restarting"),)}
    assert cluster.events == []
    assert usage.exceeded() == []


SLOW = pytest.mark.skipif(not os.environ.get("SVGX_CHARTS_RUN"), reason="make charts-run runs it")


@SLOW
async def test_restart_of_a_workload_other_than_the_gateway_disconnects_no_client(
    cluster: Cluster, workspace: Workspace
) -> None:
    """The test restarts the workloads one by one, each as `kubectl rollout restart` does.

    Only the restart of the gateway ends WebSockets, once for each client. The test omits NATS and PostgreSQL, because
    each is a single server, and edits are not saved while the server restarts.
    """
    try:
        editors = await EditorGroup.start(workspace, 2, seed=2)
        services = ("auth", "state", "collab", "collab-reserved", "valkey", "gateway")
        for name in (f"svgx-{service}" for service in services):
            await cluster.workloads[name].restart()
            await editors.wait_for_broadcast()
            connections = await editors.connection_counts()
            assert connections == {1 if name != "svgx-gateway" else 2}, name
        await editors.stop_and_verify()
        surges = {name: workload.most_pods for name, workload in cluster.workloads.items()}
    finally:
        await workspace.destroy_all()
    assert cluster.events == []
    # A stopping replica and its successor hold connections to PostgreSQL at the same time.
    for service in ("auth", "state"):
        assert surges[f"svgx-{service}"] <= cluster.workloads[f"svgx-{service}"].replicas + 2


@SLOW
async def test_pods_under_load_stay_below_their_limits(
    cluster: Cluster, workspace: Workspace
) -> None:
    """Under load, no pod uses more memory than its limit. The test prints the memory and processor time of each pod.

    The load is 20 editors, large imports and exports, and log-ins. The resource requests and limits in the charts are
    based on the printed figures.
    """
    pods = [pod for pod in cluster.pods if not pod.gone]
    with Usage(pods) as idle:
        # No event marks the end of an idle time.
        await asyncio.sleep(10)
    with Usage(pods) as loaded:
        try:
            editors = await EditorGroup.start(workspace, 20, seed=3)
            async with asyncio.TaskGroup() as group:
                group.create_task(editors.wait_for_edits(1000))
                for number in range(4):
                    group.create_task(log_in(workspace, number))
                for number in range(3):
                    await draw_a_large_file(workspace, number)
            await editors.stop_and_verify()
        finally:
            await workspace.destroy_all()
    print(f"\nidle for 10 s:{idle.report()}\nunder load:{loaded.report()}")
    assert cluster.events == []
    assert idle.exceeded() == loaded.exceeded() == []


async def draw_a_large_file(workspace: Workspace, number: int) -> None:
    """Import a file of 2 MB into a new canvas, and export the canvas as a picture."""
    canvas = await workspace.create_canvas(f"Large {number}")
    svg = await asyncio.to_thread(large_svg, 2_000, 2_000_000, number)
    await workspace.owner.import_svg(canvas, svg)
    await workspace.owner.export(canvas, "png")


async def log_in(workspace: Workspace, number: int) -> None:
    """Create an account, and log in with its password."""
    user = await workspace.admin.create_user(f"loaded-{number}")
    await workspace.api.session_of(user).me()
