"""External references in an SVG file: the services never request them."""

import asyncio
import base64

import pytest

from tests.e2e.clients.api import SVG_TYPE
from tests.e2e.clients.problems import check_problem
from tests.e2e.clients.workspace import Workspace

SVG = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">
<style>@import "{url}/a.css"; @font-face {{ font-family: f; src: url({url}/f) }} rect {{ fill: url({url}/b) }}</style>
<filter id="f"><feImage href="{url}/c.png"/></filter>
<image href="{url}/d.png" width="3" height="3"/><image xlink:href="{url}/e.svg" width="3" height="3"/>
<use href="{url}/g.svg#x"/><a href="{url}/h"><text font-family="f" style="background: url({url}/i)">t</text></a>
<rect width="3" height="3" filter="url(#f)" mask="url({url}/j#m)"/>{picture}
</svg>"""
WITH_DTD = '<!DOCTYPE svg SYSTEM "{url}/svg.dtd"><svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.mark.parametrize("scheme", ["http:", ""])
async def test_svg_with_external_references_causes_no_request(
    workspace: Workspace, canvas: str, scheme: str
) -> None:
    """An import and the exports open no connection to the server that the references name. Proves R-SVG-3."""
    connections: list[str] = []

    def count_connection(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append("connection")
        writer.close()

    server = await asyncio.start_server(count_connection, "127.0.0.1", 0)
    async with server:
        url = f"{scheme}//127.0.0.1:{server.sockets[0].getsockname()[1]}"
        inner = SVG.format(url=url, picture="").encode()
        data_url = f"data:image/svg+xml;base64,{base64.b64encode(inner).decode()}"
        picture = f'<image href="{data_url}" width="9" height="9"/>'
        await workspace.owner.import_svg(canvas, SVG.format(url=url, picture=picture).encode())
        path = f"/runtime/canvases/{canvas}/svg"
        hostile = WITH_DTD.format(url=url).encode()
        response = await workspace.owner.request("PUT", path, content=hostile, headers=SVG_TYPE)
        check_problem(response, 422, "invalid")
        for kind in ("svg", "png", "json", "yjs"):
            content = await workspace.owner.export(canvas, kind)
            assert kind in ("json", "yjs") or b"127.0.0.1" not in content, kind
            assert kind in ("yjs", "png") or b"data:image/svg+xml" in content
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await reader.read()
        writer.close()
        await writer.wait_closed()
        assert connections == ["connection"]  # the test's own connection
