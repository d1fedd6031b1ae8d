"""Locks of objects over HTTP."""

from typing import Any

import httpx
import pytest

from tests.e2e.clients.api import ApiSession
from tests.e2e.clients.problems import check_problem
from tests.e2e.clients.workspace import Workspace


async def send(
    session: ApiSession, path: str, canvas: str, object_id: str = "roof", **fields: Any
) -> httpx.Response:
    """Send a request about an object's lock, and return the response, which may be an error."""
    body = {"canvas_id": canvas, "object_id": object_id, **fields}
    return await session.request("POST", f"/runtime/{path}/", json=body)


async def test_second_editor_gets_409_until_the_lock_is_released(
    workspace: Workspace, canvas: str
) -> None:
    """All members see the lock, and the response states when to try again. Proves R-LOCK-1, R-LOCK-2 and R-LOCK-3."""
    user = await workspace.create_user()
    await workspace.owner.set_member(canvas, user, "editor")
    other = workspace.api.session_of(user)
    response = await send(workspace.owner, "lock", canvas, seconds=60)
    assert response.status_code == 200, response.text
    lock = response.json()
    assert lock["username"] == workspace.owner.username
    refused = await send(other, "lock", canvas)
    problem = check_problem(refused, 409, "conflict")
    assert problem["field"] == "object_id"
    assert 0 < int(refused.headers["retry-after"]) <= 60
    check_problem(await send(other, "unlock", canvas), 409, "conflict")
    params = {"canvas_id": canvas}
    status = await other.request("GET", "/runtime/lock-status/", params=params)
    assert status.json() == {"items": [lock]}
    released = await send(workspace.owner, "unlock", canvas)
    assert (released.status_code, released.json()) == (200, {"released": True})
    assert (await send(other, "lock", canvas)).status_code == 200


async def test_role_on_the_canvas_decides_about_locks(workspace: Workspace, canvas: str) -> None:
    """A viewer sees locks and makes none, and an account without a role sees none. Proves R-LOCK-3."""
    user = await workspace.create_user()
    session = workspace.api.session_of(user)
    status = f"/runtime/lock-status/?canvas_id={canvas}&object_id=roof"
    check_problem(await session.request("GET", status), 403, "forbidden")
    await workspace.owner.set_member(canvas, user, "viewer")
    assert (await session.request("GET", status)).json() == {"items": []}
    for path in ("lock", "unlock"):
        check_problem(await send(session, path, canvas), 403, "forbidden")
    check_problem(await send(workspace.owner, "lock", "0" * 36), 404, "not_found")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"seconds": 0}, "seconds"),
        ({"seconds": 301}, "seconds"),
        ({"object_id": ""}, "object_id"),
        ({"object_id": "x" * 257}, "object_id"),
    ],
)
async def test_invalid_lock_is_refused_with_its_field(
    workspace: Workspace, canvas: str, fields: dict[str, Any], field: str
) -> None:
    """Proves R-LOCK-1: a lock has a lifetime of 1 to 300 s, and an object id of 1 to 256 characters."""
    problem = check_problem(await send(workspace.owner, "lock", canvas, **fields), 422, "invalid")
    assert field in (problem.get("field"), *(each["field"] for each in problem.get("errors", [])))
