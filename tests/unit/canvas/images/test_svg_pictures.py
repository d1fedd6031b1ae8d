"""SVG pictures in `data:` URLs are kept, and cleaned like a file. Proves R-SVG-2, R-SVG-3 and R-SVG-9."""

import base64
import re

import pytest

from svgx_canvas import Dropped, export_svg, render_png
from tests.unit.canvas.audit import problems
from tests.unit.canvas.client_documents import document
from tests.unit.canvas.images.pictures import (
    HEAD,
    PNG,
    SVG_SPELLINGS,
    XMLNS,
    b64,
    drawn,
    first_picture,
    href,
    import_and_export,
    nested,
    svg,
    svg_url,
    with_picture,
)


@pytest.mark.parametrize("name", ["href", "xlink:href"])
@pytest.mark.parametrize("tag", ["image", "feImage"])
@pytest.mark.parametrize("spelling", SVG_SPELLINGS)
def test_svg_picture_is_kept_in_canonical_form(spelling: str, tag: str, name: str) -> None:
    """An SVG picture is kept however its URL is spelled, and is written in one form. Proves R-SVG-9."""
    text = svg('<title>é ✓</title><rect width="9" height="9" fill="blue"/>')
    out, dropped = import_and_export(
        with_picture(SVG_SPELLINGS[spelling](text.encode()), tag, name)
    )
    assert dropped == []
    attribute = name.replace("xlink:", "{http://www.w3.org/1999/xlink}")
    found = href(out, attribute)
    assert found is not None
    picture = base64.b64decode(found.removeprefix("data:image/svg+xml;base64,")).decode()
    assert "<title>é ✓</title>" in picture
    assert 'fill="blue"' in picture


_PICTURES = {
    "shapes": svg('<g transform="rotate(9)"><circle r="7" fill="#0a0"/></g>'),
    "style sheet": svg('<style>.a{fill:#f0f}</style><rect class="a" width="8" height="8"/>'),
    "style": svg('<rect style="fill:#08f;opacity:.5" width="8" height="8"/>'),
    "gradient": svg(
        '<linearGradient id="g"><stop stop-color="red"/><stop offset="1" stop-color="blue"/></linearGradient>'
        '<rect width="10" height="10" fill="url(#g)"/>'
    ),
    "use": svg('<defs><rect id="r" width="3" height="3"/></defs><use href="#r" x="4"/>'),
    "mask": svg(
        '<mask id="m"><rect width="5" height="5" fill="#fff"/></mask><rect width="9" height="9" mask="url(#m)"/>'
    ),
    "filter": svg(
        '<filter id="f"><feGaussianBlur stdDeviation="1"/></filter><rect x="2" width="5" height="5" filter="url(#f)"/>'
    ),
    "text": svg('<text y="9" font-size="9">Ж</text>'),
    "view box": f'<svg {XMLNS} viewBox="0 0 5 5"><rect width="2" height="5"/></svg>',
    "aspect ratio": f'<svg {XMLNS} viewBox="0 0 5 9" preserveAspectRatio="none"><rect width="2" height="5"/></svg>',
    "namespace prefix": f'<s:svg {XMLNS.replace("=", ":s=")} width="9"><s:rect width="4" height="9"/></s:svg>',
    "entities": '<!DOCTYPE svg [<!ENTITY red "fill:#f00">]>' + svg('<rect width="4" height="4" style="&red;"/>'),
    "declared encoding": '<?xml version="1.0" encoding="utf-8"?>' + svg("<rect width='4' height='4'/>"),
}  # fmt: skip


@pytest.mark.parametrize("spelling", ["canonical", "percent-encoded", "compressed"])
@pytest.mark.parametrize("name", _PICTURES)
def test_svg_picture_looks_the_same_after_import_and_export(name: str, spelling: str) -> None:
    """A file with an SVG picture looks the same after import and export, pixel by pixel. Proves R-SVG-2."""
    file = with_picture(SVG_SPELLINGS[spelling](_PICTURES[name].encode()))
    out, dropped = import_and_export(file)
    assert dropped == []
    assert drawn(out) == drawn(file)
    # resvg draws no text in SVG pictures.
    assert (drawn(out) == drawn(HEAD.encode() + b"</svg>")) == (name == "text")
    render_png(out)


@pytest.mark.parametrize(
    "body",
    [
        "<script>alert(1)</script>",
        '<rect onload="alert(1)"/>',
        '<foreignObject><iframe xmlns="http://www.w3.org/1999/xhtml" src="http://evil.example"/></foreignObject>',
        '<image href="http://evil.example/a.png"/>',
        '<image href="//evil.example/a.png"/>',
        '<image href="file:///etc/passwd"/>',
        '<image href="data:text/html,&lt;script>alert(1)&lt;/script>"/>',
        '<use href="http://evil.example/a.svg#b"/>',
        '<use href="data:image/svg+xml,&lt;svg/>"/>',
        '<a href="javascript:alert(1)"><rect width="1"/></a>',
        '<style>@import "http://evil.example/a.css"; rect { fill: url(http://evil.example) }</style>',
        '<rect style="fill:url(http://evil.example)"/>',
        '<rect fill="url(http://evil.example#a)"/>',
        '<animate attributeName="href" to="javascript:alert(1)"/>',
        '<set attributeName="onload" to="alert(1)"/>',
        '<?xml-stylesheet href="http://evil.example"?>',
        f'<image href="{svg_url(svg("<script>alert(1)</script>"))}"/>',
        f'<image href="{svg_url(svg(f"""<image href="{svg_url(svg("<script/>"))}"/>"""))}"/>',
    ],
)
def test_svg_picture_is_cleaned_by_the_same_policy(body: str) -> None:
    """An SVG picture loses everything that runs or is fetched, at every level. Proves R-SVG-3."""
    for spelling in ("canonical", "percent-encoded", "compressed", "UTF-16"):
        url = SVG_SPELLINGS[spelling](svg(body).encode())
        out, dropped = import_and_export(with_picture(url))
        assert dropped
        assert href(out) is not None
        client = document({"a": {"tag": "image", "attrs": {"href": url}}})
        assert problems(export_svg(client)) == []


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_svg_pictures_are_kept_three_levels_deep(levels: int) -> None:
    """SVG pictures may be nested three deep, with a bitmap in the innermost. Proves R-SVG-9."""
    bitmap = f'<image href="data:image/png;base64,{b64(PNG)}"/>'
    file = with_picture(svg_url(nested(levels, bitmap)))
    out, dropped = import_and_export(file)
    assert dropped == []
    for _ in range(levels):
        out = first_picture(out)
    assert f"data:image/png;base64,{b64(PNG)}".encode() in out


@pytest.mark.parametrize("levels", [4, 5, 20])
def test_svg_picture_at_the_fourth_level_is_dropped_and_reported(levels: int) -> None:
    """A picture at the fourth level of nesting is dropped, and the report names it. Proves R-SVG-9."""
    out, dropped = import_and_export(with_picture(svg_url(nested(levels))))
    assert dropped == [Dropped("image@href", "nesting", 1)]
    for _ in range(3):
        out = first_picture(out)
    assert re.search(rb"<image/?>", out)
    client = document({"a": {"tag": "image", "attrs": {"href": svg_url(nested(levels))}}})
    assert problems(export_svg(client)) == []
