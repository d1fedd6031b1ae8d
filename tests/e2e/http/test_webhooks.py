"""Webhooks over HTTP. They receive account events from auth and canvas events from state."""

from tests.e2e.clients.problems import check_problem
from tests.e2e.clients.workspace import Workspace
from tests.receiver import receiver

WEBHOOKS = "/admin/webhooks/"


async def test_admin_receives_events_of_accounts_and_canvases(workspace: Workspace) -> None:
    """The events come from auth and state, and are signed. Proves R-EVENT-2, R-EVENT-4 and R-EVENT-5."""
    admin = workspace.admin
    async with receiver() as hook:
        body = {"url": hook.url, "types": ["user.deleted", "canvas.renamed"], "note": "test"}
        created = await admin.request("POST", WEBHOOKS, json=body)
        assert created.status_code == 201
        webhook = created.json()
        path = f"{WEBHOOKS}{webhook['id']}"
        user = await workspace.create_user()
        canvas_id = await workspace.create_canvas()
        canvas_path = f"/runtime/canvases/{canvas_id}"
        await workspace.owner.request("PATCH", canvas_path, json={"name": "another name"})
        await admin.request("DELETE", f"/admin/users/{user.id}")
        wanted = {("canvas.renamed", canvas_id), ("user.deleted", user.id)}
        count = 0
        while not wanted <= {
            (each.event["type"], each.event["entity_id"]) for each in hook.received
        }:
            count += 1
            await hook.wait_for(count)
        assert all(each.is_signed_with(webhook["secret"]) for each in hook.received)
        shown = await admin.request("GET", path)
        assert "secret" not in shown.json()
        listed = await admin.request("GET", f"{path}/deliveries/?status=delivered")
        assert listed.status_code == 200
        assert (await admin.request("DELETE", path)).status_code == 204
        check_problem(await admin.request("GET", path), 404, "not_found")


async def test_webhook_to_a_private_address_is_refused(workspace: Workspace) -> None:
    """The problem document names the field. Proves R-EVENT-9."""
    for url in ("http://169.254.169.254/latest/", "https://10.0.0.1/", "http://0x7f.1/"):
        response = await workspace.admin.request("POST", WEBHOOKS, json={"url": url})
        assert check_problem(response, 422, "invalid")["field"] == "url"
