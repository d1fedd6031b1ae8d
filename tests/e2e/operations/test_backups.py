"""Backup and recovery with an operator's curl commands, while clients are connected."""

from typing import Any

import httpx

from tests.e2e.clients.workspace import Workspace
from tests.e2e.operations.test_operations_guide import curl_request

CREATE = """curl -X POST \
  -H "Authorization: Bearer $TOKEN" \
  -H "Content-Type: application/json" \
  -d '{"state_type": "canvas", "backup_type": "full"}' \
  http://localhost:8000/state/backup/"""
LIST = """curl -H "Authorization: Bearer $TOKEN" \
  http://localhost:8000/state/backups/"""
RESTORE = """curl -X POST \
  -H "Authorization: Bearer $TOKEN" \
  http://localhost:8000/state/restore/backup_id_123"""
RESTORE_CANVAS = """curl -X POST \
  -H "Authorization: Bearer $TOKEN" \
  -H "Content-Type: application/json" \
  -d '{"canvas_id": "canvas_123"}' \
  http://localhost:8000/state/restore/canvas_backup_id"""


async def _curl(workspace: Workspace, command: str) -> Any:
    """Send the request of a curl command as the admin, and return the response's JSON."""
    request = curl_request(command, workspace.stack.url, await workspace.admin.access_token())
    async with httpx.AsyncClient(timeout=60) as http:
        response = await http.send(request)
    assert response.is_success, response.text
    return response.json()


async def test_restore_by_curl_commands_reaches_live_clients(
    workspace: Workspace, canvas: str
) -> None:
    """A live client sees the restored content, and other canvases are not changed. Proves R-BACKUP-7."""
    other = await workspace.create_canvas()
    client, idle = await workspace.connect(canvas), await workspace.connect(other)
    await client.add_element("kept", fill="red")
    await idle.add_element("first")
    await workspace.driver.wait_saved([client, idle])
    before = await client.content()

    backup_id = (await _curl(workspace, CREATE))["id"]
    record = await workspace.admin.wait_until_ended(f"/state/backups/{backup_id}")
    assert (record["status"], record["error"]) == ("complete", None)
    assert (await _curl(workspace, LIST))["items"][0]["id"] == backup_id

    await client.add_element("drawn-over")
    await client.edit({"op": "delete", "id": "kept"})
    await idle.add_element("second")
    await workspace.driver.wait_saved([client, idle])

    command = RESTORE_CANVAS.replace("canvas_backup_id", backup_id).replace("canvas_123", canvas)
    restore = await workspace.admin.wait_until_ended(
        f"/state/restores/{(await _curl(workspace, command))['id']}"
    )
    assert (restore["status"], restore["canvases"]) == ("complete", 1)
    await workspace.driver.wait_for_elements([client], "kept")
    assert await client.content() == before
    assert set((await idle.content())["elements"]) == {"first", "second"}

    body = {"state_type": "canvas", "canvas_id": canvas}
    canvas_backup = (await workspace.admin.request("POST", "/state/backup/", json=body)).json()
    await workspace.admin.wait_until_ended(f"/state/backups/{canvas_backup['id']}")
    await client.add_element("drawn-over-again")
    await workspace.driver.wait_saved([client])
    command = RESTORE.replace("backup_id_123", canvas_backup["id"])
    restore = await workspace.admin.wait_until_ended(
        f"/state/restores/{(await _curl(workspace, command))['id']}"
    )
    assert (restore["backup_id"], restore["status"]) == (canvas_backup["id"], "complete")
    assert await client.content() == before
    path = f"/state/restores/{restore['id']}/canvases/?outcome=replaced"
    replaced = (await workspace.admin.request("GET", path)).json()["items"]
    assert [each["canvas_id"] for each in replaced] == [canvas]


async def test_operations_on_backups_are_refused_for_an_editor(workspace: Workspace) -> None:
    """An editor cannot list, make, restore or delete backups. Proves R-BACKUP-3."""
    for method, path in (
        ("GET", "/state/backups/"),
        ("POST", "/state/backup/"),
        ("POST", "/state/restore/latest"),
        ("DELETE", "/state/backups/latest"),
    ):
        response = await workspace.owner.request(method, path)
        assert response.status_code == 403
