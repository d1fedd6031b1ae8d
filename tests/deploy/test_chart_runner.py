"""The umbrella chart with its trial values, run without a kubelet: two Yjs clients draw, also while pods are replaced.

`tests.deploy.runner` lists the differences from a cluster.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from deploy.build.helm import Helm
from tests.deploy.runner.cluster import Cluster
from tests.deploy.runner.rendered import Rendered
from tests.e2e.clients.editor_group import EditorGroup
from tests.e2e.clients.workspace import Workspace, open_workspace_at
from tests.e2e.clients.yjs_driver import Close, YjsDriver

pytestmark = pytest.mark.timeout(300)

VALUES = (
    "--values=svgx/values-dev.yaml",
    # Two gateways and two holders, so that a client could reach an old pod twice.
    "--set=gateway.replicaCount=2,collab.replicaCount=2",
    # The test sends more requests than a person.
    "--set=gateway.config.security.rate_limit_requests_per_minute=100000",
)
ADMIN_PASSWORD = "a strong password of a first admin"
DATABASE_PASSWORD = "p@ss:w/rd%3F and $HOME"
"""A password that a URL contains in another form."""


def secrets() -> dict[str, dict[str, str]]:
    """Return the secrets that NOTES.txt asks for."""
    account = f"svgx:{quote(DATABASE_PASSWORD, safe='')}"
    return {
        "svgx-secrets": {
            "postgres-url": f"postgresql://{account}@svgx-postgresql:5432/svgx",
            "redis-url": "redis://svgx-valkey:6379/0",
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
    """Start the rendered umbrella."""
    rendered = Rendered(
        await asyncio.to_thread(helms["helm4"].template, "svgx", *VALUES),
        {**secrets(), "svgx-nats": await nats_keys()},
    )
    async with Cluster(rendered, tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
async def workspace(cluster: Cluster, driver: YjsDriver) -> AsyncIterator[Workspace]:
    """Open a workspace at the service of the gateway."""
    async with open_workspace_at(
        f"http://{cluster.address('svgx-gateway', 80)}",
        driver,
        admin_username="admin",
        admin_password=ADMIN_PASSWORD,
    ) as workspace:
        yield workspace


@asynccontextmanager
async def reading(workspace: Workspace, editors: EditorGroup) -> AsyncIterator[None]:
    """Request the canvas over HTTP after each edit. A request that fails ends the test."""

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


async def test_all_pods_replaced_at_once_disconnect_nobody_twice(
    cluster: Cluster, workspace: Workspace
) -> None:
    """An upgrade replaces the pods of all Deployments at the same time, by their rendered settings.

    Each client is disconnected once, by its gateway, and no edit is lost. All pods stop within their grace period.
    """
    try:
        editors = await EditorGroup.start(workspace, 2, seed=1)
        async with reading(workspace, editors):
            async with asyncio.TaskGroup() as group:
                for workload in cluster.workloads.values():
                    if workload.kind == "Deployment":
                        group.create_task(workload.restart())
            await editors.wait_for_edits()
        await editors.stop_and_verify()
        statuses = [await client.status() for client in editors.clients]
        assert {status.connections for status in statuses} == {2}
        assert {status.closes for status in statuses} == {(Close(1012, "restarting"),)}
    finally:
        await workspace.destroy_all()
    assert cluster.events == []
