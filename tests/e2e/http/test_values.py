"""Stored values over HTTP: versions, problem documents, keys in paths, and canvases as values."""

from typing import Any

from tests.e2e.clients.problems import check_problem
from tests.e2e.clients.workspace import Workspace


async def test_value_is_stored_read_and_deleted(workspace: Workspace) -> None:
    """Proves R-KV-1 and R-KV-3 over HTTP: a stale version gets 409 with the stored version in the problem document."""
    me = workspace.owner
    body: dict[str, Any] = {
        "key": "user:1@tab~a",
        "value": {"b": [1, "é"]},
        "state_type": "session",
    }
    first = await me.request("POST", "/state/persist/", json={**body, "metadata": {"tab": 7}})
    assert first.status_code == 200, first.text
    stored = first.json()
    found = await me.request("GET", "/state/retrieve/user:1@tab~a")
    assert found.json() == {**stored, "value": body["value"], "metadata": {"tab": 7}}
    assert stored["expires_at"] > stored["updated_at"]
    second = await me.request(
        "POST", "/state/persist/", json={**body, "value": 2, "version": stored["version"]}
    )
    assert second.status_code == 200
    stale = await me.request(
        "POST", "/state/persist/", json={**body, "value": 3, "version": stored["version"]}
    )
    problem = check_problem(stale, 409, "version_conflict")
    assert problem["current_version"] == second.json()["version"]
    assert problem["field"] == "version"
    path = "/state/retrieve/user%3A1%40tab~a/"
    gone = await me.request("DELETE", path, params={"version": second.json()["version"]})
    assert gone.status_code == 204
    check_problem(await me.request("GET", path), 404, "not_found")


async def test_canvas_is_retrieved_as_a_value_by_its_members_only(
    workspace: Workspace, canvas: str
) -> None:
    """Proves R-KV-11: members read the canvas under its key, and no value can be stored under this key."""
    path = f"/state/retrieve/canvas_state_{canvas}"
    found = await workspace.owner.request("GET", path)
    assert found.status_code == 200, found.text
    assert found.json()["value"]["elements"] == []
    assert found.json()["state_type"] == "canvas"
    other = workspace.api.session_of(await workspace.create_user())
    check_problem(await other.request("GET", path), 403, "forbidden")
    # An encoded key reaches the route of stored values, which refuses keys of canvases.
    encoded_path = path.replace("canvas_", "canvas%5F")
    check_problem(await other.request("GET", encoded_path), 422, "invalid")
    body = {"key": f"canvas_state_{canvas}", "value": {}}
    refused = await workspace.owner.request("POST", "/state/persist/", json=body)
    assert check_problem(refused, 422, "invalid")["field"] == "key"
    refused = await workspace.owner.request("DELETE", path)
    assert check_problem(refused, 422, "invalid")["field"] == "key"
    check_problem(
        await workspace.owner.request("GET", "/state/retrieve/canvas_state_unknown"),
        404,
        "not_found",
    )
