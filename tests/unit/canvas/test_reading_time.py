"""The time to read and render a file grows linearly with the length of its texts. Proves R-SVG-4."""

import time
from xml.sax.saxutils import escape, quoteattr

import pytest

from svgx_canvas import SvgRefused, render_png

_CHARACTERS = 60_000
"""The length of each text. A regular expression with quadratic time needs 10 s or more for it."""


def _sheet(text: str) -> str:
    return f'<style>{escape(text)}</style><rect class="a"/>'


def _attribute(name: str, text: str) -> str:
    return f"<rect {name}={quoteattr(text)}/>"


def _repeated(unit: str) -> str:
    return unit * (_CHARACTERS // len(unit))


REPETITIONS = {
    **{
        f"{unit!r} in a string of a style sheet": _sheet('.a{--x:"' + _repeated(unit) + '"}')
        for unit in ("url(#", "url( #", "url(\t#", "url(#a\t", "{", "\\")
    },
    **{
        f"{unit!r} in a style sheet": _sheet(".a{fill:red}" + _repeated(unit))
        for unit in ('"', "'", "/*", "(", "{", "\\", "@a", ".a,", "fill:url(#a)*", "<")
    },
    **{
        f"{unit!r} in a style attribute": _attribute("style", "fill:red;" + _repeated(unit))
        for unit in ('"', "'", "/*", "(", "a(", "\\", "url(#", "filter:blur ", "mask:url(#a)*", "!")
    },
    **{
        f"{unit!r} in {name}": _attribute(name, _repeated(unit))
        for name, units in {
            "class": ("a ", " "),
            "fill": ("url(#", "url(", "url ", "url(\t", "url(data:,", "\\"),
            "filter": ("blur ", "blur(", "blur"),
            "transform": ("scale(", "scale ", "scale(1)", "1"),
            "href": ("data:", "data:;base64,", "#a "),
        }.items()
        for unit in units
    },
    **{
        f"{name} of digits with {unit!r}": f'<pattern id="p" {name}="1{_repeated(unit)}x"/>'
        for name in ("width", "height")
        for unit in ("1", " ", ".", "e1")
    },
    **{
        f"{value[:7]!r} in one long value of many classes": "".join(
            (
                "<style>",
                *(f".a{index}," for index in range(5000)),
                f".a{{{name}:{value}}}</style>",
                *(f'<g class="a{index}"/>' for index in range(5000)),
            )
        )
        for name, value in (
            ("mask", "url(#z)" * 20_000),
            ("mask", f"url(#{'z' * 200_000})"),
            ("filter", "blur(1)" * 20_000),
            ("mask", "1 " * 100_000 + "url(#z)"),
        )
    },
    "gradients of one class": "".join(
        (
            "<style>",
            *(f".a{{fill:url(#p{index})}}" for index in range(4200)),
            "</style>",
            *(f'<linearGradient id="p{index}"/>' for index in range(4200)),
            '<g class="a">' + '<rect class="a"/>' * 2500 + "</g>",
        )
    ),
    "width of digits in the root of a picture": (
        '<image href="data:image/svg+xml,'
        f"%3Csvg xmlns='http://www.w3.org/2000/svg' width='{_repeated('1')}x'/%3E"
        '"/>'
    ),
    **{
        f"{name} that many patterns inherit": f'<pattern id="p" {name}="{_repeated(unit)}"/>'
        + '<pattern href="#p"/>' * 3000
        for name, unit in (("patternTransform", "scale(1)"), ("width", "1"), ("height", " "))
    },
    "scales in patternTransform": f'<pattern id="p" patternTransform="{_repeated("scale(")}"/>',
}
"""For each name, the content of a file with a repeated text."""


@pytest.mark.parametrize("name", REPETITIONS)
def test_file_with_a_repeated_text_is_rendered_or_refused_within_5_seconds(name: str) -> None:
    file = f'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">{REPETITIONS[name]}</svg>'
    started = time.process_time()
    try:
        render_png(file.encode())
    except SvgRefused:
        pass
    assert time.process_time() - started < 5
