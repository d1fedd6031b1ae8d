"""Elements outside the SVG namespace draw nothing, so they are dropped. An HTML `style` element is kept.

Proves R-SVG-14.
"""

import pytest

from svgx_canvas import SvgRefused, export_svg, import_svg
from tests.unit.canvas.audit import problems

SVG = "http://www.w3.org/2000/svg"
XHTML = "http://www.w3.org/1999/xhtml"
RECT = '<rect width="1"/>'


def exported(file: str) -> str:
    """Return the content of the root after import and export."""
    out = export_svg(import_svg(file.encode(), None).update)
    assert problems(out) == []
    return out.decode().partition(">")[2].removesuffix("</svg>")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f'<g xmlns="">{RECT}</g>', ""),
        (f'<g xmlns="">{RECT}</g>{RECT}', RECT),
        ('<rect xmlns="" width="1"/>', ""),
        (f'<g xmlns="urn:x">{RECT}</g>', ""),
        (f'<g xmlns=""><g xmlns="{SVG}">{RECT}</g></g>', ""),
        (f'<x:g xmlns:x="urn:x">{RECT}</x:g>', ""),
        (f'<g xmlns="{SVG}#">{RECT}</g>', ""),
        (f'<g xmlns=" {SVG}">{RECT}</g>', ""),
        (f'<g xmlns="{SVG} &#10;x">{RECT}</g>', ""),
        (f'<x:g xmlns:x="urn: x"/>{RECT}', RECT),
        (f'<g xmlns="{SVG.upper()}">{RECT}</g>', ""),
        (f'<div xmlns="{XHTML}"><svg xmlns="{SVG}">{RECT}</svg></div>', ""),
        (f'<svg xmlns="{XHTML}">{RECT}</svg>', ""),
        (f'<g xmlns="{SVG}">{RECT}</g>', f"<g>{RECT}</g>"),
        (f'<s:g xmlns:s="{SVG}"><s:rect width="1"/></s:g>', f"<g>{RECT}</g>"),
        (f'<g xmlns=""/><g><g xmlns=""/>{RECT}</g>', f"<g>{RECT}</g>"),
        ('<text>a<tspan xmlns="">b</tspan>c</text>', "<text>ac</text>"),
        ('<text>a<b xmlns="">b<tspan>c</tspan></b></text>', "<text>a</text>"),
        ('<title xmlns="">t</title>', ""),
        ('<style xmlns="">rect{fill:red}</style>', ""),
        (f'<style xmlns="{XHTML}">rect{{fill:red}}</style>', "<style>rect{fill:red}</style>"),
        (f'<h:style xmlns:h="{XHTML}">@import "x";</h:style>', "<style/>"),
        (f'<script xmlns="{XHTML}">x</script><style xmlns="urn:x">a{{}}</style>', ""),
        (f'<rect xmlns:s="{SVG}" s:fill="red" width="1"/>', RECT),
        ('<rect xmlns:x="urn:x" x:fill="red" x:href="#a" width="1"/>', RECT),
        ('<linearGradient><stop xmlns="" offset="1"/></linearGradient>', "<linearGradient/>"),
        ('<defs><mask xmlns="" id="m"/></defs>', "<defs/>"),
        (f'<switch><g xmlns="urn:x"/>{RECT}</switch>', f"<switch>{RECT}</switch>"),
    ],
)
def test_element_outside_the_svg_namespace_is_dropped_with_its_content(
    body: str, expected: str
) -> None:
    assert exported(f'<svg xmlns="{SVG}">{body}</svg>') == expected


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (f"<svg>{RECT}</svg>", RECT),
        (f'<svg><g xmlns="">{RECT}</g></svg>', f"<g>{RECT}</g>"),
        (f'<svg><g xmlns="{SVG}">{RECT}</g></svg>', f"<g>{RECT}</g>"),
        (f'<svg><g xmlns="urn:x">{RECT}</g></svg>', ""),
        (f'<s:svg xmlns:s="{SVG}">{RECT}<s:g/></s:svg>', "<g/>"),
        (f'<s:svg xmlns:s="{SVG}" xmlns="{SVG}">{RECT}</s:svg>', RECT),
    ],
)
def test_element_without_a_namespace_counts_as_svg_in_a_root_without_one(
    file: str, expected: str
) -> None:
    assert exported(file) == expected


@pytest.mark.parametrize("namespace", ["urn:x", XHTML, SVG + "/", SVG.upper()])
def test_root_of_another_namespace_is_refused(namespace: str) -> None:
    """A root outside the SVG namespace is malformed. Proves R-SVG-1."""
    with pytest.raises(SvgRefused) as refused:
        import_svg(f'<svg xmlns="{namespace}"/>'.encode(), None)
    assert (refused.value.code, refused.value.field) == ("malformed", "svg")
