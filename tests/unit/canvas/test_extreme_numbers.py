"""A number of any size and length costs an export no more than its own value. Proves R-SVG-4 and R-SVG-12."""

import json
import struct

import pytest

from svgx_canvas import (
    SvgRefused,
    difference,
    export_json,
    export_svg,
    import_svg,
    render_png,
)
from svgx_canvas.policy import Report
from tests.unit.canvas.audit import problems
from tests.unit.canvas.client_documents import document

_LONG = "9" * 5000
"""An integer with more digits than Python converts from text."""

_SVG = '<svg xmlns="http://www.w3.org/2000/svg" {}>{}</svg>'
_RECT = '<rect width="9" height="9"/>'


def exported(elements: dict[str, object]) -> tuple[str, set[str]]:
    """Return the SVG export of a document and the names of the parts left out. Check all other outputs too."""
    state = document(elements)
    report = Report()
    svg = export_svg(state, report=report)
    assert problems(svg) == []
    json.loads(export_json(state))
    assert json.loads(difference(document({}), state, 0, 10))["added"] == len(elements)
    assert render_png(svg, 9, 9)
    return svg.decode(), {item.what for item in report.dropped()}


def size_or_refusal(file: bytes, box: int | None) -> tuple[int, int] | str:
    """Return the size of the file's picture in a box of `box` by `box` pixels, or the field of the refusal."""
    try:
        png = render_png(file, box, box)
    except SvgRefused as refused:
        return refused.field
    width, height = struct.unpack(">II", png[16:24])
    return width, height


@pytest.mark.parametrize(
    ("tag", "name", "value"),
    [
        ("rect", "fill", f"rgb({_LONG},0,0)"),
        ("rect", "fill", f"rgb(-{_LONG},0,0)"),
        ("rect", "fill", f"rgb({_LONG}%,0,0)"),
        ("rect", "width", f"calc({_LONG}px)"),
        ("rect", "cursor", f"var({_LONG})"),
        ("rect", "transform", f"translate3d({_LONG})"),
        ("pattern", "patternTransform", f"f({_LONG})"),
    ],
)
def test_attribute_with_a_very_long_integer_in_css_is_left_out(
    tag: str, name: str, value: str
) -> None:
    """Proves R-STATE-17: the export has the other attributes and names the one that is left out."""
    svg, left_out = exported({"e": {"tag": tag, "attrs": {name: value, "id": "a"}}})
    assert f'<{tag} id="a"/>' in svg
    assert left_out == {f"{tag}@{name}"}


@pytest.mark.parametrize("name", ["to", "values"])
def test_animated_value_with_a_very_long_integer_is_left_out(name: str) -> None:
    """The values of an animation are CSS too."""
    attrs = {"attributeName": "fill", name: f"rgb({_LONG},0,0)"}
    _, left_out = exported({"e": {"tag": "animate", "attrs": attrs}})
    assert left_out == {f"animate@{name}"}


@pytest.mark.parametrize(
    ("text", "expected", "names"),
    [
        (f"fill:rgb({_LONG},0,0);stroke:red", "stroke:red;", {"fill()"}),
        (f"font-size:{_LONG};fill:u\\72l(#a)", "fill:url(#a);", {"font-size()"}),
        (f'font-size:{_LONG}px;--x:"a";stroke:red', '--x:"a";stroke:red;', {"font-size()"}),
        (f'font-family:"{_LONG}"', f'font-family:"{_LONG}"', set()),
        (f"font-size:{_LONG}/* ' */;--x:(1);stroke:'}}", '--x:(1);stroke:"}";', {"font-size()"}),
        (f"--x:(/*{_LONG}*/1)", f"--x:(/*{_LONG}*/1)", set()),
        (f"font-size:1.{_LONG}em;--x:(1)", f"font-size:1.{_LONG}em;--x:(1)", set()),
        (f"font-size:{_LONG};stroke:red", f"font-size:{_LONG};stroke:red", set()),
        (f"font-size:data:{_LONG}", f"font-size:data:{_LONG}", set()),
    ],
)
def test_declaration_with_a_very_long_integer_is_left_out(
    text: str, expected: str, names: set[str]
) -> None:
    """The other declarations of the `style` attribute are kept, and so are digits outside of integers.

    An attribute without a character of `css.structure.STRUCTURE` is not read as tokens, so its integers are kept too.
    """
    svg, left_out = exported({"e": {"tag": "rect", "attrs": {"style": text}}})
    style = expected.replace('"', "&quot;")
    assert (f'<rect style="{style}"/>' in svg, left_out) == (True, names)


def test_long_integer_beside_a_reference_in_a_custom_property_is_left_out() -> None:
    """The declarations are read again if a custom property of the canvas has a reference (see `variables`)."""
    custom = {"tag": "g", "attrs": {"style": "--x:url(#a)"}}
    style = f"font-size:{_LONG};stroke:red"
    svg, left_out = exported({"e": {"tag": "rect", "attrs": {"style": style}}, "f": custom})
    assert '<rect style="stroke:red;"/>' in svg
    assert left_out == {"font-size()"}


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (f"g{{font-size:{_LONG}px}}", "font-size()"),
        (f"g{{--x:a{{b:{_LONG}}}}}", "--x()"),
        (f":nth-child({_LONG}){{fill:red}}", "qualified-rule"),
        (f"{_LONG}{{fill:red}}", "qualified-rule"),
        (f"@media (width:{_LONG}px){{g{{fill:red}}}}", "@media"),
        (f"@namespace {_LONG};", "@namespace"),
        (f"@font-face{{ascent-override:{_LONG}%}}", "ascent-override()"),
        (f"@font-face{{src:{_LONG}}}", "src()"),
    ],
)
def test_rule_with_a_very_long_integer_is_left_out(rule: str, name: str) -> None:
    """The rest of the style sheet is kept, on import and on export."""
    sheet = f"{rule}rect{{stroke:#0f0}}"
    elements: dict[str, object] = {
        "s": {"tag": "style"},
        "t": {"tag": "#text", "parent": "s", "text": sheet},
    }
    svg, left_out = exported(elements)
    imported = import_svg(_SVG.format("", f"<style>{sheet}</style>").encode(), None)
    assert "rect{stroke:#0f0;}" in svg
    assert _LONG not in svg
    assert {item.what for item in imported.dropped} == left_out == {name}


@pytest.mark.parametrize(
    ("attrs", "natural", "in_box"),
    [
        ('viewBox="0 0 1e999 100"', (9, 9), (10, 10)),
        ('viewBox="0 0 1e39 100"', (9, 9), (10, 10)),
        ('viewBox="-1e999 0 10 100"', (9, 9), (10, 10)),
        ('viewBox="0 0 1e38 100"', "side", (10, 1)),
        ('viewBox="0 0 1e-320 100"', "svg", "svg"),
        ('width="1e308" viewBox="0 0 10 20"', "side", (10, 10)),
        ('height="1e308" viewBox="0 0 20 1e-300"', "side", (10, 10)),
        ('width="1e308" viewBox="0 0 1e38 1e38"', "side", (10, 10)),
        ('width="5000%" viewBox="0 0 3e38 4"', "side", (10, 1)),
        ('width="1e999" height="1e999"', (9, 9), (10, 10)),
        ('width="1e39" height="5"', "side", (10, 1)),
    ],
)
def test_size_that_the_renderer_cannot_represent_is_ignored_or_refused(
    attrs: str, natural: tuple[int, int] | str, in_box: tuple[int, int] | str
) -> None:
    """`natural` and `in_box` are the size of the picture, or the field of the refusal. Proves R-SVG-4."""
    file = _SVG.format(attrs, _RECT).encode()
    assert size_or_refusal(file, None) == natural
    assert size_or_refusal(file, 10) == in_box


@pytest.mark.parametrize(
    ("pattern", "refused"),
    [
        ('patternTransform="scale(1e200)"', False),
        ('width="0" height="9" patternTransform="matrix(1e200 1e300 1e200 1 1e999 0)"', False),
        ('width="1e308" patternTransform="scale(1e200) scale(0)"', False),
        ('width="1e308" height="1e308" patternTransform="scale(1e200)"', True),
        ('width="1" height="1" patternTransform="scale(1e999)"', True),
    ],
)
def test_tile_of_a_pattern_with_extreme_numbers_has_a_size(pattern: str, refused: bool) -> None:
    """Proves R-SVG-4: the size of the tile is always a number, and a tile beyond the limit is refused."""
    file = _SVG.format('width="9" height="9"', f"<pattern {pattern}/>{_RECT}").encode()
    if refused:
        with pytest.raises(SvgRefused) as error:
            render_png(file)
        assert error.value.field == "pattern_pixels"
    else:
        assert render_png(file)
