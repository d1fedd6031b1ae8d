"""JSON clients beside Yjs clients on one canvas."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator

import pytest

from svgx_common.contract.live.element_changes import MAX_BODY_BYTES
from svgx_gateway.websocket.json_clients.lock_pace import BURST, RATE
from tests.e2e.accounts.test_share_links import create_link
from tests.e2e.clients.api import ApiSession
from tests.e2e.clients.json_client import Event, JsonClient, connect_json
from tests.e2e.clients.workspace import Workspace

RECT: Event = {"op": "create", "id": "roof", "tag": "rect", "attrs": {"width": "3"}}


@contextlib.asynccontextmanager
async def joined(
    workspace: Workspace, canvas: str, session: ApiSession | None = None
) -> AsyncIterator[JsonClient]:
    """Connect a JSON client, and do its handshake."""
    async with connect_json(workspace, canvas, session=session) as client:
        await client.handshake()
        yield client


async def member(workspace: Workspace, canvas: str, role: str) -> ApiSession:
    """Return the session of a new account with this role on the canvas."""
    user = await workspace.create_user()
    await workspace.owner.set_member(canvas, user, role)
    return workspace.api.session_of(user)


@pytest.mark.parametrize("canvas_id", ["", "*", "a.b", "00000000-0000-4000-8000-000000000000"])
async def test_missing_or_unknown_canvas_closes_the_socket_with_4404(
    workspace: Workspace, canvas_id: str
) -> None:
    """The query has no canvas, no id of a canvas, or the id of no canvas. Proves R-JSON-1."""
    async with connect_json(workspace, canvas_id) as client:
        assert await client.wait_closed() == 4404


async def test_caller_without_access_is_closed_as_a_yjs_client(
    workspace: Workspace, canvas: str
) -> None:
    """A wrong token gets 4401, and an account without a role on the canvas gets 4403. Proves R-JSON-1."""
    async with connect_json(workspace, canvas, token="garbage") as client:
        assert await client.wait_closed() == 4401
    stranger = workspace.api.session_of(await workspace.create_user())
    async with connect_json(workspace, canvas, session=stranger) as client:
        assert await client.wait_closed() == 4403


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([b"\x00"], 4400),
        (["no JSON"], 4400),
        (["[]"], 4400),
        (['{"type": 7}'], 4400),
        (['{"type": "edit"}'], 4400),
        (['{"type": "ping"}'], 4400),
        (['{"type": "handshake"}', '{"type": "handshake"}'], 4400),
        (['{"type": "handshake", "more": 1}'], 4400),
        ([json.dumps({"type": "handshake", "x": "x" * MAX_BODY_BYTES})], 4413),
        ([json.dumps({"type": "handshake", "x": [0] * 60_000})], 4413),
    ],
)
async def test_malformed_message_closes_the_socket(
    workspace: Workspace, canvas: str, messages: list[str | bytes], code: int
) -> None:
    """The message is malformed, too large, or at the wrong time. Proves R-JSON-1."""
    async with connect_json(workspace, canvas) as client:
        for message in messages:
            await client.socket.send(message)
        assert await client.wait_closed() == code


async def test_handshake_is_answered_with_the_state_of_the_canvas(
    workspace: Workspace, canvas: str
) -> None:
    """The answer has the role, the present clients and the locks. The export has the revision. Proves R-JSON-3."""
    yjs = await workspace.connect(canvas)
    await workspace.driver.wait_synced([yjs])
    await yjs.add_element("by-yjs")
    await workspace.driver.wait_saved([yjs])
    body = {"canvas_id": canvas, "object_id": "by-yjs"}
    lock = (await workspace.owner.request("POST", "/runtime/lock/", json=body)).json()
    session = await member(workspace, canvas, "viewer")
    async with joined(workspace, canvas, session) as client:
        hello = client.hello
        assert (hello["role"], hello["canvas_id"], hello["session_id"]) == (
            "viewer",
            canvas,
            "tab-1",
        )
        assert hello["revision"] >= 1
        assert [each["state"] for each in hello["members"]] == [{"name": yjs.name}]
        assert hello["locks"] == [lock]
        assert set(client.elements) == {"by-yjs"}


async def test_edits_of_json_clients_and_yjs_clients_reach_both(
    workspace: Workspace, canvas: str
) -> None:
    """Creations, changes, moves and deletions arrive, and both have the saved content. Proves R-JSON-4, R-JSON-5."""
    yjs = await workspace.connect(canvas)
    await workspace.driver.wait_synced([yjs])
    async with joined(workspace, canvas) as author, joined(workspace, canvas) as reader:
        saved = await author.ask("edit_operation", "saved", operations=[RECT])
        assert saved["created"] == ["roof"]
        await workspace.driver.wait_for_elements([yjs], "roof")
        await reader.wait_for_element("roof", width="3")
        await author.wait_for_element("roof", width="3")

        await yjs.add_element("by-yjs", "circle", r="7")
        await reader.wait_for_element("by-yjs", r="7")
        operations = [
            {"op": "create", "id": "group", "tag": "g"},
            {"op": "move", "id": "roof", "parent": "group"},
            {"op": "update", "id": "", "attrs": {"viewBox": "0 0 9 9"}},
        ]
        await author.ask("edit_operation", "saved", operations=operations)
        await reader.wait_for_element("group")
        await author.ask("edit_operation", "saved", operations=[{"op": "delete", "id": "group"}])
        await reader.wait_until_gone("roof")
        for client in (author, reader):
            await client.wait_until_equal()
            assert client.root == {"viewBox": "0 0 9 9"}
            assert set(client.elements) == {"by-yjs"}


async def test_drag_of_a_json_client_is_undone_at_once(workspace: Workspace, canvas: str) -> None:
    """The edits have one undo group, also the last one, which is an event over HTTP. Proves R-UNDO-9."""
    event = {
        "canvas_id": canvas,
        "event_type": "update",
        "object_id": "roof",
        "data": {"attrs": {"width": "20"}},
        "undo_group": "drag-1",
    }
    async with joined(workspace, canvas) as client:
        await client.ask("edit_operation", "saved", operations=[RECT])
        for width in range(10, 20):
            update = {"op": "update", "id": "roof", "attrs": {"width": str(width)}}
            await client.ask("edit_operation", "saved", operations=[update], undo_group="drag-1")
        await workspace.owner.request("POST", "/runtime/ui-event/", json=event)
        await client.wait_for_element("roof", width="20")
        undone = await workspace.owner.request("POST", "/runtime/undo/", json={"canvas_id": canvas})
        assert undone.json()["undo_count"] == 1
        await client.wait_for_element("roof", width="3")


async def test_message_without_an_effect_gets_an_error_with_its_id(
    workspace: Workspace, canvas: str
) -> None:
    """The error names the field and the limit, and the connection stays open. Proves R-JSON-2."""
    async with joined(workspace, canvas) as client:
        wrong = {**RECT, "op": "crate"}
        error = await client.ask("edit_operation", "error", operations=[wrong])
        assert (error["code"], error["field"]) == ("invalid", "operations[0].op")
        error = await client.ask("lock_request", "error", object_id="roof", seconds=301)
        assert (error["code"], error["field"]) == ("invalid", "seconds")
        unknown = [{"op": "delete", "id": "roof"}]
        error = await client.ask("edit_operation", "error", operations=unknown)
        assert (error["code"], error["field"]) == ("not_found", "operations[0].id")
        await client.send("user_activity", activity={"note": "x" * 20_000})
        error = await client.wait_for("error")
        assert (error["code"], error["field"], error["limit"]) == ("invalid", "activity", 16_384)
        for number in (float("nan"), float("inf")):
            await client.send("user_activity", activity={"x": number})
            error = await client.wait_for("error")
            assert (error["code"], error["field"]) == ("invalid", "activity")
        half = [{**RECT, "id": "half", "attrs": {"fill": "\ud83d"}}]
        error = await client.ask("edit_operation", "error", operations=half)
        assert error["code"] == "invalid", "half an emoji is no text, but JSON permits it"
        assert (await client.ask("ping", "pong"))["id"] == "ping"


async def test_viewer_gets_errors_and_changes_nothing(workspace: Workspace, canvas: str) -> None:
    """Edits and locks need an editor. A new role is announced, and counts at once. Proves R-JSON-3, R-JSON-4."""
    user = await workspace.create_user()
    await workspace.owner.set_member(canvas, user, "viewer")
    session = workspace.api.session_of(user)
    async with joined(workspace, canvas, session) as client:
        for kind, fields in (
            ("edit_operation", {"operations": [RECT]}),
            ("lock_request", {"object_id": "roof"}),
            ("lock_release", {"object_id": "roof"}),
        ):
            assert (await client.ask(kind, "error", **fields))["code"] == "forbidden"
        await workspace.owner.set_member(canvas, user, "editor")
        assert (await client.wait_for("role"))["role"] == "editor"
        await client.ask("edit_operation", "saved", operations=[RECT])


async def test_presence_of_json_clients_and_yjs_clients_reaches_both(
    workspace: Workspace, canvas: str
) -> None:
    """Each kind sees the other's arrival, changes and departure. Proves R-JSON-5."""
    async with joined(workspace, canvas) as watcher:
        await watcher.send("user_activity", activity={"name": "watcher"})
        async with joined(workspace, canvas) as client:
            arrived = await watcher.wait_for("user_joined")
            assert arrived["client"] == client.hello["client"]
            assert arrived["state"]["user"]["name"] == workspace.owner.username
            yjs = await workspace.connect(canvas)
            await workspace.driver.wait_synced([yjs])
            await client.wait_for("user_joined", state={"name": yjs.name})
            await client.send("user_activity", activity={"name": "robot", "cursor": {"x": 1}})
            user = arrived["state"]["user"]
            state = {"name": "robot", "cursor": {"x": 1}, "user": user, "session_id": "tab-1"}
            await watcher.wait_for("user_activity", client=client.hello["client"], state=state)
            await workspace.driver.wait_for_presence([yjs], [yjs.name, "robot", "watcher"])
        assert (await watcher.wait_for("user_left"))["client"] == client.hello["client"]


async def test_visitor_chooses_its_name_in_presence_and_an_account_does_not(
    workspace: Workspace, canvas: str
) -> None:
    """Both show a name and an id in `user`. The gateway sets the id, and an account's name.

    Proves R-JSON-5 and R-LIFE-1.
    """
    link = await create_link(workspace.owner, canvas, "viewer")
    shown = {"id": "somebody", "name": "Zoe", "color": "red"}
    async with (
        joined(workspace, canvas) as owner,
        connect_json(workspace, canvas, token=link["token"]) as visitor,
    ):
        await visitor.handshake()
        identity = {"id": f"link-{link['id']}", "name": "share link"}
        assert (await owner.wait_for("user_joined"))["state"]["user"] == identity
        for name, expected in (("Zoe", "Zoe"), (7, "share link")):
            await visitor.send("user_activity", activity={"user": {**shown, "name": name}})
            await wait_until_shown(owner, {**shown, **identity, "name": expected})
        await owner.send("user_activity", activity={"user": shown})
        account = {"id": owner.hello["user_id"], "name": workspace.owner.username}
        await wait_until_shown(visitor, {**shown, **account})


async def wait_until_shown(client: JsonClient, user: dict[str, str]) -> None:
    """Wait for a state with this `user`. Earlier states may arrive again, because their clients renew them."""
    async with asyncio.timeout(20):
        while (await client.wait_for("user_activity"))["state"]["user"] != user:
            pass


async def test_locks_are_announced_to_all_json_clients(workspace: Workspace, canvas: str) -> None:
    """A lock over HTTP is announced, a second editor is denied, and the release is announced. Proves R-JSON-5."""
    session = await member(workspace, canvas, "editor")
    async with joined(workspace, canvas) as owner, joined(workspace, canvas, session) as other:
        body = {"canvas_id": canvas, "object_id": "roof"}
        response = await workspace.owner.request("POST", "/runtime/lock/", json=body)
        lock = response.json()
        for client in (owner, other):
            assert (await client.wait_for("lock_acquired"))["lock"] == lock
        for kind in ("lock_request", "lock_release"):
            denied = await other.ask(kind, "lock_denied", object_id="roof")
            assert denied["object_id"] == "roof"
        await owner.ask("lock_release", "lock_released", object_id="roof")
        released = await other.wait_for("lock_released")
        assert (released["object_id"], released["user_id"]) == ("roof", lock["user_id"])
        acquired = await other.ask("lock_request", "lock_acquired", object_id="roof", seconds=60)
        announced = await owner.wait_for("lock_acquired")
        assert announced["lock"] == acquired["lock"]


async def test_locks_beyond_the_pace_of_an_account_wait_and_are_not_refused(
    workspace: Workspace, canvas: str
) -> None:
    """Meanwhile another account locks, and the account edits in another connection. Proves R-JSON-4."""
    session = await member(workspace, canvas, "editor")
    count = int(BURST) + 60
    last = str(count - 1)
    async with (
        joined(workspace, canvas) as flood,
        joined(workspace, canvas) as second,
        joined(workspace, canvas, session) as other,
    ):
        started = time.monotonic()
        for number in range(count):
            await flood.send("lock_request", id=str(number), object_id=str(number))
        await other.wait_for_lock(str(int(BURST) - 1))
        await other.ask("lock_request", "lock_acquired", object_id="other")
        await second.ask("edit_operation", "saved", operations=[RECT])
        for client in (other, second):
            await client.wait_for_lock(last)
        await flood.wait_for("lock_acquired", id=last)
        assert time.monotonic() - started >= (count - BURST - 1) / RATE
        response = await workspace.owner.request(
            "GET", "/runtime/lock-status/", params={"canvas_id": canvas}
        )
        assert len(response.json()["items"]) == count + 1


async def test_refused_token_closes_the_socket_with_4401(workspace: Workspace, canvas: str) -> None:
    """A fresh token of the account keeps the connection, and any other token ends it. Proves R-JSON-2."""
    async with joined(workspace, canvas) as client:
        await client.send("token", token=await workspace.owner.access_token())
        await client.ask("ping", "pong")
        await client.send("token", token="garbage")
        assert await client.wait_closed() == 4401


async def test_import_of_a_large_file_makes_json_clients_load_the_canvas_again(
    workspace: Workspace, canvas: str
) -> None:
    """More elements change than an event may have, so the clients get `reload`. Proves R-JSON-7."""
    async with joined(workspace, canvas) as client:
        rects = "".join(f'<rect width="{number}"/>' for number in range(1, 1001))
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">{rects}</svg>'
        await workspace.owner.import_svg(canvas, svg.encode())
        while not client.reloads:
            await client.wait_for("reload")
        await client.wait_until_equal()
        assert len(client.elements) == 1000


async def test_copy_of_a_json_client_equals_the_canvas_after_concurrent_edits(
    workspace: Workspace, canvas: str
) -> None:
    """Two Yjs clients edit at random while a JSON client edits and follows. Proves R-JSON-5 and R-JSON-6."""
    editors = await workspace.connect_many(canvas, 2)
    async with joined(workspace, canvas) as client:
        await workspace.driver.start_random_edits(editors, seed=1, rate=20)
        for number in range(10):
            operation = {**RECT, "id": f"json-{number}"}
            await client.ask("edit_operation", "saved", operations=[operation])
        await workspace.driver.stop_random_edits(editors)
        await workspace.driver.wait_saved(editors)
        async with asyncio.timeout(60):
            await client.wait_until_equal()
