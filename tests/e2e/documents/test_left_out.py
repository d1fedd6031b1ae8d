"""Exports contain the elements that a live client draws, or name them as left out."""

import json

from tests.e2e.clients.workspace import Workspace

_LEFT_OUT = '"g";reason="depth";count=5, "rect@onclick";reason="event handler";count=1'


async def test_plain_objects_are_exported_and_lost_parts_are_named(
    workspace: Workspace, canvas: str
) -> None:
    """Elements that are plain objects are exported. A header names left-out parts. Proves R-STATE-17 and R-SVG-5."""
    client = await workspace.connect(canvas)
    plain = {"op": "plain", "id": "p", "tag": "circle", "parent": "", "order": "a0"}
    groups = [
        {"op": "add", "id": f"g{level}", "tag": "g", "parent": f"g{level - 1}" if level else ""}
        for level in range(100)
    ]
    await client.edit(plain | {"attrs": {"r": 7.5, "fill": "teal"}}, *groups)
    await client.add_element("r", onclick="alert(1)", width="5")
    await workspace.driver.wait_saved([client])
    path = f"/runtime/canvases/{canvas}/export"
    for kind in ("svg", "json", "png", "yjs"):
        response = await workspace.owner.request("GET", path, params={"format": kind})
        assert response.status_code == 200
        assert response.headers.get("Svgx-Left-Out") == (None if kind == "yjs" else _LEFT_OUT)
        if kind == "svg":
            assert b'<circle fill="teal" r="7.5"/>' in response.content
        if kind == "json":
            content = json.loads(response.content)
            assert content["left_out"][0] == {"what": "g", "reason": "depth", "count": 5}
            tags = [element["tag"] for element in content["elements"]]
            assert tags.count("circle") == 1
            assert tags.count("g") == 95
