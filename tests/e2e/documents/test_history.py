"""The history of a canvas: versions, a restore that connected Yjs clients see, and the undo of the restore."""

import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.clients.problems import check_problem
from tests.e2e.clients.workspace import Workspace


async def ask(workspace: Workspace, method: str, path: str, **options: Any) -> Any:
    """Send a request of the owner, and return the JSON of its successful response."""
    response = await workspace.owner.request(method, path, **options)
    assert response.is_success, response.text
    return response.json()


async def test_restored_version_reaches_live_clients_and_can_be_undone(
    workspace: Workspace, canvas: str
) -> None:
    """Two clients see the old content, keep editing, and see the undo of the restore.

    Before the restore, the version's difference lists all changes that were made after the version. Proves R-HIST-10,
    R-HIST-14 and R-HIST-15.
    """
    ann, bob = await workspace.connect_many(canvas, 2)
    await ann.edit(
        {"op": "canvas", "attrs": {"width": "40", "height": "20"}},
        {"op": "add", "id": "box", "tag": "rect", "attrs": {"width": "9", "height": "9"}},
        {"op": "add", "id": "gone", "tag": "circle", "order": "a1", "attrs": {"r": "3"}},
    )
    await workspace.driver.wait_saved([ann])
    path = f"/runtime/canvases/{canvas}/versions/"
    named = await ask(workspace, "POST", path, json={"name": "First draft"})
    old = await ann.content()

    await bob.edit(
        {"op": "set", "id": "box", "attrs": {"width": "15", "fill": "red"}},
        {"op": "delete", "id": "gone"},
        {"op": "add", "id": "new", "tag": "path", "attrs": {"d": "M0 0h5"}},
    )
    await workspace.driver.wait_saved([bob])
    drawn = await workspace.driver.wait_converged([ann, bob])
    difference = await ask(workspace, "GET", f"{path}{named['id']}/diff")
    changes = {each["id"]: each["change"] for each in difference["items"]}
    assert changes == {"box": "changed", "gone": "removed", "new": "added"}
    box = next(each for each in difference["items"] if each["id"] == "box")
    assert box["attrs"]["width"] == {"before": "9", "after": "15", "cut": False}
    assert box["attrs"]["fill"]["before"] is None

    picture = await workspace.owner.request("GET", f"{path}{named['id']}/thumbnail")
    assert picture.headers["content-type"] == "image/png"
    assert struct.unpack(">II", picture.content[16:24]) == (320, 160)

    restored = await ask(workspace, "POST", f"{path}{named['id']}/restore")
    await workspace.driver.wait_for_elements([ann, bob], "gone")
    await workspace.driver.wait_converged([ann, bob])
    assert await ann.content() == await bob.content() == old
    # An edit of the restored element reaches the other client, because the element kept its identity.
    await ann.edit({"op": "set", "id": "box", "attrs": {"stroke": "blue"}})
    await workspace.driver.wait_saved([ann])
    await workspace.driver.wait_converged([ann, bob])
    assert (await bob.content())["elements"]["box"]["attrs"]["stroke"] == "blue"

    before = restored["before"]
    assert (before["kind"], before["created_by"]) == ("before_restore", named["created_by"])
    await ask(workspace, "POST", f"{path}{before['id']}/restore")
    await workspace.driver.wait_for_elements([ann, bob], "new")
    undone = await workspace.driver.wait_converged([ann, bob])
    assert undone.content == drawn.content
    kinds = [each["kind"] for each in (await ask(workspace, "GET", path))["items"]]
    assert kinds == ["before_restore", "before_restore", "named"]


async def test_past_content_is_exported_by_time(workspace: Workspace, canvas: str) -> None:
    """`at` selects the content at a past time. A time outside the bounds gets 422. Proves R-HIST-8 and R-HIST-9."""
    files = {
        color: f'<svg xmlns="http://www.w3.org/2000/svg"><rect fill="{color}"/></svg>'.encode()
        for color in ("red", "blue")
    }
    await workspace.owner.import_svg(canvas, files["red"])
    path = f"/runtime/canvases/{canvas}"
    moment = await ask(workspace, "GET", f"{path}/moment")
    await workspace.owner.import_svg(canvas, files["blue"])
    past = await workspace.owner.request(
        "GET", f"{path}/export", params={"format": "svg", "at": moment["edited_at"]}
    )
    assert (b"red" in past.content, b"blue" in past.content) == (True, False)
    for at in (datetime.now(UTC) + timedelta(days=1), datetime(2000, 1, 1, tzinfo=UTC)):
        for place in ("export", "moment"):
            response = await workspace.owner.request(
                "GET", f"{path}/{place}", params={"at": at.isoformat()}
            )
            problem = check_problem(response, 422, "invalid")
            assert problem["field"] == "at"
            assert str(problem["limit"]) in problem["detail"]


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "x" * 201}, {"name": 5}])
async def test_version_without_a_usable_name_is_refused(
    workspace: Workspace, canvas: str, body: dict[str, Any]
) -> None:
    """The error names the field. Proves R-HTTP-2."""
    path = f"/runtime/canvases/{canvas}/versions/"
    response = await workspace.owner.request("POST", path, json=body)
    assert check_problem(response, 422, "invalid")["field"] == "name"
