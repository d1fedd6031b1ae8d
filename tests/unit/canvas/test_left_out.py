"""An export has everything that is stored, or names each missing part. Proves R-SVG-4 and R-STATE-17."""

import base64
import gzip
import json
import struct
import zlib
from collections import Counter
from dataclasses import fields

import pytest
from lxml import etree
from pycrdt import Array, Doc, Map, Text

from svgx_canvas import (
    DEFAULT_LIMITS,
    Limits,
    SvgRefused,
    export_json,
    export_svg,
    import_svg,
    render_png,
)
from svgx_canvas.policy import Report
from svgx_state.exports import left_out_header
from tests.unit.canvas.client_documents import document


def left_out(state: bytes, limits: Limits = DEFAULT_LIMITS) -> dict[tuple[str, str], int]:
    """Return the things that an SVG export names as left out. Check that the JSON export names the same things."""
    report = Report()
    export_svg(state, limits, report)
    named = {(item.what, item.reason): item.count for item in report.dropped()}
    in_json = json.loads(export_json(state, limits))["left_out"]
    assert {(item["what"], item["reason"]): item["count"] for item in in_json} == named
    return named


def nested(levels: int) -> dict[str, object]:
    """Return nested groups, with a rectangle in the innermost group."""
    groups: dict[str, object] = {
        f"g{level}": {"tag": "g", "parent": f"g{level - 1}" if level else ""}
        for level in range(levels)
    }
    return groups | {"leaf": {"tag": "rect", "parent": f"g{levels - 1}"}}


def picture(url: str) -> dict[str, object]:
    """Return an image element as clients store it."""
    return {"tag": "image", "attrs": {"href": url}}


def photo(size: int, side: int = 1) -> str:
    """Return the `data:` URL of a PNG that has at least `size` bytes, and `side` pixels on each side."""
    chunk = b"tEXt" + bytes(size)
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [head, chunk, b"IDAT" + zlib.compress(bytes(4)), b"IEND"]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each))
        for each in chunks
    )
    return "data:image/png;base64," + base64.b64encode(png).decode()


_MANY = {f"data-a{number:04}": "x" for number in range(1024)}
_RECT = {"tag": "rect", "attrs": {"width": "1"}}


@pytest.mark.parametrize(
    ("elements", "limits", "expected"),
    [
        (
            {"e": {"tag": "rect", "attrs": {"d": "x" * 51}}},
            Limits(attribute_length=50),
            {("rect@d", "attribute_length"): 1},
        ),
        (
            {"e": {"tag": "image", "attrs": {"href": photo(90)}}},
            Limits(attribute_length=50),
            {("image@href", "attribute_length"): 1},
        ),
        (
            {"e": {"tag": "rect", "attrs": _MANY | {"width": "1"}}},
            Limits(),
            {("rect@data-a1023", "attributes"): 1},
        ),
        (
            {"t": {"tag": "text"}, "c": {"tag": "#text", "parent": "t", "text": "x" * 51}},
            Limits(text_length=50),
            {("text/#text", "text_length"): 1},
        ),
        (
            {"t": {"tag": "title"}, "c": {"tag": "#text", "parent": "t", "text": "x" * 51}},
            Limits(text_length=50),
            {("title/#text", "text_length"): 1},
        ),
        (
            {"s": {"tag": "style"}, "c": {"tag": "#text", "parent": "s", "text": "g{}" * 50}},
            Limits(style_length=50),
            {("style", "style_length"): 1},
        ),
        (
            {"e": {"tag": "g", "attrs": {"style": "fill:red;" * 50}}},
            Limits(style_length=50),
            {("g@style", "style_length"): 1},
        ),
        (nested(120), Limits(), {("g", "depth"): 25, ("rect", "depth"): 1}),
        (nested(12), Limits(depth=10), {("g", "depth"): 3, ("rect", "depth"): 1}),
        ({"e": {"tag": "script"}, "f": _RECT}, Limits(), {("script", "element"): 1}),
        (
            {"e": {"tag": "image", "attrs": {"href": "#a", "xlink:href": "#a"}}},
            Limits(),
            {("image@href", "reference"): 1, ("image@xlink:href", "reference"): 1},
        ),
        (
            {"e": {"tag": "rect", "attrs": {"onclick": "x", "y": True, "x": [1], "z": {}}}},
            Limits(),
            {
                ("rect@onclick", "event handler"): 1,
                ("rect@y", "type"): 1,
                ("rect@x", "type"): 1,
                ("rect@z", "type"): 1,
            },
        ),
        ({"e": {"tag": "rect", "attrs": "width=1"}}, Limits(), {("rect@", "type"): 1}),
        (
            {"e": 5, "f": "rect", "g": [_RECT], "h": None, "i": {"parent": ""}},
            Limits(),
            {("elements", "type"): 5},
        ),
        ({"e": {"tag": "rect", "parent": 7}}, Limits(), {("rect", "type"): 1}),
        (
            {"e": {"tag": "rect", "order": 7}, "f": {"tag": "rect", "order": {}}, "g": _RECT},
            Limits(),
            {("rect.order", "type"): 2},
        ),
        ({"e": {"tag": "#text", "order": [1]}}, Limits(), {("#text.order", "type"): 1}),
        ({"e": {"tag": "rect", "order": None}}, Limits(), {}),
        (
            {"t": {"tag": "text"}, "c": {"tag": "#text", "parent": "t", "text": ["a"]}},
            Limits(),
            {("#text", "type"): 1},
        ),
        (
            {
                "s": {"tag": "style"},
                "e": {"tag": "rect", "parent": "s"},
                "f": {"tag": "b", "parent": "s"},
            },
            Limits(),
            {("rect", "place"): 1, ("b", "element"): 1},
        ),
        ({"t": {"tag": "title"}, "e": {"tag": "g", "parent": "t"}}, Limits(), {("g", "place"): 1}),
        ({"c": {"tag": "#text", "text": "a"}}, Limits(), {("svg/#text", "place"): 1}),
        (
            {"e": {"tag": "g"}, "c": {"tag": "#text", "parent": "e", "text": " a"}},
            Limits(),
            {("g/#text", "place"): 1},
        ),
        ({"c": {"tag": "#text", "text": " \n"}, "d": {"tag": "#text"}}, Limits(), {}),
        ({"e": _RECT}, Limits(), {}),
        ({"e": {"tag": "rect", "attrs": {"x": None}}}, Limits(), {}),
    ],
)
def test_export_names_each_thing_that_it_leaves_out(
    elements: dict[str, object], limits: Limits, expected: dict[tuple[str, str], int]
) -> None:
    assert left_out(document(elements), limits) == expected


@pytest.mark.parametrize(
    ("tag", "name", "value"),
    [
        ("image", "href", photo(7_000_000)),
        ("path", "d", "M0 0" + "L12.25 7.5" * 840_000),
        ("rect", "aria-label", "x" * 12_000_000),
    ],
)
def test_large_value_is_exported_and_imported_again(tag: str, name: str, value: str) -> None:
    """A value may be as long as a whole file, so neither an export nor an import loses it."""
    state = document({"e": {"tag": tag, "attrs": {name: value}}})
    assert left_out(state) == {}
    svg = export_svg(state)
    again = import_svg(svg, None)
    assert again.dropped == []
    assert export_svg(again.update) == svg
    assert etree.fromstring(svg, etree.XMLParser(huge_tree=True))[0].get(name) == value


def test_long_text_and_many_attributes_are_exported() -> None:
    """A text of 1.1 MB and an element with 301 attributes are complete."""
    attrs = {f"data-a{number}": "x" for number in range(300)} | {"width": "5"}
    elements: dict[str, object] = {
        "r": {"tag": "rect", "attrs": attrs},
        "t": {"tag": "text"},
        "c": {"tag": "#text", "parent": "t", "text": "x" * 1_100_000},
    }
    state = document(elements)
    assert left_out(state) == {}
    svg = export_svg(state)
    assert svg.count(b"x" * 1_100_000) == 1
    assert svg.count(b"data-a") == 300
    assert import_svg(svg, None).dropped == []


def test_drawing_attributes_are_kept_before_data_attributes() -> None:
    """An element with too many attributes keeps its `x` and `width`, and loses `data-` attributes."""
    state = document({"e": {"tag": "rect", "attrs": _MANY | {"x": "1", "width": "2"}}})
    (rect,) = json.loads(export_json(state))["elements"]
    assert (rect["attrs"]["x"], rect["attrs"]["width"]) == ("1", "2")
    assert len(rect["attrs"]) == DEFAULT_LIMITS.attributes


@pytest.mark.parametrize(
    ("field", "limits", "elements"),
    [
        ("elements", Limits(elements=3), {f"e{number}": _RECT for number in range(4)}),
        ("elements", Limits(elements=2), {"s": {"tag": "style"}, "e": {"tag": "rect", "parent": "s"}}),
        ("bytes", Limits(export_bytes=1000), {f"e{number}": _RECT for number in range(100)}),
        ("expanded_elements", Limits(expanded_elements=3), {f"e{number}": _RECT for number in range(4)}),
    ],
)  # fmt: skip
def test_canvas_beyond_a_limit_of_the_whole_export_is_refused(
    field: str, limits: Limits, elements: dict[str, object]
) -> None:
    """The refusal of the export names the exceeded limit."""
    with pytest.raises(SvgRefused) as refused:
        export_svg(document(elements), limits)
    assert refused.value.field == field


def test_three_large_photos_are_exported_and_drawn() -> None:
    """An export has all pictures, although it has more bytes than an import may have. Proves R-STATE-17 and R-SVG-4."""
    url = photo(5_000_000)
    state = document({f"e{number}": picture(url) for number in range(3)})
    report = Report()
    svg = export_svg(state, report=report)
    assert len(svg) > 20_000_000 > DEFAULT_LIMITS.bytes
    assert (svg.count(url.encode()), report.dropped()) == (3, [])
    assert render_png(svg, 10, 10).startswith(b"\x89PNG")


def test_largest_pictures_beyond_the_bytes_of_an_export_are_left_out() -> None:
    """The rest of the canvas is exported, and the header `Svgx-Left-Out` names the pictures. Proves R-STATE-17."""
    sizes = {"small": 1000, "large": 5000, "largest": 9000, "other": 2000}
    elements = {name: picture(photo(size)) for name, size in sizes.items()} | {"rect": _RECT}
    state = document(elements)
    report = Report()
    svg = export_svg(state, Limits(export_bytes=6000), report)
    drawn = [len(image.attrib["href"]) for image in etree.fromstring(svg) if "href" in image.attrib]
    assert sorted(drawn) == [len(photo(1000)), len(photo(2000))]
    assert b'<rect width="1"/>' in svg
    assert left_out_header(report.dropped()) == '"image@href";reason="bytes";count=2'
    assert render_png(svg, 10, 10, limits=Limits(bytes=1000, export_bytes=6000))


def test_picture_is_left_out_when_the_other_content_takes_the_bytes() -> None:
    """The limit applies to the bytes of the whole file, and not only to those of the pictures. Proves R-STATE-17."""
    elements: dict[str, object] = {f"e{number}": _RECT for number in range(100)}
    report = Report()
    svg = export_svg(
        document({"photo": picture(photo(1000))} | elements), Limits(export_bytes=3000), report
    )
    assert svg.count(b"<rect") == 100
    assert [(item.what, item.reason) for item in report.dropped()] == [("image@href", "bytes")]


def test_largest_bitmaps_beyond_the_pixels_of_an_export_are_left_out() -> None:
    """An export beyond the limit of pixels leaves out the largest photos and keeps the others. Proves R-STATE-17."""
    elements = {f"e{side}": picture(photo(10, side)) for side in (10, 40, 30, 20)}
    limits = Limits(image_pixels=500)
    assert left_out(document(elements), limits) == {("image@href", "image_pixels"): 2}
    svg = export_svg(document(elements), limits)
    assert all(photo(10, side).encode() in svg for side in (10, 20))


def svg_photo(side: int) -> str:
    """Return the `data:` URL of an SVG picture with a photo that is drawn twice. It has 2 * `side` ** 2 pixels."""
    image = f'<image id="a" href="{photo(10, side)}"/><use href="#a"/>'
    file = f'<svg xmlns="http://www.w3.org/2000/svg">{image}</svg>'.encode()
    return f"data:image/svg+xml;base64,{base64.b64encode(file).decode()}"


def in_style(name: str, url: str) -> dict[str, object]:
    """Return an element with a bitmap in its `style` attribute, between two other declarations."""
    return {"tag": "text", "attrs": {"style": f"fill:red;{name}:url({url});stroke:blue"}}


_PLACES: dict[str, tuple[dict[str, object], str, str]] = {
    "image": ({"e": picture(photo(10, 30))}, "image@href", ""),
    "svg picture": ({"e": picture(svg_photo(30))}, "image@href", ""),
    "nested svg picture": (
        {
            "e": picture(
                "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'>"
                f"<image href='{svg_photo(30)}'/></svg>"
            )
        },
        "image@href",
        "",
    ),
    "bitmap in the css of an svg picture": (
        {
            "e": picture(
                "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'>"
                f"<text style='background-image:url({photo(10, 30)})'/></svg>"
            )
        },
        "image@href",
        "",
    ),
    "style attribute": (
        {"e": in_style("background-image", photo(10, 30))},
        "background-image()",
        "fill:red;stroke:blue;",
    ),
    "custom property": ({"e": in_style("--a", photo(10, 30))}, "--a()", "fill:red;stroke:blue;"),
    "several bitmaps of one declaration": (
        {"e": in_style("mask", f"{photo(10, 15)}),url({photo(10, 25)}")},
        "mask()",
        "fill:red;stroke:blue;",
    ),
    "presentation attribute": (
        {"e": {"tag": "rect", "attrs": {"cursor": f"url({photo(10, 30)}),auto", "rx": "7"}}},
        "rect@cursor",
        'rx="7"',
    ),
    "style sheet": (
        {
            "e": {"tag": "style"},
            "t": {
                "tag": "#text",
                "parent": "e",
                "text": f"@media print{{a{{fill:red;b{{cursor:url({photo(10, 30)}),auto;r:7px}}}}}}",
            },
        },
        "cursor()",
        "@media print{a{fill:red;b{r:7px;}}}",
    ),
}
"""For each place of a picture: elements with at least 500 pixels, the name of the left-out part, and the kept part."""


@pytest.mark.parametrize("place", _PLACES)
def test_pictures_beyond_the_pixels_of_an_export_are_left_out_in_each_place(place: str) -> None:
    """The largest pictures are left out, and everything around them is exported. Proves R-STATE-17."""
    elements, what, kept = _PLACES[place]
    small: dict[str, object] = {
        "small": picture(photo(10, 10)),
        "svg": picture(svg_photo(5)),
        "css": in_style("cursor", photo(10, 11)),
    }
    limits = Limits(image_pixels=500)
    assert left_out(document(elements | small), limits) == {(what, "image_pixels"): 1}
    svg = export_svg(document(elements | small), limits).decode()
    assert photo(10, 30) not in svg
    assert photo(10, 10) in svg
    assert photo(10, 11) in svg
    assert svg.count("data:image/svg+xml") == 1
    assert kept in svg
    # Without the smaller pictures, the one picture alone is beyond the limit too.
    assert left_out(document(elements), limits) == {(what, "image_pixels"): 1}


def test_bitmap_in_the_style_of_the_canvas_is_left_out() -> None:
    """The root is no stored element, but may have a bitmap too. Proves R-STATE-17."""
    style = f"fill:red;background-image:url({photo(10, 30)})"
    state = document({}, {"style": style})
    limits = Limits(image_pixels=500)
    assert left_out(state, limits) == {("background-image()", "image_pixels"): 1}
    assert b'style="fill:red;"' in export_svg(state, limits)


def test_some_of_the_bitmaps_of_a_style_sheet_are_left_out() -> None:
    """Only the largest declarations are left out. Equal ones are left out from the first one on. Proves R-STATE-17."""
    sides = (10, 30, 11, 20, 20)
    sheet = "".join(
        f".a{number}{{cursor:url({photo(10, side)}),auto}}" for number, side in enumerate(sides)
    )
    state = document({"e": {"tag": "style"}, "t": {"tag": "#text", "parent": "e", "text": sheet}})
    limits = Limits(image_pixels=700)
    assert left_out(state, limits) == {("cursor()", "image_pixels"): 2}
    svg = export_svg(state, limits).decode()
    assert [f".a{number}{{}}" in svg for number in range(5)] == [False, True, False, True, False]


def test_bitmaps_in_css_beyond_the_bytes_of_an_export_are_left_out() -> None:
    """The bytes of pictures in CSS count like those of other pictures. Proves R-STATE-17."""
    elements = {f"e{size}": in_style("cursor", photo(size)) for size in (1000, 5000, 9000)}
    report = Report()
    svg = export_svg(document(elements | {"rect": _RECT}), Limits(export_bytes=6000), report)
    assert left_out_header(report.dropped()) == '"cursor()";reason="bytes";count=2'
    assert photo(1000).encode() in svg
    assert svg.count(b"fill:red;stroke:blue") == 2
    assert b'<rect width="1"/>' in svg


@pytest.mark.parametrize(
    ("limits", "content", "reason"),
    [
        (Limits(attribute_length=2000), "<rect/>" * 250, "attribute_length"),
        (Limits(bytes=3000), " " * 4000, "bytes"),
        (Limits(elements=50), "<rect/>" * 60, "elements"),
        (Limits(depth=20), "<g>" * 25 + "</g>" * 25, "depth"),
        (Limits(style_length=50), f"<style>{' ' * 60}</style>", "style_length"),
    ],
)
def test_svg_picture_beyond_a_limit_is_left_out_with_the_name_of_the_limit(
    limits: Limits, content: str, reason: str
) -> None:
    """A limit has the same name for the pictures in a canvas as for the canvas itself. Proves R-STATE-17."""
    file = f'<svg xmlns="http://www.w3.org/2000/svg">{content}</svg>'.encode()
    url = f"data:image/svg+xml;base64,{base64.b64encode(gzip.compress(file)).decode()}"
    assert left_out(document({"e": picture(url)}), limits) == {("image@href", reason): 1}
    assert reason in {field.name for field in fields(Limits)}


def test_import_over_a_limit_is_refused_with_the_name_of_the_limit() -> None:
    """Imports and exports share one list of limits, and use the same names for them."""
    names = {field.name for field in fields(Limits)}
    limits = Limits(attributes=1, attribute_length=9, text_length=30, style_length=9, depth=2)
    files = {
        "attributes": '<rect x="1" y="1"/>',
        "attribute_length": f'<rect id="{"x" * 20}"/>',
        "text_length": f"<text>{'x' * 40}</text>",
        "style_length": f"<style>{'g{}' * 9}</style>",
        "depth": "<g><g/></g>",
    }
    for name, body in files.items():
        assert name in names
        with pytest.raises(SvgRefused) as refused:
            import_svg(
                f'<svg xmlns="http://www.w3.org/2000/svg">{body}</svg>'.encode(), None, limits
            )
        assert refused.value.field == name


_FROM_JAVASCRIPT = base64.b64decode(
    "AQcHACgBCGVsZW1lbnRzAWcBdgQDdGFndwFnBnBhcmVudHcABW9yZGVydwJhMAVhdHRyc3YCBGZpbGx3A3JlZAdvcGFjaXR5fD8AAAAoAQhlbGVt"
    "ZW50cwFyAXYEA3RhZ3cEcmVjdAZwYXJlbnR3AWcFb3JkZXJ3AmEwBWF0dHJzdgIFd2lkdGh9CgZoZWlnaHR3ATUnAQhlbGVtZW50cwF0ASgABwID"
    "dGFnAXcEdGV4dCgABwIFb3JkZXIBdwJhMSgABwIFYXR0cnMBdgEBeH0BKAEIZWxlbWVudHMBcwF2AwN0YWd3BSN0ZXh0BnBhcmVudHcBdAR0ZXh0"
    "dwJoaQA="
)
"""An update of npm yjs 13: `elements.set('g', {tag: 'g', attrs: {fill: 'red', opacity: 0.5}})`, a rect and a text."""


def test_plain_objects_of_a_javascript_client_are_elements() -> None:
    """Proves R-SVG-5: an element may be a plain object, and so may its attributes."""
    assert export_svg(_FROM_JAVASCRIPT) == (
        b'<svg xmlns="http://www.w3.org/2000/svg"><g fill="red" opacity="0.5">'
        b'<rect height="5" width="10"/></g><text x="1">hi</text></svg>'
    )
    assert left_out(_FROM_JAVASCRIPT) == {}


def _as_map(content: object) -> object:
    return Map(content) if isinstance(content, dict) else content


def _plain(content: dict[str, object]) -> object:
    return content


def _map_of_maps(content: dict[str, object]) -> object:
    return Map({name: _as_map(value) for name, value in content.items()})


def _map_of_texts(content: dict[str, object]) -> object:
    return Map(
        {
            name: Text(value)
            if isinstance(value, str)
            else Map({key: Text(str(each)) for key, each in value.items()})
            if isinstance(value, dict)
            else value
            for name, value in content.items()
        }
    )


@pytest.mark.parametrize("spelling", [_plain, _as_map, _map_of_maps, _map_of_texts])
def test_element_is_read_alike_in_every_spelling(spelling: object) -> None:
    """Proves R-SVG-5: exports, and the import that replaces the content, treat all spellings alike."""
    contents: dict[str, dict[str, object]] = {
        "a": {"tag": "g", "parent": "", "order": "a1", "attrs": {"fill": "red"}},
        "b": {"tag": "text", "parent": "a", "order": "a0", "attrs": {"x": 5, "y": "0.25"}},
        "c": {"tag": "#text", "parent": "b", "order": "a0", "text": "hello"},
        "d": {"tag": "rect", "parent": None, "order": "a0", "attrs": {"width": 1.5}},
    }
    doc: Doc[Map[object]] = Doc()
    elements = doc.get("elements", type=Map)
    assert callable(spelling)
    for name, content in contents.items():
        elements[name] = spelling(content)
    state = doc.get_update()
    assert export_svg(state) == (
        b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="1.5"/>'
        b'<g fill="red"><text x="5" y="0.25">hello</text></g></svg>'
    )
    listed = json.loads(export_json(state))["elements"]
    assert Counter(element["tag"] for element in listed) == Counter(("g", "text", "#text", "rect"))
    assert left_out(state) == {}
    replaced = import_svg(b'<svg xmlns="http://www.w3.org/2000/svg"><g/></svg>', state)
    doc.apply_update(replaced.update)
    assert export_svg(doc.get_update()) == b'<svg xmlns="http://www.w3.org/2000/svg"><g/></svg>'


def test_shared_list_in_place_of_a_text_is_reported() -> None:
    """Proves R-SVG-5: a shared list is neither a string nor a map."""
    doc: Doc[Map[object]] = Doc()
    doc.get("elements", type=Map)["e"] = Map({"tag": "rect", "attrs": Map({"x": Array([1])})})
    assert left_out(doc.get_update()) == {("rect@x", "type"): 1}
