r"""CSS can name every character by an escape, such as `\1`, also those that XML and UTF-8 forbid. Proves R-SVG-15."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from svgx_canvas import difference, export_json, export_svg, import_svg, render_png
from svgx_canvas.css import clean_declarations, clean_stylesheet, declarations, value_urls
from svgx_canvas.limits import Limits
from svgx_canvas.policy import Report
from svgx_canvas.svg_writer import NOT_XML
from svgx_common.contract.collab import Dropped, Imported
from tests.unit.canvas.client_documents import document

XMLNS = "http://www.w3.org/2000/svg"

_DROPPED = "foo:bar;"
"""A declaration that is dropped, so that the others are written anew."""

DECLARATIONS = [
    (r'font-family:"\d800 "', 'font-family:"\ufffd";'),
    (r'font-family:"\d83d\de00"', 'font-family:"\ufffd\ufffd";'),
    (r'font-family:"\00d8001"', 'font-family:"\ufffd1";'),
    (r'font-family:"\d8001 "', 'font-family:"\U000d8001";'),
    (r'font-family:"\\d800"', r'font-family:"\\d800";'),
    (r"font-family:\d800 b", "font-family:\ufffdb;"),
    (r'font-family:"\0 \110000 "', 'font-family:"\ufffd\ufffd";'),
    (r'font-family:"\1 "', r'font-family:"\1 ";'),
    (r'font-family:"\1"', r'font-family:"\1 ";'),
    (r'font-family:"a\\\1 b"', r'font-family:"a\\\1 b";'),
    (r'font-family:"\fffe\ffff"', r'font-family:"\fffe \ffff ";'),
    (r"font-family:a\8 b", r"font-family:a\8 b;"),
    (r"font-family:\8 b", r"font-family:\8 b;"),
    (r"font-family:-\8 b", r"font-family:-\8 b;"),
    (r"fill:url(#\1)", r"fill:url(#\1 );"),
    (r"fill:url(#\7f)", r"fill:url(#\7f );"),
    (r"--\1:2\b", r"--\1 :2\b ;"),
]
"""Declarations, and the text that is written for them."""

SHEETS = [
    (r".a\1 b{fill:red}", r".a\1 b{fill:red;}"),
    (r"#\d800{fill:red}", "#\ufffd{fill:red;}"),
    (r'[class="\1"]{fill:red}', r'[class="\1 "]{fill:red;}'),
    (r'text::after{content:"\dfff\b"}', 'text::after{content:"\ufffd\\b ";}'),
    (r'@namespace url("\1");', r'@namespace "\1 ";'),
    (r"@keyframes \1 a{to{fill:red}}", r"@keyframes \1 a{to{fill:red;}}"),
    (r"@layer \d800;g{fill:red}", "@layer \ufffd;g{fill:red;}"),
    (r'text::after{content:"\\"}', r'text::after{content:"\5c ";}'),
    (r'g{font-family:"\1<b{"}', r'g{font-family:"\1 \3c b\7b ";}'),
]
"""Style sheets, and the text that is written for them."""


def exported(style: str, sheet: str) -> tuple[str, str]:
    """Return the style and the style sheet in the export of a document. Check the other outputs too."""
    state = document(
        {
            "e": {"tag": "rect", "attrs": {"style": style}},
            "s": {"tag": "style"},
            "t": {"tag": "#text", "parent": "s", "text": sheet},
        }
    )
    svg = export_svg(state)
    root = etree.fromstring(svg)
    found = root[0].attrib["style"], root[1].text or ""
    listed = json.loads(export_json(state))["elements"]
    assert (listed[0]["attrs"]["style"], listed[2]["text"]) == found
    assert json.loads(difference(document({}), state, 0, 10))["added"] == 3
    assert render_png(svg, 9, 9)
    again = import_svg(svg, None)
    assert (export_svg(again.update), again.dropped) == (svg, [])
    return str(found[0]), found[1]


@pytest.mark.parametrize(("text", "expected"), DECLARATIONS)
def test_escape_of_a_forbidden_character_in_a_style_attribute_is_kept(
    text: str, expected: str
) -> None:
    r"""The text is exported, and an import of the export changes nothing. Proves R-SVG-2 and R-SVG-12.

    A style sheet has a backslash as `\5c `, not as `\\`, because resvg takes a quote after `\\` for an escaped quote.
    """
    style, sheet = exported(_DROPPED + text, f"g{{{text}}}")
    assert style == expected
    assert sheet == f"g{{{expected}}}".replace(r"\\", r"\5c ")
    assert exported(text, "g{fill:red}")[0] == text


@pytest.mark.parametrize(("text", "expected"), SHEETS)
def test_escape_of_a_forbidden_character_in_a_style_sheet_is_kept(text: str, expected: str) -> None:
    """An import of the file, an export and a second import give the same rules. Proves R-SVG-2 and R-SVG-12."""
    assert exported("fill:red", text)[1] == expected
    element = etree.Element(f"{{{XMLNS}}}svg", nsmap={None: XMLNS})
    etree.SubElement(element, f"{{{XMLNS}}}style").text = text
    imported = import_svg(etree.tostring(element), None)
    assert imported.dropped == []
    assert etree.fromstring(export_svg(imported.update))[0].text == expected


@pytest.mark.parametrize(
    ("sheet", "name"),
    [
        (r"@\d800 x;g{fill:red}", "@\ufffdx"),
        (r"g{x\dfff :1;fill:red}", "x\ufffd"),
        (r"g{x\dfff :url(b);fill:red}", "x\ufffd"),
        (r"g{--\d800:url(b);fill:red}", "--\ufffd()"),
    ],
)
def test_report_of_a_dropped_name_with_an_escaped_surrogate_is_text(sheet: str, name: str) -> None:
    """The response can be encoded as JSON. Otherwise the import would fail after it is stored. Proves R-SVG-1."""
    imported = import_svg(f'<svg xmlns="{XMLNS}"><style>{sheet}</style></svg>'.encode(), None)
    dropped = [Dropped(what=it.what, reason=it.reason, count=it.count) for it in imported.dropped]
    response = Imported(elements=imported.elements, revision=1, dropped=dropped)
    assert json.loads(response.model_dump_json())["dropped"][0]["what"] == name


def test_reference_with_an_escaped_delete_character_is_found() -> None:
    """Proves R-SVG-4: a value that is read and written still names its element, so the cost of this element counts."""
    ((_, value),) = declarations(r"fill:url(#\7f)", frozenset({"fill"}))
    assert value_urls(value) == ("#\x7f",)


_PARTS = st.sampled_from(
    [r"\d800 ", r"\DfFf", r"\00d8001", r"\1 ", r"\7f ", r"\b", r"\fffe", r"\0", r"\a ", r"\\", "\\", "\n",
     '"', "'", "url(", "(", ")", "[", "]", "{", "}", "a", ".a", "#", ":", ";", ",", "-", "1", "9px", " ", "e", "@",
     "fill:", "foo:", "--x:", "font-family:", "content:", "@media ", "@x ", "@namespace ", "/*", "*/", r"\3c ", r"\7b "]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(_PARTS, max_size=14).map("".join))
def test_clean_text_of_random_escapes_is_unchanged_by_a_second_cleaning(text: str) -> None:
    """A cleaned text has no character that XML forbids. The report of the dropped parts has no lone surrogate."""
    report = Report()
    sheet = clean_stylesheet(text, Limits(), report.add)
    style = clean_declarations(_DROPPED + text, report.add)
    names = [item.what for item in report.dropped()]
    assert not re.search(NOT_XML, sheet + style)
    assert "".join(names).encode()
    assert clean_stylesheet(sheet, Limits(), report.add) == sheet
    assert clean_declarations(style, report.add) == style
