"""Undo and redo over HTTP, and events of a user interface, seen by a Yjs client."""

import httpx
import pytest

from tests.e2e.clients.problems import check_problem
from tests.e2e.clients.workspace import Workspace
from tests.e2e.clients.yjs_driver import YjsClient


async def send_event(
    workspace: Workspace, canvas: str, event_type: str, object_id: str, **data: object
) -> httpx.Response:
    """Send an event of the owner, and return the response, which may be an error."""
    body = {
        "canvas_id": canvas,
        "event_type": event_type,
        "object_id": object_id,
        "data": data,
    }
    return await workspace.owner.request("POST", "/runtime/ui-event/", json=body)


async def wait_until_equal(workspace: Workspace, canvas: str, client: YjsClient) -> None:
    """Wait until the client's document equals the canvas."""
    digest = await workspace.driver.digest_of(await workspace.owner.export(canvas, "yjs"))
    await workspace.driver.wait_converged([client], to=digest)


async def test_yjs_client_receives_undo_and_redo(workspace: Workspace, canvas: str) -> None:
    """The Yjs client's own values stay. Proves R-UNDO-1, R-UNDO-2 and R-ELEMENT-9."""
    (client,) = await workspace.connect_many(canvas, 1)
    owner, body = workspace.owner, {"canvas_id": canvas}
    for event in (
        await send_event(workspace, canvas, "create", "wall", tag="rect", attrs={"fill": "red"}),
        await send_event(workspace, canvas, "update", "wall", attrs={"fill": None, "width": "5"}),
    ):
        assert event.status_code == 200, event.text
    await workspace.driver.wait_for_elements([client], "wall")
    await client.edit({"op": "set", "id": "wall", "attrs": {"width": "7"}})
    await workspace.driver.wait_saved([client])
    undone = (await owner.request("POST", "/runtime/undo/", json=body)).json()
    counts = {"undo_count": 1, "redo_count": 1}
    assert undone == {"revision": 4, "changed": ["wall"], "skipped": ["wall"], **counts}
    await wait_until_equal(workspace, canvas, client)
    assert (await client.content())["elements"]["wall"]["attrs"] == {"fill": "red", "width": "7"}
    redone = (await owner.request("POST", "/runtime/redo/", json=body)).json()
    status = await owner.request("GET", "/runtime/undo/", params=body)
    assert status.json() == {"undo_count": 2, "redo_count": 0}
    assert (redone["changed"], redone["undo_count"], redone["redo_count"]) == (["wall"], 2, 0)
    await wait_until_equal(workspace, canvas, client)
    assert (await client.content())["elements"]["wall"]["attrs"] == {"width": "7"}


async def test_undo_without_an_edit_is_a_conflict(workspace: Workspace, canvas: str) -> None:
    """Proves R-UNDO-4."""
    for path in ("/runtime/undo/", "/runtime/redo/"):
        response = await workspace.owner.request("POST", path, json={"canvas_id": canvas})
        check_problem(response, 409, "conflict")


REFUSED: list[tuple[str, str, dict[str, object], int, str, str]] = [
    # type of the event, object, data, status, code and field of the problem
    ("delete", "none", {}, 404, "not_found", "object_id"),
    ("create", "wall", {"tag": "g"}, 409, "conflict", "object_id"),
    ("move", "wall", {"parent": "wall"}, 409, "conflict", "data.parent"),
    ("move", "wall", {}, 422, "invalid", "data"),
    ("create", "new", {}, 422, "invalid", "data.tag"),
    ("create", "new", {"tag": "script"}, 422, "invalid", "data.tag"),
    ("update", "wall", {"attrs": {"onload": ""}}, 422, "invalid", "data.attrs.onload"),
    ("delete", "wall", {"tag": "g"}, 422, "invalid", "data.tag"),
    ("paint", "wall", {}, 422, "invalid", "event_type"),
    ("update", "wall", {"color": "red"}, 422, "invalid", "data.color"),
]


@pytest.mark.parametrize("case", REFUSED)
async def test_refused_event_states_its_field_and_changes_nothing(
    workspace: Workspace, canvas: str, case: tuple[str, str, dict[str, object], int, str, str]
) -> None:
    """Proves R-ELEMENT-9."""
    event_type, object_id, data, status, code, field = case
    await send_event(workspace, canvas, "create", "wall", tag="rect")
    before = await workspace.owner.export(canvas, "yjs")
    response = await send_event(workspace, canvas, event_type, object_id, **data)
    problem = check_problem(response, status, code)
    assert problem["field"] == field
    assert field in str(problem["detail"])
    assert await workspace.owner.export(canvas, "yjs") == before
