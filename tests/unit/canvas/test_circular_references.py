"""Rendering files with circles of references. resvg alone exhausts its stack on most of them. Proves R-SVG-16."""

import base64

import pytest

from svgx_canvas import SvgRefused, render_png

SHAPE = '<rect width="40" height="40" fill="#ff0000" {}/>'
SIZE = 'width="9" height="9"'


def svg(body: str) -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">{body}</svg>'.encode()


def ring(container: str, reference: str, last: str) -> str:
    """Return three elements that refer to one another. `last` replaces the reference of the third one."""
    return "".join(
        f'<{container} id="a{index}"><rect width="{30 + index}" height="30" fill="white" '
        f"{reference.format(index + 1) if index < 2 else last}/></{container}>"
        for index in range(3)
    )


CIRCLES = {
    "masks": (
        ring("mask", 'mask="url(#a{})"', 'mask="url(#a0)"') + SHAPE.format('mask="url(#a0)"'),
        ring("mask", 'mask="url(#a{})"', "") + SHAPE.format('mask="url(#a0)"'),
    ),
    "clip paths in styles": (
        ring("clipPath", 'style="clip-path:url(#a{})"', 'style="clip-path:url(#a0)!important"')
        + SHAPE.format('clip-path="url(#a0)"'),
        ring("clipPath", 'style="clip-path:url(#a{})"', "") + SHAPE.format('clip-path="url(#a0)"'),
    ),
    "masks in a style sheet": (
        "<style>.last{mask:url(#a0)}</style>"
        + ring("mask", 'mask="url(#a{})"', 'class="last"')
        + SHAPE.format('mask="url(#a0)"'),
        ring("mask", 'mask="url(#a{})"', "") + SHAPE.format('mask="url(#a0)"'),
    ),
    "a pattern in the group that it fills": (
        (
            f'<g fill="url(#a)"><pattern id="a" {SIZE} patternUnits="userSpaceOnUse">'
            f'<rect width="4" height="4"/><rect x="4" width="4" height="4" fill="blue"/></pattern>'
            '<rect width="40" height="40"/></g>'
        ),
        (
            f'<pattern id="a" {SIZE} patternUnits="userSpaceOnUse">'
            f'<rect x="4" width="4" height="4" fill="blue"/></pattern>'
            '<rect width="40" height="40" fill="url(#a)"/>'
        ),
    ),
    "a pattern that draws a shape in the group that it fills": (
        (
            f'<g fill="url(#a)"><pattern id="a" {SIZE} patternUnits="userSpaceOnUse"><use href="#b"/>'
            '</pattern></g><rect id="b" width="4" height="4" stroke="blue"/>'
            '<rect width="40" height="40" fill="url(#a)"/>'
        ),
        (
            f'<pattern id="a" {SIZE} patternUnits="userSpaceOnUse">'
            '<rect id="b" width="4" height="4" stroke="blue" fill="none"/></pattern>'
            '<rect id="b" width="4" height="4" stroke="blue"/>'
            '<rect width="40" height="40" fill="url(#a)"/>'
        ),
    ),
    "a pattern in a group that a style sheet fills with a color": (
        (
            f'<style>g{{fill:green}}</style><g fill="url(#a)"><pattern id="a" {SIZE}><rect {SIZE}/>'
            '</pattern><rect width="40" height="40"/></g>'
        ),
        '<rect width="40" height="40" fill="green"/>',
    ),
    "a shape of a mask that is also drawn": (
        '<use href="#b"/><mask id="a"><rect id="b" width="9" height="9" mask="url(#a)"/></mask>',
        '<rect width="9" height="9"/>',
    ),
    "masks with the id of an earlier mask": (
        '<mask id="a1"/><mask id="a2"/>'
        + ring("mask", 'mask="url(#a{})"', 'mask="url(#a0)"')
        + SHAPE.format('mask="url(#a0)"'),
        ring("mask", 'mask="url(#a{})"', "") + SHAPE.format('mask="url(#a0)"'),
    ),
    "images of filters": (
        "".join(
            f'<filter id="a{index}"><feImage href="#b{index}"/></filter>'
            f'<rect id="b{index}" {SIZE} fill="blue" filter="url(#a{1 - index})"/>'
            for index in range(2)
        ),
        (
            f'<filter id="a0"><feImage href="#b0"/></filter><filter id="a1"><feImage href="#b1"/></filter>'
            f'<rect id="b0" {SIZE} fill="blue" filter="url(#a1)"/><rect id="b1" {SIZE} fill="blue"/>'
        ),
    ),
    "masks in an SVG picture": (
        '<image width="40" height="40" href="data:image/svg+xml;base64,'
        + base64.b64encode(svg(ring("mask", 'mask="url(#a{})"', 'mask="url(#a0)"'))).decode()
        + '"/><rect width="9" height="9"/>',
        '<rect width="9" height="9"/>',
    ),
}


@pytest.mark.parametrize(("circular", "drawn"), CIRCLES.values(), ids=CIRCLES)
def test_circle_is_drawn_without_the_reference_that_closes_it(circular: str, drawn: str) -> None:
    """The PNG is the same as without this reference. An SVG picture with a circle of references is not drawn."""
    assert render_png(svg(circular)) == render_png(svg(drawn))


def test_circle_that_important_declarations_may_close_is_refused() -> None:
    """resvg prefers important declarations of a style sheet to attributes, so no attribute can remove the reference."""
    body = ring("mask", 'mask="url(#a{})"', 'class="last"') + SHAPE.format('mask="url(#a0)"')
    sheet = "<style>.last{mask:url(#a0) !important}</style>"
    with pytest.raises(SvgRefused, match="in a circle") as refused:
        render_png(svg(sheet + body))
    assert refused.value.code == "unrenderable"
