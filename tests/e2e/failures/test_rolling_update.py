"""Rolling updates of the gateways under load: each client reconnects once, and no edit is lost.

`make large` runs 200 clients, and `make test` runs 16.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from statistics import median

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from svgx_devstack import DevStack
from svgx_devstack.backing import probe
from svgx_devstack.ports import HOST
from tests.e2e.clients.api import open_api
from tests.e2e.clients.editor_group import EditorGroup
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import Close, YjsDriver
from tests.e2e.cluster.balancer import Balancer, Strategy, fewest_connections, round_robin
from tests.e2e.cluster.gateway_group import GatewayGroup
from tests.limits import HIGH_LIMITS
from tests.polling import pause

pytestmark = pytest.mark.timeout(600)

CANVASES, CLIENTS_PER_CANVAS = (10, 20) if os.environ.get("SVGX_LARGE") == "1" else (2, 8)

EDITS_PER_SECOND = 10 / CLIENTS_PER_CANVAS
"""Edits per second of each client. All clients of one canvas together make ten edits per second."""

SETTINGS = {
    **HIGH_LIMITS,
    "DRAIN_NOTICE_SECONDS": "3",
    "WEBSOCKET_DRAIN_SECONDS": "3",
    "DRAIN_SECONDS": "10",
    # On a machine with few cores, 100 reconnects within three seconds delay the event loop beyond the default limit.
    "SHED_LAG_SECONDS": "30",
    # The owner exports up to 10 canvases at the same time. One account may use half of the workers, so 2 exports run
    # and 8 wait. No more than 8 exports of an account may wait.
    "WORKER_COUNT": "4",
}
SYNC_STEP_1, SYNC_STEP_2 = bytes([0, 0, 1, 0]), bytes([0, 1])


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevStack]:
    """Start a stack for this module only, because the tests replace the gateways."""
    async with DevStack(tmp_path_factory.mktemp("rolling"), settings=SETTINGS) as stack:
        yield stack


@pytest.fixture(scope="module")
async def gateways(own_stack: DevStack) -> GatewayGroup:
    """Start a second gateway, and return the group of both gateways."""
    gateways = GatewayGroup(own_stack)
    await gateways.add_gateway()
    return gateways


async def test_stopping_gateway_refuses_new_connections_and_finishes_its_requests(
    own_stack: DevStack,
) -> None:
    """A stopping gateway refuses new connections, serves existing ones for a while, and answers pending requests.

    Proves R-FAIL-15 and R-FAIL-16.
    """
    # Time for all steps, also on a busy machine. The pending request begins during the notice, and may take 10 s.
    slow = {"DRAIN_NOTICE_SECONDS": "5", "DRAIN_SECONDS": "20"}
    name = await own_stack.add_replica("gateway", settings=slow)
    port, process = own_stack.port(name), own_stack.process(name)
    state = own_stack.process("state")
    async with open_api(own_stack.service_url(name)) as api:
        admin = api.session(own_stack.admin_username, own_stack.admin_password)
        canvas = await admin.create_canvas("Drained")
        canvas_path = f"/runtime/canvases/{canvas}"
        websocket_url = f"{api.websocket_url}/{canvas}?token={await admin.access_token()}"
        async with connect(websocket_url) as socket:
            assert "connection" not in (await admin.request("GET", canvas_path)).headers
            stopping = asyncio.create_task(process.stop())
            while await probe.service(port):
                await pause()
            with pytest.raises(InvalidStatus) as refused:
                await connect(websocket_url)
            response = refused.value.response
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) >= 1
            assert response.headers["content-type"] == "application/problem+json"
            answer = await admin.request("GET", canvas_path)
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
            await socket.send(SYNC_STEP_1)
            while (await socket.recv())[:2] != SYNC_STEP_2:
                pass
            state.pause()
            try:
                pending = asyncio.create_task(admin.request("GET", canvas_path))
                await socket.wait_closed()
                assert socket.close_code == 1012
                while await accepts_connections(port):
                    await pause()
                # The gateway must answer the request before it stops. No event shows that it still runs, so wait 1 s.
                done, _ = await asyncio.wait({pending, stopping}, timeout=1)
                assert not done
            finally:
                state.resume()
            assert (await pending).json()["id"] == canvas
    assert await stopping == 0
    await own_stack.remove_replica(name)


async def accepts_connections(port: int) -> bool:
    """Return whether a process accepts TCP connections on the port."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except ConnectionError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize(
    ("replace", "strategy"),
    [
        (GatewayGroup.replace_one_by_one, fewest_connections),
        (GatewayGroup.replace_all_at_once, round_robin()),
    ],
    ids=["one by one, fewest connections", "all at once, round robin"],
)
async def test_replacing_all_gateways_under_load_loses_no_edit(
    own_stack: DevStack,
    driver: YjsDriver,
    gateways: GatewayGroup,
    replace: Callable[[GatewayGroup], Coroutine[None, None, None]],
    strategy: Strategy,
) -> None:
    """No edit is lost, and no client reconnects twice. Proves R-FAIL-17 and R-FAIL-11."""
    # HTTP requests use their own balancer, because the test counts the connections of `socket_balancer`.
    async with Balancer(strategy) as socket_balancer, Balancer(round_robin()) as http_balancer:
        await gateways.attach_balancers(socket_balancer, http_balancer)
        async with open_workspace(
            own_stack, driver, url=http_balancer.url, websocket_base=socket_balancer.url
        ) as workspace:
            try:
                groups = await asyncio.gather(
                    *(
                        EditorGroup.start(
                            workspace,
                            CLIENTS_PER_CANVAS,
                            seed=CLIENTS_PER_CANVAS * number,
                            rate=EDITS_PER_SECOND,
                        )
                        for number in range(CANVASES)
                    )
                )
                assert (
                    socket_balancer.connection_counts() == [CANVASES * CLIENTS_PER_CANVAS / 2] * 2
                )
                async with reading_canvas(workspace, groups[0]):
                    await replace(gateways)
                    await asyncio.gather(*(group.wait_for_edits() for group in groups))
                await asyncio.gather(*(group.stop_and_verify() for group in groups))
                await check_connections(groups)
            finally:
                await workspace.destroy_all()


@asynccontextmanager
async def reading_canvas(workspace: Workspace, editors: EditorGroup) -> AsyncIterator[None]:
    """Request the canvas over HTTP after each edit, and check that each request succeeds."""
    responses = 0

    async def read_after_each_edit() -> None:
        nonlocal responses
        edits = 0
        while True:
            edits = await workspace.driver.wait_for_edits(editors.clients, edits + 1)
            await workspace.owner.canvas(editors.canvas_id)
            responses += 1

    reader = asyncio.create_task(read_after_each_edit())
    try:
        yield
    finally:
        reader.cancel()
    with pytest.raises(asyncio.CancelledError):  # any other error is a failed request
        await reader
    assert responses
    print(f"\n{responses} HTTP requests, all answered", end="")


async def check_connections(groups: list[EditorGroup]) -> None:
    """Print the reconnects and pauses of all clients, and check that each has reconnected once."""
    statuses = [await client.status() for group in groups for client in group.clients]
    pauses = [status.longest_pause for status in statuses]
    print(
        f"\n{len(statuses)} editors, {sum(status.edits for status in statuses)} edits, none lost; "
        f"connections of a client: at most {max(status.connections for status in statuses)}; "
        f"pause: median {median(pauses):.0f} ms, longest {max(pauses):.0f} ms"
    )
    # Each client reconnects once, because its gateway was replaced.
    assert {status.connections for status in statuses} == {2}
    assert {status.closes for status in statuses} == {(Close(1012, "restarting"),)}
