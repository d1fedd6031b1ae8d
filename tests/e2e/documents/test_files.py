"""Imports of SVG files and downloads of exports, over HTTP."""

import gzip
from urllib.parse import quote

import pytest

from tests.e2e.clients.problems import check_problem
from tests.e2e.clients.workspace import Workspace

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="1" height="1"/></svg>'


@pytest.mark.parametrize(
    ("declared", "codec", "charset"),
    [
        ("iso-8859-1", "utf-8", "; charset=utf-8"),
        ("utf-16", "utf-8", ""),
        ("windows-1252", "cp1252", ""),
        ("utf-8", "cp1252", "; charset=ISO-8859-1"),
        ("utf-16", "utf-16", ""),
    ],
)
async def test_svg_file_is_read_in_its_encoding(
    workspace: Workspace, canvas: str, declared: str, codec: str, charset: str
) -> None:
    """An import takes the encoding from the charset, the XML declaration or the byte order mark. Proves R-SVG-10."""
    path = f"/runtime/canvases/{canvas}/svg"
    text = f'<?xml version="1.0" encoding="{declared}"?><svg><title>café</title></svg>'
    headers = {"Content-Type": f"image/svg+xml{charset}"}
    response = await workspace.owner.request(
        "PUT", path, content=text.encode(codec), headers=headers
    )
    assert response.status_code == 200
    exported = await workspace.owner.request("GET", f"/runtime/canvases/{canvas}/export")
    assert "<title>café</title>" in exported.text


async def test_compressed_body_and_unknown_charset_get_415(
    workspace: Workspace, canvas: str
) -> None:
    """The refusal of a compressed body states the accepted coding. Proves R-HTTP-3."""
    path = f"/runtime/canvases/{canvas}/svg"
    headers = {"Content-Type": "image/svg+xml", "Content-Encoding": "gzip"}
    response = await workspace.owner.request(
        "PUT", path, content=gzip.compress(SVG), headers=headers
    )
    problem = check_problem(response, 415, "unsupported_media_type")
    assert (problem["field"], problem["limit"]) == ("content-encoding", "identity")
    assert response.headers["accept-encoding"] == "identity"
    headers = {"Content-Type": "image/svg+xml; charset=nonsense"}
    response = await workspace.owner.request("PUT", path, content=SVG, headers=headers)
    assert check_problem(response, 415, "unsupported_media_type")["field"] == "content-type"


@pytest.mark.parametrize("extension", ["svg", "png", "json", "yjs"])
async def test_download_has_the_name_of_its_canvas(workspace: Workspace, extension: str) -> None:
    """A download has two names: its canvas's name in ASCII, and its canvas's full name. Proves R-STATE-17."""
    canvas = await workspace.create_canvas("План café 🎨")
    await workspace.owner.import_svg(canvas, SVG)
    path = f"/runtime/canvases/{canvas}/export?format={extension}"
    response = await workspace.owner.request("GET", path)
    full = quote(f"План café 🎨.{extension}")
    expected = f"attachment; filename=\"cafe.{extension}\"; filename*=UTF-8''{full}"
    assert response.headers["content-disposition"] == expected
