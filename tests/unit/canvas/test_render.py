"""Rendering SVG to PNG. Proves R-SVG-4."""

import struct
import zlib

import pytest

from svgx_canvas import SvgRefused, render_png


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


def test_pixels_have_the_drawn_color() -> None:
    png = render_png(svg('width="2" height="2"'))
    chunk = png.index(b"IDAT")
    (length,) = struct.unpack(">I", png[chunk - 4 : chunk])
    rows = zlib.decompress(png[chunk + 4 : chunk + 4 + length])
    assert len(rows) in (2 * (1 + 2 * 4), 2 * (1 + 2 * 3))
    assert rows[1:4] == b"\xff\x00\x00"


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
