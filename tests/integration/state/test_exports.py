"""Exports over the bus."""

import json
import struct

import pytest
from lxml import etree
from pycrdt import Doc, Map

from svgx_canvas import import_svg
from svgx_common.contract.errors import Forbidden, Invalid, NotFound, TooLarge
from svgx_common.contract.state import Entry
from tests.integration.state.drawing import Pen, elements
from tests.integration.state.service import Client, user

pytestmark = pytest.mark.usefixtures("service")
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="100" viewBox="0 0 200 100">'
    '<rect id="box" x="10" y="10" width="50" height="40" fill="red"/></svg>'
)
_MEDIA_TYPES = {
    "svg": "image/svg+xml",
    "png": "image/png",
    "json": "application/json",
    "yjs": "application/octet-stream",
}


async def create_with_content(client: Client, svg: str = _SVG) -> str:
    """Create a canvas with the content of an SVG file, and return its id."""
    canvas_id = await client.create("Drawing 1")
    await client.append(Entry(canvas_id, "holder", 1, (), import_svg(svg.encode(), None).update))
    return canvas_id


def size(png: bytes) -> tuple[int, int]:
    """Return width and height in pixels from a PNG header (PNG specification, 11.2.2 IHDR)."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


async def test_svg_export_is_an_svg_file(client: Client) -> None:
    """An SVG export has the content, its media type, and a file name made of the canvas's name. Proves R-STATE-17."""
    canvas_id = await create_with_content(client)
    export = await client.export(canvas_id)
    assert (export.media_type, export.filename) == ("image/svg+xml", "Drawing 1.svg")
    root = etree.fromstring(export.content)
    assert root.get("viewBox") == "0 0 200 100"
    assert [child.get("fill") for child in root] == ["red"]


async def test_json_export_lists_the_elements(client: Client) -> None:
    """A JSON export lists the elements. Proves R-STATE-17."""
    export = await client.export(await create_with_content(client), format="json")
    assert (export.media_type, export.filename) == ("application/json", "Drawing 1.json")
    assert [element["tag"] for element in json.loads(export.content)["elements"]] == ["rect"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, (200, 100)),
        ({"width": 50}, (50, 25)),
        ({"height": 50}, (100, 50)),
        ({"width": 50, "height": 50}, (50, 25)),
        ({"scale": 2}, (400, 200)),
    ],
)
async def test_png_export_has_the_requested_size(
    client: Client, query: dict[str, int | float | str], expected: tuple[int, int]
) -> None:
    """A PNG export has the requested size, and always keeps the proportions. Proves R-STATE-17."""
    export = await client.export(await create_with_content(client), format="png", **query)
    assert (export.media_type, export.filename) == ("image/png", "Drawing 1.png")
    assert size(export.content) == expected


@pytest.mark.parametrize("side", ["width", "height"])
async def test_scale_together_with_a_side_is_refused(client: Client, side: str) -> None:
    """The refusal names the scale, which would otherwise have no effect. Proves R-STATE-17."""
    with pytest.raises(Invalid) as refused:
        await client.export(await client.create(), format="png", scale=2, **{side: 50})
    assert refused.value.field == "scale"


async def test_too_small_scale_is_refused_with_its_limit(client: Client) -> None:
    """The picture of a canvas of 200 by 100 pixels would have no pixel. Proves R-SVG-4."""
    with pytest.raises(Invalid) as refused:
        await client.export(await create_with_content(client), format="png", scale=0.001)
    assert (refused.value.field, refused.value.limit) == ("scale", 0.00505)


async def test_yjs_export_is_one_update_with_all_content(client: Client) -> None:
    """A Yjs export is one update with all content. Proves R-STATE-17."""
    canvas_id = await client.create()
    pen = Pen(canvas_id, "holder")
    await client.append(*(pen.draw(str(number)) for number in range(10)))
    export = await client.export(canvas_id, format="yjs")
    assert export.media_type == "application/octet-stream"
    assert elements([export.content]) == {str(number): "x" for number in range(10)}
    assert export.left_out is None


@pytest.mark.parametrize("kind", list(_MEDIA_TYPES))
async def test_empty_canvas_is_exported_in_every_format(client: Client, kind: str) -> None:
    """An empty canvas is exported in every format. Proves R-STATE-17."""
    export = await client.export(await client.create(), format=kind)
    assert export.media_type == _MEDIA_TYPES[kind]
    match kind:
        case "svg":
            root = etree.fromstring(export.content)
            assert (root.tag, len(root)) == ("{http://www.w3.org/2000/svg}svg", 0)
        case "png":
            assert min(size(export.content)) > 0
        case "json":
            assert json.loads(export.content)["elements"] == []
        case _:
            assert elements([export.content]) == {}


async def test_content_against_the_policy_is_not_exported(client: Client) -> None:
    """Elements and attributes that the SVG policy forbids are not exported. Proves R-STATE-17."""
    canvas_id = await client.create()
    doc = Doc[Map[Map[object]]]()
    content = doc.get("elements", type=Map)
    for number, tag in enumerate(("script", "rect")):
        attrs = Map({"onclick": "alert(1)", "width": "5", "href": "javascript:alert(1)"})
        content[f"e{number}"] = Map(
            {"tag": tag, "parent": "", "order": f"a{number}", "attrs": attrs}
        )
    await client.append(Entry(canvas_id, "holder", 1, (), doc.get_update()))
    root = etree.fromstring((await client.export(canvas_id)).content)
    assert [etree.QName(child).localname for child in root] == ["rect"]
    assert dict(root[0].attrib).keys() & {"onclick", "href"} == set()
    left_out = (await client.export(canvas_id, format="png")).left_out
    assert left_out is not None
    assert '"script";reason="element";count=1' in left_out
    assert '"rect@onclick";reason="event handler";count=1' in left_out
    assert root[0].get("width") == "5"


async def test_content_over_a_limit_is_too_large(client: Client) -> None:
    """Content over a limit is refused as `too_large`, with the limit and its name. Proves R-STATE-17."""
    canvas_id = await client.create()
    doc = Doc[Map[Map[object]]]()
    elements = doc.get("elements", type=Map)
    for number in range(70):
        parent = f"g{number - 1}" if number else ""
        attrs = Map({"opacity": "0.5"})
        elements[f"g{number}"] = Map({"tag": "g", "parent": parent, "order": "a", "attrs": attrs})
    box = Map({"width": "1", "height": "1"})
    elements["box"] = Map({"tag": "rect", "parent": "g69", "order": "a", "attrs": box})
    await client.append(Entry(canvas_id, "holder", 1, (), doc.get_update()))
    with pytest.raises(TooLarge, match="layers") as caught:
        await client.export(canvas_id, format="png")
    assert (caught.value.field, caught.value.limit) == ("layers", 64)


async def test_picture_over_a_limit_is_refused(client: Client) -> None:
    """A request for a picture with too many pixels is refused, and the error has the limit. Proves R-STATE-17."""
    canvas_id = await create_with_content(client)
    with pytest.raises((Invalid, TooLarge)) as caught:
        await client.export(canvas_id, format="png", width=8192, height=8192)
    assert caught.value.limit is not None


async def test_export_needs_a_role_on_an_existing_canvas(client: Client) -> None:
    """A caller without a role is refused; an unknown or deleted canvas is not found. Proves R-STATE-12."""
    canvas_id = await create_with_content(client)
    with pytest.raises(NotFound):
        await client.export("unknown-canvas")
    stranger = Client(client.bus, user())
    with pytest.raises(Forbidden):
        await stranger.export(canvas_id)
    await client.delete(canvas_id)
    with pytest.raises(NotFound):
        await client.export(canvas_id)


async def test_unreadable_content_is_left_out_of_exports(client: Client) -> None:
    """An unreadable journal entry is left out, and the rest is exported. Proves R-STATE-17, R-SYNC-14."""
    canvas_id = await create_with_content(client)
    await client.append(Entry(canvas_id, "holder", 2, (), b"no update"))
    for kind in _MEDIA_TYPES:
        export = await client.export(canvas_id, format=kind)
        assert export.left_out == '"update";reason="unreadable";count=1'
        if kind == "svg":
            assert b'fill="red"' in export.content
        if kind == "json":
            (left_out,) = json.loads(export.content)["left_out"]
            assert left_out == {"what": "update", "reason": "unreadable", "count": 1}
