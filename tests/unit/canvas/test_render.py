"""Rendering SVG to PNG. Proves R-SVG-4."""

import math
import struct
import time

import pytest

from svgx_canvas import DEFAULT_LIMITS, SvgRefused, render_png
from svgx_canvas.picture_size import picture_size
from tests.png import top_left_color


def svg(attrs: str, body: str = '<rect width="1000" height="1000" fill="#ff0000"/>') -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg" {attrs}>{body}</svg>'.encode()


def size(png: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", png[16:24])
    return width, height


@pytest.mark.parametrize(
    ("attrs", "width", "height", "scale", "expected"),
    [
        ('width="40" height="20"', None, None, None, (40, 20)),
        ('width="40" height="20"', 80, None, None, (80, 40)),
        ('width="40" height="20"', None, 10, None, (20, 10)),
        ('width="40" height="20"', 30, 30, None, (30, 15)),
        ('width="40" height="20"', None, None, 2.5, (100, 50)),
        ('width="40" height="20"', 80, None, 9.0, (80, 40)),
        ('viewBox="0 0 40 20"', None, None, None, (40, 20)),
        ('viewBox="0 0 40 20" width="10"', None, None, None, (10, 5)),
        ('viewBox="0 0 40 20" width="50%" height="200%"', None, None, None, (20, 40)),
        ('width="1in" height="25.4mm"', None, None, None, (96, 96)),
        ("", None, None, None, (1000, 1000)),
        ("", 50, None, None, (50, 50)),
        ("", None, None, 3.0, (3000, 3000)),
        ('width="2em" height="1em" font-size="50"', None, None, None, (100, 50)),
        ('width="40"', None, None, None, (1000, 1000)),
        ('width="40px " height=" 20 px"', None, None, None, (40, 20)),
    ],
)
def test_png_size_follows_the_arguments_and_the_file(
    attrs: str,
    width: int | None,
    height: int | None,
    scale: float | None,
    expected: tuple[int, int],
) -> None:
    assert size(render_png(svg(attrs), width, height, scale)) == expected


@pytest.mark.parametrize("side", [0, -1])
def test_non_positive_size_is_refused(side: int) -> None:
    for arguments in (
        (side, None, None),
        (None, side, None),
        (None, None, float(side)),
        (None, None, float("nan")),
    ):
        with pytest.raises(SvgRefused) as refused:
            render_png(svg('width="40" height="20"'), *arguments)
        assert refused.value.field in ("width", "height", "scale")


@pytest.mark.parametrize("attrs", ['width="4000" height="3"', 'viewBox="0 0 1 100"', ""])
def test_scale_with_less_than_one_pixel_for_a_side_is_refused_with_the_limit(attrs: str) -> None:
    """The limit itself is a valid scale, also for content without a size. Proves R-SVG-4."""
    with pytest.raises(SvgRefused) as refused:
        render_png(svg(attrs), scale=1e-7)
    assert (refused.value.code, refused.value.field) == ("malformed", "scale")
    limit = refused.value.limit
    assert limit is not None
    assert f"{limit:g}" in refused.value.detail
    assert min(size(render_png(svg(attrs), scale=limit))) == 1
    # With one side, the proportions give the other side, which is never too short.
    assert min(size(render_png(svg(attrs), width=1, scale=1e-7))) == 1


def test_pixels_have_the_drawn_color() -> None:
    assert top_left_color(render_png(svg('width="2" height="2"'))) == "#ff0000"


def test_policy_is_applied_before_rendering() -> None:
    """The policy removes a reference to a file of this machine, so resvg never reads that file."""
    file = svg('width="2" height="2"', '<image href="/etc/hostname" width="2" height="2"/>')
    assert render_png(file) == render_png(svg('width="2" height="2"', "<image/>"))


@pytest.mark.parametrize(
    "body",
    [
        '<path d="M-1e30 0L1e30 1000C1e38 1e38 -1e38 1e38 0 0" stroke="red" stroke-width="5"/>',
        '<path d="M0 0A1e9 1e9 0 1 1 1000 1000" stroke="red" stroke-linecap="round" stroke-width="1e5"/>',
    ],
)
def test_panic_of_the_renderer_becomes_a_refusal(body: str) -> None:
    try:
        png = render_png(svg('width="1000" height="1000"', body))
    except SvgRefused as refused:
        assert (refused.code, refused.field) == ("unrenderable", "svg")  # noqa: PT017 - rendering may succeed
    else:
        assert size(png) == (1000, 1000)


def test_empty_file_without_a_size_is_rendered() -> None:
    assert size(render_png(b'<svg xmlns="http://www.w3.org/2000/svg"/>'))[0] > 0


HUGE = "4E7"
"""A coordinate so large that a renderer would need minutes for a picture of it at any usual scale."""


@pytest.mark.parametrize(
    ("attrs", "body"),
    [
        ("", f'<path d="M-7-96 6 0 07 {HUGE}"/>'),
        ("", f'<path d="M0 0H{HUGE}V5"/>'),
        ("", '<path d="M0 0H4e20V5"/>'),
        ("", '<rect width="3e38" height="1"/>'),
        ("", '<rect width="100000" height="100000"/>'),
        ("", '<rect width="5e12" height="5e12"/>'),
        ("", '<rect width="3e38" height="3e38"/>'),
        ("", f'<g transform="scale(1 {HUGE})"><rect width="10" height="10"/></g>'),
        ("", f'<rect style="transform:scale(1,{HUGE})" transform="scale(1 {HUGE})" width="9" height="9"/>'),
        ("", f'<use href="#a" y="{HUGE}"/><rect id="a" width="9" height="9"/>'),
        ("", f'<svg y="{HUGE}"><rect width="9" height="9"/></svg>'),
        ("", f'<line x2="{HUGE}" y2="7" stroke="red"/>'),
        ("", f'<style>svg&gt;rect{{display:none}}</style><rect width="9" height="9"/><g><path d="M0 0H{HUGE}V9"/></g>'),
        ('width="40"', f'<path d="M0 0 6 0 07 {HUGE}"/>'),
        ('width="100%" height="40"', f'<path d="M0 0 6 0 07 {HUGE}"/>'),
        ('viewBox="0 0 0 0"', f'<path d="M0 0 6 0 07 {HUGE}"/>'),
        ('width="1em" height="1em" font-size="100000"', ""),
        (f'width="7" height="{HUGE}"', ""),
        ('width="1e9" height="1e9"', ""),
        ('viewBox="0 0 1e-3 1e9"', ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("arguments", [(None, None), (1, None)])
def test_picture_of_huge_content_is_refused_before_it_is_drawn(
    attrs: str, body: str, arguments: tuple[int | None, int | None]
) -> None:
    """Proves R-SVG-4: the size of a large picture is known before it is drawn, even if the file hides the size."""
    file = svg(attrs, body)
    started = time.process_time()
    try:
        png = render_png(file, *arguments)
    except SvgRefused as refused:
        assert (refused.code, refused.field) in (("too_large", "side"), ("too_large", "pixels"))  # noqa: PT017 - a requested width may make the picture small
    else:
        assert arguments[0] is not None
        assert max(size(png)) <= DEFAULT_LIMITS.side
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("attrs", "body", "expected"),
    [
        ("", '<rect width="2000" height="5"/>', (2000, 5)),
        ("", '<rect width="5" height="9000"/>', (5, 9000)),
        ("", '<rect width="0.4" height="0.7"/>', (1, 1)),
        ("", '<rect x="-50" y="-50" width="10" height="5"/>', (100, 100)),
        ("", '<path d="M0 .2H1000"/>', (1000, 1)),
        ("", '<rect width="1234" height="3999"/>', (1234, 3999)),
        ("", '<rect width="10.7" height="10.2"/>', (11, 10)),
        ('viewBox="0 0 40 50 60"', "", (40, 50)),
        ('width="1e3" height="1e-5"', "", (1000, 1)),
        (f'width="40px " height="40" viewBox="0 0 7 {HUGE}"', f'<path d="M0 0 6 0 07 {HUGE}"/>', (40, 40)),
        ('width="40px " height="40"', f'<path d="M0 0 6 0 07 {HUGE}"/>', (40, 40)),
    ],
)  # fmt: skip
def test_bounding_the_cost_does_not_change_the_size_of_a_picture(
    attrs: str, body: str, expected: tuple[int, int]
) -> None:
    """Proves R-SVG-4: a picture has the size of the file, or the extent of its content if the file has no size.

    If all content lies above or left of the origin, resvg draws 100 by 100 pixels.
    """
    assert size(render_png(svg(attrs, body))) == expected


@pytest.mark.parametrize(
    ("sides", "width", "height"),
    [
        (sides, width, height)
        for sides in ((7, 8000), (8000, 7), (300, 200), (1, 1), (16000, 1), (1, 16000), (333, 777))
        for width in (None, 1, 2, 30, 4000)
        for height in (None, 1, 2, 30, 4000)
    ],
)
def test_picture_fits_into_the_requested_box(
    sides: tuple[int, int], width: int | None, height: int | None
) -> None:
    """Proves R-SVG-4: the picture has the size that `picture_size` computes, and never exceeds a requested box."""
    file = svg(f'width="{sides[0]}" height="{sides[1]}"', "")
    expected = picture_size(sides, width, height, None)
    if max(expected) > DEFAULT_LIMITS.side or math.prod(expected) > 4_000_000:
        return
    picture = size(render_png(file, width, height))
    assert picture == expected
    if width and height:
        assert picture[0] <= width
        assert picture[1] <= height


@pytest.mark.parametrize(
    ("content", "box", "expected"),
    [
        ((100_000, 14), (8000, 1), (7143, 1)),
        ((14, 100_000), (1, 8000), (1, 7143)),
        ((100_000, 14), (8000, 2), (8000, 2)),
        ((60_000, 11), (10_000, 2), (10_000, 2)),
        ((60_000, 11), (10_912, 2), (10_910, 2)),
        ((30_000, 997), (16_000, 531), (15_978, 531)),
        ((7, 3), (300, 100), (234, 100)),
    ],
)
def test_picture_of_content_without_a_size_fits_into_the_requested_box(
    content: tuple[int, int], box: tuple[int, int], expected: tuple[int, int]
) -> None:
    """Proves R-SVG-4: the size of long content is measured on a small picture, but the box holds exactly."""
    file = svg("", '<rect width="{}" height="{}"/>'.format(*content))
    assert size(render_png(file, *box)) == expected


@pytest.mark.parametrize(
    ("content", "height"), [((223_643, 542), 60), ((100_000, 14), 3), ((30_000, 2000), 1095)]
)
def test_long_content_without_a_size_does_not_exceed_the_limit_of_a_side(
    content: tuple[int, int], height: int
) -> None:
    file = svg("", '<rect width="{}" height="{}"/>'.format(*content))
    with pytest.raises(SvgRefused) as refused:
        render_png(file, None, height)
    assert (refused.value.field, refused.value.limit) == ("side", DEFAULT_LIMITS.side)


@pytest.mark.parametrize(
    "body",
    [
        '<filter id="f"><feConvolveMatrix order="300"/></filter><g filter="url(#f)"><rect width="9" height="9"/></g>',
        '<filter id="f"><feMorphology radius="999"/></filter><g filter="url(#f)"><rect width="9" height="9"/></g>',
        '<pattern id="p" width="9e4" height="9e4" patternUnits="userSpaceOnUse"/><path d="M0 0H9V9" fill="url(#p)"/>',
    ],
)
def test_costly_content_is_refused_before_its_size_is_measured(body: str) -> None:
    """Filters and patterns are checked first, before small pictures are drawn to measure the size. Proves R-SVG-4."""
    started = time.process_time()
    with pytest.raises(SvgRefused) as refused:
        render_png(svg("", body))
    assert refused.value.field in ("filter_operations", "pattern_pixels")
    assert time.process_time() - started < 1
