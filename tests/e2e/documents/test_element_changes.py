"""Changes of elements over HTTP, seen by a Yjs client."""

import httpx

from tests.e2e.clients.api import ApiSession
from tests.e2e.clients.workspace import Workspace


async def change(
    session: ApiSession, canvas: str, *operations: dict[str, object], **headers: str
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
