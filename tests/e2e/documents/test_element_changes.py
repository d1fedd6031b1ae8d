"""Changes of elements over HTTP, seen by a Yjs client."""

import json
import secrets
from collections.abc import Mapping

import httpx
import pytest

from svgx_common.contract.live.element_changes import MAX_BODY_BYTES, MAX_OPERATIONS
from tests.e2e.clients.api import ApiSession
from tests.e2e.clients.problems import check_problem
from tests.e2e.clients.workspace import Workspace


async def change(
    session: ApiSession, canvas: str, *operations: Mapping[str, object], **headers: str
) -> httpx.Response:
    """Send the operations in one request, and return the response, which may be an error."""
    return await session.request(
        "POST",
        f"/runtime/canvases/{canvas}/elements/batch",
        json={"operations": operations},
        headers=headers,
    )


async def test_yjs_client_receives_the_changes(workspace: Workspace, canvas: str) -> None:
    """A connected client sees a created element. Proves R-ELEMENT-3."""
    (client,) = await workspace.connect_many(canvas, 1)
    rect = {"op": "create", "id": "wall", "tag": "rect", "attrs": {"width": "5", "height": "4"}}
    response = await change(workspace.owner, canvas, rect)
    assert response.status_code == 200, response.text
    assert response.json() == {"revision": 1, "created": ["wall"]}
    await workspace.driver.wait_for_elements([client], "wall")
    wall = (await client.content())["elements"]["wall"]
    assert wall == {
        "tag": "rect",
        "parent": "",
        "order": "a0",
        "attrs": {"width": "5", "height": "4"},
    }


async def test_changes_merge_with_the_edits_of_yjs_clients(
    workspace: Workspace, canvas: str
) -> None:
    """All operations arrive together, and leave the client's other values alone. Proves R-ELEMENT-3 and R-ELEMENT-5."""
    (client,) = await workspace.connect_many(canvas, 1)
    for each in ("wall", "door", "tree"):
        await client.add_element(each, fill="red", x="1")
    await workspace.driver.wait_saved([client])
    response = await change(
        workspace.owner,
        canvas,
        {"op": "create", "id": "house", "tag": "g"},
        {"op": "move", "id": "wall", "parent": "house"},
        {"op": "move", "id": "door", "before": "wall"},
        {"op": "update", "id": "wall", "attrs": {"fill": None, "width": "5"}},
        {"op": "delete", "id": "tree"},
    )
    assert response.status_code == 200, response.text
    await client.edit({"op": "set", "id": "wall", "attrs": {"x": "2"}})
    await workspace.driver.wait_saved([client])
    await workspace.driver.wait_for_elements([client], "house")
    stored = (await client.content())["elements"]
    assert stored.keys() == {"house", "wall", "door"}
    assert stored["wall"]["attrs"] == {"x": "2", "width": "5"}
    exported = json.loads(await workspace.owner.export(canvas, "json"))["elements"]
    assert [(each["id"], each["parent"]) for each in exported] == [
        ("house", ""),
        ("door", "house"),
        ("wall", "house"),
    ]
    digest = await client.digest()
    assert await workspace.driver.digest_of(await workspace.owner.export(canvas, "yjs")) == digest


RECT = {"op": "create", "tag": "rect"}

REFUSED: list[tuple[dict[str, object], int, str, str]] = [
    # operation, status, code and field of the problem
    ({"op": "delete", "id": "none"}, 404, "not_found", "operations[1].id"),
    ({"op": "create", "id": "wall", "tag": "g"}, 409, "conflict", "operations[1].id"),
    ({"op": "move", "id": "wall", "parent": "wall"}, 409, "conflict", "operations[1].parent"),
    ({"op": "create", "tag": "script"}, 422, "invalid", "operations[1].tag"),
    (
        {"op": "update", "id": "wall", "attrs": {"onload": ""}},
        422,
        "invalid",
        "operations[1].attrs.onload",
    ),
    ({"op": "create"}, 422, "invalid", "operations[1].tag"),
    ({"op": "create", "tag": "g", "before": "a", "order": "a0"}, 422, "invalid", "operations[1]"),
    ({"op": "move", "id": "wall"}, 422, "invalid", "operations[1]"),
    ({"op": "paint", "id": "wall"}, 422, "invalid", "operations[1].op"),
    ({"op": "create", "tag": "g", "attrs": {"x": 5}}, 422, "invalid", "operations[1].attrs.x"),
]


@pytest.mark.parametrize("case", REFUSED)
async def test_refused_changes_state_the_field_and_change_nothing(
    workspace: Workspace, canvas: str, case: tuple[dict[str, object], int, str, str]
) -> None:
    """Proves R-ELEMENT-1."""
    operation, status, code, field = case
    await change(workspace.owner, canvas, {**RECT, "id": "wall"})
    before = await workspace.owner.export(canvas, "yjs")
    response = await change(workspace.owner, canvas, RECT, operation)
    assert check_problem(response, status, code)["field"] == field
    assert await workspace.owner.export(canvas, "yjs") == before


async def test_size_of_a_request_is_bounded(workspace: Workspace, canvas: str) -> None:
    """A request has 1 to 500 operations, and 1 MiB at most. Proves R-ELEMENT-7."""
    for count in (0, MAX_OPERATIONS + 1):
        response = await change(workspace.owner, canvas, *[RECT] * count)
        assert check_problem(response, 422, "invalid")["field"] == "operations"
    long = {**RECT, "attrs": {"d": " " * MAX_BODY_BYTES}}
    check_problem(await change(workspace.owner, canvas, long), 413, "too_large")
    response = await change(workspace.owner, canvas, *[RECT] * MAX_OPERATIONS)
    assert len(set(response.json()["created"])) == MAX_OPERATIONS


async def test_request_with_a_repeated_key_is_carried_out_once(
    workspace: Workspace, canvas: str
) -> None:
    """The second response has the ids of the first one. Proves R-ELEMENT-3."""
    key = {"Idempotency-Key": secrets.token_hex(8)}
    first = await change(workspace.owner, canvas, RECT, **key)
    second = await change(workspace.owner, canvas, RECT, **key)
    assert first.json() == second.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    exported = json.loads(await workspace.owner.export(canvas, "json"))
    assert [each["id"] for each in exported["elements"]] == first.json()["created"]


async def test_account_beyond_its_quota_may_only_delete_elements(
    workspace: Workspace, canvas: str
) -> None:
    """Proves R-QUOTA-3."""
    member = await workspace.create_user()
    await workspace.owner.set_member(canvas, member, "editor")
    session = workspace.api.session_of(member)
    await change(session, canvas, {**RECT, "id": "a"}, {**RECT, "id": "b"})
    config = "/security/quotas/config/"
    quotas = {"users": {member.id: {"journal_bytes_per_day": 0}}}
    assert (await workspace.admin.request("PUT", config, json=quotas)).status_code == 200
    try:
        delete = {"op": "delete", "id": "a"}
        refused = await change(session, canvas, delete, RECT)
        assert check_problem(refused, 429, "quota_exceeded")["limit"] == 0
        assert (await change(session, canvas, delete)).status_code == 200
    finally:
        await workspace.admin.request("PUT", config, json={})
    exported = json.loads(await workspace.owner.export(canvas, "json"))
    assert [each["id"] for each in exported["elements"]] == ["b"]
