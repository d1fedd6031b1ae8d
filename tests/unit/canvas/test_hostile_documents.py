"""Yjs clients may write anything into a document. Its exports are clean, or refused beyond a limit. Proves R-SVG-3."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from svgx_canvas import SvgRefused, export_json, export_svg
from svgx_canvas.limits import Limits
from svgx_yjs.lib0 import encode_text, encode_uint
from tests.unit.canvas.audit import problems
from tests.unit.canvas.client_documents import document

_URLS = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    " \t\njava\nscript:alert(1)",
    "\x01javascript:alert(1)",
    "java\tscript:alert(1)",
    "vbscript:x",
    "http://evil.example/x",
    "//evil.example/x",
    "/etc/passwd",
    "other.svg#a",
    "file:///etc/passwd",
    "blob:x",
    "data:text/html,<script>alert(1)</script>",
    "data:image/svg+xml;base64,PHNjcmlwdC8+",
    "data:image/svg+xml;base64,PHN2Zy8+",
    "data:image/svg+xml,<svg/>",
    "data:;base64,PHN2Zy8+",
    "data:text/html;base64,PHN2Zy8+",
    "data:image/png;base64,PHN2Zy8+",
    "data:image/png,x",
    "",
]
_STYLES = [
    "url(http://evil.example)",
    "u\\72l(http://evil.example)",
    "URL( 'http://evil.example' )",
    'url("http://evil.example")',
    "url(#a) url(//evil.example)",
    "image-set('http://evil.example' 1x)",
    "src('http://evil.example')",
    "expression(alert(1))",
    "calc(1px + (url(http://evil.example)))",
    "url(http://evil.example",
    "/**/url(/**/http://evil.example)",
    "-webkit-image-set(url(http://evil.example) 1x)",
    "var(--x, url(http://evil.example))",
]


def exported(elements: dict[str, object], canvas: dict[str, object] | None = None) -> bytes:
    """Return the SVG export of a document. Check that the audit finds no problem in the export."""
    state = document(elements, canvas)
    out = export_svg(state)
    assert problems(out) == []
    json.loads(export_json(state))
    return out


def tags(out: bytes) -> list[str]:
    return [etree.QName(node).localname for node in etree.fromstring(out).iter()]


@pytest.mark.parametrize(
    "tag",
    [
        "script",
        "SCRIPT",
        "foreignObject",
        "iframe",
        "image/",
        "svg:script",
        "a b",
        "g onload='x'",
        "",
        "?x",
        "!--",
        "metadata",
    ],
)
def test_elements_outside_the_allow_list_are_dropped_with_their_descendants(tag: str) -> None:
    out = exported(
        {
            "a": {"tag": tag, "attrs": {"id": "x"}},
            "b": {"tag": "rect", "parent": "a"},
            "c": {"tag": "circle"},
        }
    )
    assert tags(out) == ["svg", "circle"]


@pytest.mark.parametrize("url", _URLS)
@pytest.mark.parametrize("name", ["href", "xlink:href"])
@pytest.mark.parametrize(
    "tag", ["a", "use", "image", "feImage", "animate", "linearGradient", "textPath"]
)
def test_references_out_of_the_document_are_dropped(tag: str, name: str, url: str) -> None:
    out = exported({"a": {"tag": tag, "attrs": {name: url, "id": "kept", "attributeName": "x"}}})
    node = etree.fromstring(out)[0]
    assert dict(node.attrib) in ({"id": "kept", "attributeName": "x"}, {"id": "kept"})


@pytest.mark.parametrize(
    "name",
    [
        "onclick",
        "ONLOAD",
        "onbegin",
        "on",
        "src",
        "action",
        "xml:base",
        "ev:event",
        "a b",
        "x='1' onload",
        "",
        "xmlns",
        "xlink:onload",
    ],
)
def test_attributes_outside_the_allow_list_are_dropped(name: str) -> None:
    out = exported(
        {"a": {"tag": "rect", "attrs": {name: "alert(1)", "width": "1"}}}, {name: "alert(1)"}
    )
    root = etree.fromstring(out)
    assert dict(root[0].attrib) == {"width": "1"}
    assert dict(root.attrib) == {}


@pytest.mark.parametrize("value", _STYLES)
@pytest.mark.parametrize(
    "name",
    [
        "fill",
        "filter",
        "mask",
        "cursor",
        "marker-end",
        "clip-path",
        "transform",
        "d",
        "font-family",
    ],
)
def test_presentation_attributes_fetch_nothing(name: str, value: str) -> None:
    out = exported({"a": {"tag": "path", "attrs": {name: value}}})
    assert dict(etree.fromstring(out)[0].attrib) == {}


@pytest.mark.parametrize("value", _STYLES)
def test_style_attributes_fetch_nothing_and_keep_the_rest(value: str) -> None:
    out = exported({"a": {"tag": "path", "attrs": {"style": f"stroke:red;fill:{value}"}}})
    assert etree.fromstring(out)[0].get("style", "").startswith("stroke:red")


@pytest.mark.parametrize("value", _STYLES)
def test_style_sheets_fetch_nothing_and_keep_the_rest(value: str) -> None:
    sheet = f"a{{stroke:red}} b{{fill:{value}}}"
    out = exported({"s": {"tag": "style"}, "t": {"tag": "#text", "parent": "s", "text": sheet}})
    assert "stroke" in (etree.fromstring(out)[0].text or "")


@pytest.mark.parametrize(
    "sheet",
    [
        "@import 'http://evil.example/a.css';",
        "@\\69mport url(http://evil.example);",
        "@font-face{font-family:x;src:url(http://evil.example)}",
        "@namespace url(http://evil.example);",
        "@media print{@import 'x';a{fill:url(//evil.example)}}",
        "@media url(http://evil.example){a{fill:red}}",
        "@document url(http://evil.example){a{fill:red}}",
        "a{behavior:url(#x);-moz-binding:url(#x)}",
        "a[x=url(http://evil.example)]{fill:red}",
        "a{b{fill:url(http://evil.example)}}",
        "a{}</style><script>alert(1)</script>",
        "<!--a{fill:url(http://evil.example)}-->",
        "{" * 2000,
        "a{fill:" + "(" * 2000,
        ":is(" * 2000 + "a{fill:red}",
        "@media x{" * 2000 + "a{fill:red}",
    ],
)
def test_style_sheets_import_nothing(sheet: str) -> None:
    # The sheet is split into two texts. They form a rule only after they are joined.
    half = len(sheet) // 2
    exported(
        {
            "s": {"tag": "style"},
            "t": {"tag": "#text", "parent": "s", "order": "a0", "text": sheet[:half]},
            "u": {"tag": "#text", "parent": "s", "order": "a1", "text": sheet[half:]},
        }
    )


@pytest.mark.parametrize(
    "target", ["href", "xlink:href", "x:href", " href ", "HREF", "onclick", "style", "src", ""]
)
@pytest.mark.parametrize("tag", ["animate", "set", "animateTransform"])
def test_animation_of_references_or_handlers_is_dropped(tag: str, target: str) -> None:
    out = exported(
        {"a": {"tag": tag, "attrs": {"attributeName": target, "to": "javascript:alert(1)"}}}
    )
    assert tags(out) == ["svg"]


@pytest.mark.parametrize("name", ["from", "to", "by", "values"])
@pytest.mark.parametrize(
    "value", ["url(http://evil.example)", "red; javascript:alert(1)", "data:text/html,x"]
)
def test_animated_values_refer_to_nothing(name: str, value: str) -> None:
    out = exported({"a": {"tag": "animate", "attrs": {"attributeName": "fill", name: value}}})
    assert dict(etree.fromstring(out)[0].attrib) == {"attributeName": "fill"}


def test_characters_that_xml_forbids_are_dropped() -> None:
    out = exported(
        {
            "a": {"tag": "rect", "attrs": {"id": "a\x00\x1f\ufffe<&\"'>\n"}},
            "b": {"tag": "text"},
            "c": {"tag": "#text", "parent": "b", "text": "x\x00\x0b]]>&<\r"},
        }
    )
    root = etree.fromstring(out)
    assert root[0].get("id") == "a<&\"'>\n"
    assert root[1].text == "x]]>&<\r"


def test_values_of_wrong_types_are_ignored_and_numbers_are_read() -> None:
    elements: dict[str, object] = {
        "number": 3,
        "string": "rect",
        "none": None,
        "list": [1],
        "no tag": {"parent": ""},
        "tag is a number": {"tag": 5},
        "tag is a map": {"tag": {"x": 1}},
        "parent is a number": {"tag": "g", "parent": 5},
        "attrs are a list": {"tag": "rect", "attrs": [1], "order": "a1"},
        "attrs are a string": {"tag": "line", "attrs": "x", "order": "a2"},
        "odd attrs": {
            "tag": "circle",
            "order": "a3",
            "attrs": {
                "r": 5,
                "cx": 1.5,
                "cy": 2.0,
                "x": True,
                "y": None,
                "fill": [1],
                "d": {"a": 1},
                "dx": float("nan"),
            },
        },
        "text is a number": {"tag": "#text", "text": 5},
        "text": {"tag": "text", "order": "a5"},
        "text is a fraction": {"tag": "#text", "parent": "text", "text": 1e-7},
        "order is a number": {"tag": "path", "order": 5},
        "parent is null": {"tag": "g", "parent": None, "order": "a4"},
    }
    out = exported(elements, {"width": 10, "height": "5", "viewBox": None})
    root = etree.fromstring(out)
    assert [etree.QName(node).localname for node in root] == [
        "path",
        "rect",
        "line",
        "circle",
        "g",
        "text",
    ]
    assert root[5].text == "1e-7"
    assert dict(root[3].attrib) == {"cx": "1.5", "cy": "2", "r": "5"}
    assert dict(root.attrib) == {"height": "5", "width": "10"}


def test_shared_types_in_any_place_are_read_or_ignored() -> None:
    doc: Doc[Map[object]] = Doc()
    with doc.transaction():
        elements = doc.get("elements", type=Map)
        elements["text"] = Map(
            {"tag": "text", "attrs": Map({"x": Text("5"), "y": Array([1]), "id": "t"})}
        )
        elements["characters"] = Map({"tag": "#text", "parent": "text", "text": Text("hello")})
        elements["more"] = Map(
            {"tag": "#text", "parent": "text", "order": "a1", "text": Array(["x"])}
        )
        elements["odd"] = Map({"tag": Text("g"), "parent": Map(), "order": Text("a0")})
        elements["array"] = Array([Map()])
        elements["a text"] = Text("x")
        elements["document"] = Doc()
        elements["xml"] = XmlFragment([XmlElement("rect"), XmlText("x")])
    out = export_svg(doc.get_update())
    assert problems(out) == []
    assert b'<text id="t" x="5">hello</text>' in out


def test_roots_of_another_type_make_an_empty_canvas() -> None:
    doc: Doc[Text] = Doc()
    with doc.transaction():
        doc.get("elements", type=Text).insert(0, "hello")
        doc.get("canvas", type=Text).insert(0, "hello")
    assert tags(export_svg(doc.get_update())) == ["svg"]


def test_deeply_nested_maps_are_not_read() -> None:
    """Reading ignores 50,000 nested maps, because they are not part of an element."""
    item = bytes([7 | 0x20])
    structs = [item + b"\x01" + encode_text("elements") + encode_text("k") + b"\x01"]
    structs += [
        item + b"\x00" + encode_uint(5) + encode_uint(index) + encode_text("attrs") + b"\x01"
        for index in range(50_000)
    ]
    state = (
        encode_uint(1)
        + encode_uint(len(structs))
        + encode_uint(5)
        + encode_uint(0)
        + b"".join(structs)
        + b"\x00"
    )
    assert tags(export_svg(state)) == ["svg"]


def test_tree_deeper_than_the_limit_is_cut() -> None:
    elements: dict[str, object] = {
        f"e{index}": {"tag": "g", "parent": f"e{index - 1}" if index else ""}
        for index in range(5000)
    }
    assert len(tags(exported(elements))) == Limits().depth


def test_more_elements_than_the_limit_are_refused() -> None:
    state = document({f"e{index}": {"tag": "g"} for index in range(50)})
    with pytest.raises(SvgRefused) as refused:
        export_svg(state, Limits(elements=10))
    assert (refused.value.code, refused.value.field, refused.value.limit) == (
        "too_large",
        "elements",
        10,
    )


def test_value_longer_than_the_limit_is_dropped() -> None:
    state = document({"e": {"tag": "rect", "attrs": {"id": "x" * 100, "width": "1"}}})
    assert dict(etree.fromstring(export_svg(state, Limits(attribute_length=50)))[0].attrib) == {
        "width": "1"
    }


_NAMES = [
    "href",
    "xlink:href",
    "style",
    "fill",
    "onload",
    "attributeName",
    "to",
    "class",
    "d",
    "mask",
    "data-x",
    "id",
]
_VALUES = [
    *_URLS,
    *_STYLES,
    "#a",
    "red",
    "fill:red;",
    "</style>",
    "<script>",
    "'",
    '"',
    "]]>",
    "{}",
    "\\",
    "@import",
    "href",
]


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.fixed_dictionaries(
            {},
            optional={
                "tag": st.sampled_from(
                    ["g", "style", "script", "a", "set", "#text", "text", "image", "use", "title"]
                ),
                "parent": st.sampled_from(["", *"abcdef"]),
                "order": st.sampled_from(["a0", "a1", ""]),
                "text": st.lists(st.sampled_from(_VALUES), max_size=4).map("".join),
                "attrs": st.dictionaries(
                    st.sampled_from(_NAMES),
                    st.lists(st.sampled_from(_VALUES), max_size=3).map("".join),
                ),
            },
        ),
    )
)
@example({"a": {"tag": "g", "attrs": {"d": "data:image/svg+xml;base64,PHN2Zy8+@import"}}})
def test_export_of_random_content_is_clean(elements: dict[str, object]) -> None:
    out = exported(elements)
    # The export is a complete SVG file.
    root = etree.fromstring(out)
    assert etree.QName(root).localname == "svg"
