"""Share links, restores of accounts and canvases, and the erasure of a user, with real Yjs clients.

Visitors with a link see and edit a canvas without an account, until the link ends.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from svgx_common.contract.operation import SERVICES
from tests.e2e.accounts.test_revocation import MAX_DELAY
from tests.e2e.clients.api import CANVASES, SVG_TYPE, ApiSession
from tests.e2e.clients.workspace import Workspace
from tests.e2e.clients.yjs_driver import YjsClient


async def create_link(
    session: ApiSession, canvas_id: str, role: str, **fields: str
) -> dict[str, Any]:
    """Create a share link, and return the response with the token."""
    response = await session.request(
        "POST", f"{CANVASES}{canvas_id}/links/", json={"role": role, **fields}
    )
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


async def revoke(session: ApiSession, link: Mapping[str, Any]) -> None:
    """Revoke a share link."""
    path = f"{CANVASES}{link['canvas_id']}/links/{link['id']}"
    assert (await session.request("DELETE", path)).status_code == 204


@pytest.fixture
async def http(workspace: Workspace) -> AsyncIterator[httpx.AsyncClient]:
    """Open an HTTP client without an account."""
    async with httpx.AsyncClient(base_url=workspace.stack.url, timeout=60) as http:
        yield http


async def visit(workspace: Workspace, link: Mapping[str, Any], **params: str) -> YjsClient:
    """Connect a Yjs client with a share link only."""
    query = {"link": str(link["token"]), "saved": "1", **params}
    return await workspace.connect(str(link["canvas_id"]), params=query)


async def test_visitors_see_and_draw_by_the_role_of_their_link(
    workspace: Workspace, canvas: str
) -> None:
    """A link viewer receives edits and cannot draw; a link editor draws; both are present with their own names.

    A revoked link closes its visitors' connections with 4401. Proves R-LIFE-1 and R-LIFE-5.
    """
    viewer_link = await create_link(workspace.owner, canvas, "viewer", label="For the client")
    editor_link = await create_link(workspace.owner, canvas, "editor")
    owner = await workspace.connect(canvas)
    viewer, editor = await visit(workspace, viewer_link), await visit(workspace, editor_link)
    driver = workspace.driver
    await driver.wait_synced([owner, viewer, editor])
    await viewer.set_awareness({"name": "Vera, without an account"})
    await editor.set_awareness({"name": "Ed, without an account"})
    names = [owner.name, "Vera, without an account", "Ed, without an account"]
    await driver.wait_for_presence([owner, viewer, editor], names)

    await viewer.add_element("by-the-viewer")
    await viewer.set_awareness({"name": "has drawn"})
    await driver.wait_for_presence([owner], [owner.name, "has drawn", "Ed, without an account"])
    await editor.add_element("by-the-editor")
    await driver.wait_saved([editor])
    await driver.wait_for_elements([owner, viewer], "by-the-editor")
    assert set((await owner.content())["elements"]) == {"by-the-editor"}

    listed = await workspace.admin.request("GET", f"/admin/connections/?canvas_id={canvas}")
    shown = {(each["user_id"], each["username"], each["role"]) for each in listed.json()["items"]}
    assert shown >= {
        (f"link-{viewer_link['id']}", "share link", "viewer"),
        (f"link-{editor_link['id']}", "share link", "editor"),
    }

    began = time.perf_counter()
    await revoke(workspace.owner, editor_link)
    close = await editor.wait_closed()
    assert (close.code, close.reason) == (4401, "the share link has been revoked, or has expired")
    assert time.perf_counter() - began < MAX_DELAY
    assert (await editor.status()).gave_up == close
    await driver.wait_for_presence([owner], [owner.name, "has drawn"])
    # The other link and the owner are not affected. The revoked link admits no client.
    assert (await viewer.status()).connections == (await owner.status()).connections == 1
    assert (await (await visit(workspace, editor_link)).wait_closed()).code == 4401


async def test_visitor_edits_and_exports_over_http(
    workspace: Workspace, canvas: str, http: httpx.AsyncClient
) -> None:
    """The link's token in a header is enough. A revoked link gets 401 at once. Proves R-LIFE-1, R-LIFE-5, R-LIFE-7."""
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><circle r="4"/></svg>'
    path = f"{CANVASES}{canvas}"
    for role, status in (("viewer", 403), ("editor", 200)):
        link = await create_link(workspace.owner, canvas, role)
        headers = {"X-Share-Link": link["token"]}
        assert (await http.get(path, headers=headers)).json()["role"] == role
        imported = await http.put(f"{path}/svg", content=svg, headers=headers | SVG_TYPE)
        assert imported.status_code == status
        export = await http.get(f"{path}/export", params={"format": "svg"}, headers=headers)
        assert export.status_code == 200
        assert (b"circle" in export.content) is (role == "editor")
        assert (await http.get(CANVASES, headers=headers)).status_code == 403
        await revoke(workspace.owner, link)
        assert (await http.get(path, headers=headers)).status_code == 401


async def test_account_with_a_link_keeps_its_own_role_after_the_end_of_the_link(
    workspace: Workspace, canvas: str
) -> None:
    """A viewer edits with an editor link. After the link's end, the same connection can only read. Proves R-LIFE-2."""
    member = await workspace.create_user("viewer")
    await workspace.owner.set_member(canvas, member, "viewer")
    session = workspace.api.session_of(member)
    links = [
        await create_link(workspace.owner, canvas, "editor"),
        await create_link(
            workspace.owner,
            canvas,
            "editor",
            expires_at=(datetime.now(UTC) + timedelta(seconds=10)).isoformat(),
        ),
    ]
    owner = await workspace.connect(canvas)
    drawing = []
    for link in links:
        params = {"token": await session.access_token(), "link": link["token"], "saved": "1"}
        drawing.append(await workspace.connect(canvas, params=params))
    driver = workspace.driver
    await driver.wait_synced([owner, *drawing])
    for number, client in enumerate(drawing):
        await client.add_element(f"with-link-{number}")
        await driver.wait_saved([client])
    await driver.wait_for_elements([owner], "with-link-0", "with-link-1")
    await revoke(workspace.owner, links[0])

    async def roles() -> list[str]:
        path = f"/admin/connections/?canvas_id={canvas}&user_id={member.id}"
        page = await workspace.admin.request("GET", path)
        return [each["role"] for each in page.json()["items"]]

    async with asyncio.timeout(30):
        while await roles() != ["viewer", "viewer"]:  # noqa: ASYNC110  # no event reports a new role
            await asyncio.sleep(0.05)
    for number, client in enumerate(drawing):
        await client.add_element(f"without-link-{number}")
        await client.set_awareness({"name": f"drawn {number}"})
    await driver.wait_for_presence([owner], [owner.name, "drawn 0", "drawn 1"])
    await owner.add_element("after")
    await driver.wait_saved([owner])
    assert set((await owner.content())["elements"]) == {"with-link-0", "with-link-1", "after"}
    assert [(await client.status()).connections for client in drawing] == [1, 1]


@pytest.mark.parametrize(
    ("ending", "code"),
    [("expiry", 4401), ("canvas", 4404), ("demotion", 4401), ("account", 4401)],
)
async def test_end_of_a_link_closes_the_connections_of_its_visitors(
    workspace: Workspace, ending: str, code: int
) -> None:
    """A link ends when it expires, when its canvas is deleted, or when its creator loses the rights or the account.

    Proves R-LIFE-5.
    """
    canvas = await workspace.create_canvas()
    creator = await workspace.create_user("editor")
    await workspace.owner.set_member(canvas, creator, "owner")
    session = workspace.api.session_of(creator)
    await session.access_token()  # The log-in must not take a part of the link's time.
    expiry = {"expires_at": (datetime.now(UTC) + timedelta(seconds=8)).isoformat()}
    link = await create_link(
        session,
        canvas,
        "viewer",
        **(expiry if ending == "expiry" else {}),
    )
    visitor = await visit(workspace, link)
    await workspace.driver.wait_synced([visitor])
    match ending:
        case "canvas":
            await workspace.owner.delete_canvas(canvas)
        case "demotion":
            await workspace.owner.set_member(canvas, creator, "editor")
        case "account":
            path = f"/admin/users/{creator.id}"
            await workspace.admin.request("PATCH", path, json={"disabled": True})
    began = time.perf_counter()
    close = await visitor.wait_closed()
    assert close.code == code
    if ending != "expiry":
        assert time.perf_counter() - began < MAX_DELAY
    assert (await visitor.status()).gave_up == close


async def test_link_as_a_subprotocol_or_token_parameter_admits_a_visitor(
    workspace: Workspace, canvas: str
) -> None:
    """The token is accepted as a subprotocol and as the parameter `token`. No service logs it. Proves R-LIFE-1."""
    token = (await create_link(workspace.owner, canvas, "viewer"))["token"]
    client = await workspace.connect(canvas, params={}, protocols=["svgx", f"bearer.{token}"])
    by_token = await workspace.connect(canvas, params={"token": token})
    await workspace.driver.wait_synced([client, by_token])
    wrong = await workspace.connect(canvas, params={"link": f"{token}x"})
    assert (await wrong.wait_closed()).code == 4401
    for name in SERVICES:
        assert token not in workspace.stack.log_path(name).read_text(), name


async def test_restored_account_gets_its_canvases_and_roles_back(workspace: Workspace) -> None:
    """A restored account has its canvases, its roles on other canvases, and its links. Proves R-LIFE-16."""
    user = await workspace.create_user("editor")
    session = workspace.api.session_of(user)
    own = await session.create_canvas("own")
    foreign = await workspace.create_canvas("foreign")
    await workspace.owner.set_member(foreign, user, "viewer")
    link = await create_link(session, own, "viewer")
    path = f"/admin/users/{user.id}"
    assert (await workspace.admin.request("DELETE", path)).status_code == 204
    owned = await workspace.admin.request("GET", f"{path}/canvases/?only_owner=true")
    assert [each["id"] for each in owned.json()["items"]] == [own]
    refused = await visit(workspace, link)
    assert (await refused.wait_closed()).code == 4401
    restored = await workspace.admin.request(
        "POST", "/admin/users/restore/", json={"user_id": user.id}
    )
    assert restored.status_code == 200
    again = workspace.api.session_of(user)
    roles = {each.id: each.role for each in await again.canvases()}
    assert roles == {own: "owner", foreign: "viewer"}
    await workspace.driver.wait_synced([await visit(workspace, link)])


async def test_deleted_canvas_is_restored_with_its_content(workspace: Workspace) -> None:
    """The deletion closes the clients with 4404. After the restore they join with all elements. Proves R-LIFE-10."""
    canvas = await workspace.create_canvas("to be restored")
    client = await workspace.connect(canvas)
    await client.add_element("kept")
    await workspace.driver.wait_saved([client])
    await workspace.owner.delete_canvas(canvas)
    assert (await client.wait_closed()).code == 4404
    listed = await workspace.owner.request("GET", CANVASES, params={"deleted": "true"})
    assert canvas in [each["id"] for each in listed.json()["items"]]
    response = await workspace.owner.request("POST", f"{CANVASES}{canvas}/restore")
    assert (response.status_code, response.json()["deleted_at"]) == (200, None)
    await client.reconnect()
    other = await workspace.connect(canvas)
    await workspace.driver.wait_for_elements([client, other], "kept")


async def test_erased_user_is_removed_from_every_service(workspace: Workspace) -> None:
    """One request erases the account and its authorship, transfers its canvases and returns a report.

    Proves R-LIFE-12.
    """
    user = await workspace.create_user("editor")
    session = workspace.api.session_of(user)
    canvas = await session.create_canvas("of the erased user")
    client = await workspace.connect(canvas, session=session)
    await client.add_element("kept")
    await workspace.driver.wait_saved([client])
    owner_id = (await workspace.owner.me())["id"]
    body = {"confirm": user.id, "canvases": "transfer", "transfer_to": owner_id}
    path = f"/admin/users/{user.id}/erase"
    report = await workspace.admin.request("POST", path, json=body)
    assert report.status_code == 200, report.text
    touched = report.json()["touched"]
    assert touched["state"]["canvas_transferred"] == touched["state"]["canvas_member"] == 1
    assert touched["state"]["journal"] >= 1
    assert touched["auth"]["account"] == touched["auth"]["session"] == 1
    assert (await client.wait_closed()).code == 4401
    assert (await workspace.owner.canvas(canvas)).role == "owner"
    new_owner = await workspace.connect(canvas)
    await workspace.driver.wait_for_elements([new_owner], "kept")
    shown = await workspace.admin.request("GET", f"/admin/users/?search={user.username}")
    assert shown.json()["items"] == []
    again = await workspace.admin.request("POST", path, json=body)
    assert again.status_code == 200, again.text
    # The second report includes the rows of the first, and rows that arrived since, such as the account's usage.
    for service, tables in again.json()["touched"].items():
        assert all(tables[table] >= rows for table, rows in touched[service].items())
