"""Each attribute is judged by its own grammar. Proves R-SVG-13."""

import pytest
from lxml import etree

from svgx_canvas import export_svg, import_svg
from tests.unit.canvas.audit import problems
from tests.unit.canvas.client_documents import document
from tests.unit.canvas.css_cases import EVIL

XMLNS = "http://www.w3.org/2000/svg"

KEPT = [
    ("animate", "begin", "a.repeat(3)"),
    ("animate", "begin", "accessKey(s); wallclock(2030-01-01T00:00:00Z); a.end+2s"),
    ("animate", "begin", "url(x).click"),
    ("animate", "end", "b.repeat(1) - 0.5s"),
    ("set", "end", "wallclock(12:00)"),
    ("animateMotion", "begin", "a.repeat(3)"),
    ("animateTransform", "begin", "prev.click"),
    ("animate", "keySplines", ".5 0 .5 1; 0 0 1 1"),
    ("feFlood", "result", "step(1)"),
    ("feFlood", "result", "url(step)"),
    ("feOffset", "in", "step(1)"),
    ("feBlend", "in2", "image-set(a)"),
    ("feDisplacementMap", "in2", "a(b"),
    ("feColorMatrix", "values", "1 0 0 0 0 0 1 0 0 0 0 0 1 0 0 0 0 0 1 0"),
    ("feFuncR", "tableValues", "0 .5 1"),
    ("style", "media", "(min-width: 1px) and (max-width: calc(1px + 2px))"),
    ("style", "type", "text/css"),
    ("g", "systemLanguage", "en, de"),
    ("g", "requiredExtensions", "http://example.org/ext(1)"),
    ("g", "class", "a(b) sm:flex"),
    ("g", "id", "Layer (1)"),
    ("g", "data-x", "url(http://example.org)"),
    ("g", "aria-label", "f(x) = image('y')"),
    ("use", "href", "#Layer (1)"),
    ("use", "href", "#a(1)"),
    ("use", "href", " #url(a)"),
    ("use", "xlink:href", "#step(1)"),
    ("textPath", "href", "#a)b("),
    ("feImage", "href", "#image(1)"),
    ("animateMotion", "path", "M0 0L9 9"),
    ("textPath", "path", "M0 0L9 9"),
    ("polygon", "points", "0,0 9,9 0,9"),
    ("svg", "preserveAspectRatio", "xMidYMid slice"),
    ("path", "transform", "rotate(45) translate(1 2)"),
    ("path", "transform", "translate(var(--x))"),
    ("linearGradient", "gradientTransform", "skewX(9)"),
    ("path", "d", "M0 0"),
    ("rect", "width", "calc(1px + 2px)"),
    ("rect", "fill", "url(#a) red"),
    ("rect", "fill", "color-mix(in srgb, red, blue)"),
    ("rect", "mask", "linear-gradient(red, blue)"),
    ("rect", "mask-image", "linear-gradient(red, blue)"),
    ("rect", "clip-path", "circle(5px)"),
    ("rect", "filter", "url(#f) blur(1px)"),
    ("rect", "cursor", "url(data:image/gif;base64,R0lGODlhAQABAAAAACw=), auto"),
    ("rect", "clip", "rect(1px, 2px, 3px, 4px)"),
]

ANIMATED = [
    ("class", "values", "sm:flex; a(b)"),
    ("class", "to", "a(b"),
    ("result", "to", "step(1)"),
    ("in", "values", "step(1); step(2)"),
    ("points", "to", "0,0 9,9"),
    ("viewBox", "to", "0 0 9 9"),
    ("startOffset", "from", "50%"),
    ("fill", "to", "url(#b)"),
    ("fill", "values", "url(#a); url(#b); color-mix(in srgb, red, blue)"),
    ("mask", "to", "linear-gradient(red, blue)"),
    ("transform", "by", "9 9"),
    ("d", "values", "M0 0H1; M0 0H2"),
    ("stroke-width", "by", "1.5"),
]

DROPPED = [
    ("rect", {"fill": f"url({EVIL})"}, "fill"),
    ("rect", {"fill": f"\\75rl({EVIL})"}, "fill"),
    ("rect", {"mask": f"image-set('{EVIL}' 1x)"}, "mask"),
    ("rect", {"cursor": "url(#a), auto"}, "cursor"),
    ("rect", {"cursor": f"image-set('{EVIL}' 1x), auto"}, "cursor"),
    ("rect", {"font-family": f"url({EVIL})"}, "font-family"),
    ("rect", {"width": f"src('{EVIL}')"}, "width"),
    ("path", {"d": f"url({EVIL})"}, "d"),
    ("path", {"transform": f"url({EVIL})"}, "transform"),
    ("use", {"href": EVIL}, "href"),
    ("use", {"href": "x.svg#a"}, "href"),
    ("image", {"href": "#a"}, "href"),
    ("image", {"href": " \n#a"}, "href"),
    ("image", {"href": "#"}, "href"),
    ("image", {"xlink:href": "#a"}, "xlink:href"),
    ("animate", {"attributeName": "fill", "to": f"url({EVIL})"}, "to"),
    ("animate", {"attributeName": " fill ", "to": f"url({EVIL})"}, "to"),
    ("animate", {"attributeName": "fill", "values": f"red; url({EVIL})"}, "values"),
    ("animate", {"attributeName": "fill", "values": f"image-set('{EVIL}' 1x)"}, "values"),
    ("animate", {"attributeName": "cursor", "to": "url(#a)"}, "to"),
    ("animate", {"attributeName": "cursor", "to": "var(--x)"}, "to"),
    ("animate", {"attributeName": "class", "to": "javascript:alert(1)"}, "to"),
    ("animate", {"attributeName": "class", "values": "a; JavaScript:alert(1)"}, "values"),
    ("animate", {"attributeName": "class", "from": "da\tta:text/html,x"}, "from"),
    ("rect", {"to": f"url({EVIL})"}, "to"),
    ("g", {"attributeName": "href", "to": f"url({EVIL})"}, "to"),
    ("g", {"attributeName": "onclick", "values": "a:b"}, "values"),
]


def from_document(tag: str, attrs: dict[str, str]) -> dict[str, str]:
    """Return the exported attributes of an element that a client wrote into a document."""
    out = export_svg(document({"a": {"tag": tag, "attrs": attrs}}))
    assert problems(out) == []
    return dict(etree.fromstring(out)[0].attrib)


def from_file(tag: str, attrs: dict[str, str]) -> dict[str, str]:
    """Return the attributes of a file's element after import and export."""
    root = etree.Element(f"{{{XMLNS}}}svg")
    element = etree.SubElement(root, f"{{{XMLNS}}}{tag}")
    for name, value in attrs.items():
        element.set(qualified(name), value)
    out = export_svg(import_svg(etree.tostring(root), None).update)
    assert problems(out) == []
    return dict(etree.fromstring(out)[0].attrib)


def qualified(name: str) -> str:
    return name.replace("xlink:", "{http://www.w3.org/1999/xlink}")


@pytest.mark.parametrize(("tag", "name", "value"), KEPT)
def test_attribute_in_its_own_grammar_is_kept(tag: str, name: str, value: str) -> None:
    attrs = {name: value, **({"attributeName": "x"} if tag in ("animate", "set") else {})}
    if tag == "animateTransform":
        attrs["attributeName"] = "transform"
    expected = {qualified(key): text for key, text in attrs.items()}
    assert from_file(tag, attrs) == expected
    if tag != "svg":
        assert from_document(tag, attrs) == expected


@pytest.mark.parametrize(("target", "name", "value"), ANIMATED)
def test_animated_value_in_the_grammar_of_its_target_is_kept(
    target: str, name: str, value: str
) -> None:
    attrs = {"attributeName": target, name: value}
    assert from_file("animate", attrs) == attrs
    assert from_document("animate", attrs) == attrs


@pytest.mark.parametrize(("tag", "attrs", "dropped"), DROPPED)
def test_attribute_that_fetches_or_runs_is_dropped(
    tag: str, attrs: dict[str, str], dropped: str
) -> None:
    """Proves R-SVG-3: no CSS value, reference or animated value in an attribute fetches or runs anything."""
    assert dropped not in from_document(tag, attrs)
    assert dropped not in from_file(tag, attrs)
