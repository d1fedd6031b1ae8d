"""Gateways are replaced while people draw: each of them reconnects once, and nobody loses anything."""

import asyncio
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

pytestmark = pytest.mark.timeout(240)

CANVASES, EACH = 10, 20
"""200 people."""

RATE = 0.5
"""Edits a second that each of them makes."""

SETTINGS = {
    **HIGH_LIMITS,
    "DRAIN_NOTICE_SECONDS": "3",
    "WEBSOCKET_DRAIN_SECONDS": "3",
    "DRAIN_SECONDS": "10",
    # A hundred who come back within three seconds, and all the rest, on a few cores.
    "SHED_LAG_SECONDS": "30",
}
SYNC_STEP_1, SYNC_STEP_2 = bytes([0, 0, 1, 0]), bytes([0, 1])


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevStack]:
    """A stack of its own: its gateways come and go."""
    async with DevStack(tmp_path_factory.mktemp("rolling"), settings=SETTINGS) as stack:
        yield stack


@pytest.fixture(scope="module")
async def gateways(own_stack: DevStack) -> GatewayGroup:
    """Two gateways."""
    gateways = GatewayGroup(own_stack)
    await gateways.add_gateway()
    return gateways


async def test_a_gateway_that_stops_finishes_what_it_has(own_stack: DevStack) -> None:
    """Proves R-FAIL-15 and R-FAIL-16: nothing new begins, what is there stays for a while, and ends in order."""
    name = await own_stack.add_replica("gateway")
    port, process = own_stack.port(name), own_stack.process(name)
    state = own_stack.process("state")
    async with open_api(own_stack.service_url(name)) as api:
        admin = api.session(own_stack.admin_username, own_stack.admin_password)
        canvas = await admin.create_canvas("The last one")
        page = f"/runtime/canvases/{canvas}"
        live = f"{api.websocket_url}/{canvas}?token={await admin.access_token()}"
        async with connect(live) as socket:
            assert "connection" not in (await admin.request("GET", page)).headers
            stopping = asyncio.create_task(process.stop())
            while await probe.service(port):
                pass
            with pytest.raises(InvalidStatus) as refused:
                await connect(live)
            refusal = refused.value.response
            assert refusal.status_code == 503
            assert int(refusal.headers["retry-after"]) >= 1
            assert refusal.headers["content-type"] == "application/problem+json"
            answer = await admin.request("GET", page)
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
            await socket.send(SYNC_STEP_1)
            while (await socket.recv())[:2] != SYNC_STEP_2:
                pass
            state.pause()
            try:
                slow = asyncio.create_task(admin.request("GET", page))
                await socket.wait_closed()
                assert socket.close_code == 1012
                while await listens(port):
                    pass
                # What must not happen has no event: so long it would have time to end without the answer.
                ended, _ = await asyncio.wait({slow, stopping}, timeout=1)
                assert not ended
            finally:
                state.resume()
            assert (await slow).json()["id"] == canvas
    assert await stopping == 0
    await own_stack.remove_replica(name)


async def listens(port: int) -> bool:
    """Whether anybody takes connections there."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except ConnectionError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize(
    ("roll", "choose"),
    [
        (GatewayGroup.replace_one_by_one, fewest_connections),
        (GatewayGroup.replace_all_at_once, round_robin()),
    ],
    ids=["one after the other, fewest connections", "all new ones first, in turns"],
)
async def test_all_gateways_are_replaced_under_200_editors(
    own_stack: DevStack,
    driver: YjsDriver,
    gateways: GatewayGroup,
    roll: Callable[[GatewayGroup], Coroutine[None, None, None]],
    choose: Strategy,
) -> None:
    """Proves R-FAIL-17 and R-FAIL-11: nothing is lost, and nobody reconnects twice."""
    # Pages have a balancer of their own: its people come and go, and are none of those that are counted.
    async with Balancer(choose) as sockets, Balancer(round_robin()) as pages:
        await gateways.attach_balancers(sockets, pages)
        async with open_workspace(own_stack, driver, url=pages.url, live=sockets.url) as workspace:
            try:
                groups = await asyncio.gather(
                    *(
                        EditorGroup.start(workspace, EACH, seed=EACH * number, rate=RATE)
                        for number in range(CANVASES)
                    )
                )
                assert sockets.connection_counts() == [CANVASES * EACH / 2] * 2
                async with visiting(workspace, groups[0]):
                    await roll(gateways)
                    await asyncio.gather(*(group.wait_for_edits() for group in groups))
                await asyncio.gather(*(group.stop_and_verify() for group in groups))
                await tell_and_judge(groups)
            finally:
                await workspace.destroy_all()


@asynccontextmanager
async def visiting(workspace: Workspace, editors: EditorGroup) -> AsyncIterator[None]:
    """Somebody asks for the canvas whenever something is drawn, and is always answered."""
    answers = 0

    async def visit() -> None:
        nonlocal answers
        drawn = 0
        while True:
            drawn = await workspace.driver.wait_for_edits(editors.clients, drawn + 1)
            await workspace.owner.canvas(editors.canvas_id)
            answers += 1

    visitor = asyncio.create_task(visit())
    try:
        yield
    finally:
        visitor.cancel()
    with pytest.raises(asyncio.CancelledError):  # anything else is what went wrong
        await visitor
    assert answers
    print(f"\n{answers} pages, all answered", end="")


async def tell_and_judge(groups: list[EditorGroup]) -> None:
    """What it was like for the people."""
    found = [await client.status() for group in groups for client in group.clients]
    pauses = [each.longest_pause for each in found]
    print(
        f"\n{len(found)} editors, {sum(each.edits for each in found)} edits, none lost; "
        f"connections of a client: at most {max(each.connections for each in found)}; "
        f"pause: median {median(pauses):.0f} ms, longest {max(pauses):.0f} ms"
    )
    # Each was on a gateway that is not there any more.
    assert {each.connections for each in found} == {2}
    assert {each.closes for each in found} == {(Close(1012, "restarting"),)}
