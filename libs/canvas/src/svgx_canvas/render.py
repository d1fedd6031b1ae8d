"""Render SVG as PNG with resvg. The memory that resvg will need is checked before it starts."""

import math
import re
import struct

import resvg_py

from svgx_canvas import complexity, css
from svgx_canvas.complexity import Cost
from svgx_canvas.limits import DEFAULT_LIMITS, Limits, SvgRefused, check_limit
from svgx_canvas.picture_size import length, natural_size
from svgx_canvas.policy import Report
from svgx_canvas.svg_reader import read_svg
from svgx_canvas.svg_writer import write_svg
from svgx_canvas.tree import Canvas, Element

_DPI = 96.0
_TRANSFORM = re.compile(r"(matrix|scale|skewX|skewY)\s*\(([^()]*)\)")
_PROBE_SIDE = 256
"""Pixels of the sides of the box into which a file without a size is drawn first."""


def render_png(
    svg: bytes,
    width: int | None = None,
    height: int | None = None,
    scale: float | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> bytes:
    """Return a PNG of the SVG file, drawn with the fonts of the system.

    width, height: pixels. If only one is given, the other one follows the file's proportions. If both are given, the
    picture is the largest that fits into them. scale: factor on the file's own size, if neither is given.
    The policy and all limits are applied before rendering. Raises `SvgRefused`: "too_large", "malformed", "forbidden",
    or "unrenderable" if resvg fails.
    """
    for name, value in (("width", width), ("height", height), ("scale", scale)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise SvgRefused("malformed", name, detail=f"{name} must be greater than 0")
    canvas = read_svg(svg, limits, Report())
    cost = complexity.check(canvas, limits)
    text = write_svg(canvas).decode()
    natural = natural_size(canvas) or _drawn_size(text)
    factor = _factor(natural, width, height, scale)
    _check_picture(canvas, cost, natural, factor, limits)
    return _resvg(text, width, height, scale if width is None and height is None else None)


def _factor(
    natural: tuple[float, float], width: int | None, height: int | None, scale: float | None
) -> float:
    factors = []
    if width is not None:
        factors.append(width / natural[0])
    if height is not None:
        factors.append(height / natural[1])
    return min(factors) if factors else (scale or 1.0)


def _check_picture(
    canvas: Canvas, cost: Cost, natural: tuple[float, float], factor: float, limits: Limits
) -> None:
    across, down = (math.ceil(min(side * factor, 1e9)) for side in natural)
    check_limit("side", limits.side, max(across, down), "pixels of a side of the picture")
    pixels = across * down
    check_limit("pixels", limits.pixels, pixels, "pixels of the picture")
    layer_bytes = 4 * pixels * (1 + cost.layers)
    check_limit(
        "layer_bytes", limits.layer_bytes, layer_bytes, "bytes of the picture and its layers"
    )
    operations = math.ceil(min(cost.operations * max(1.0, factor) ** 2 * pixels, 1e18))
    check_limit("filter_operations", limits.filter_operations, operations, "operations of filters")
    # A picture without a size of its own is drawn in the size of the file.
    drawings = [(canvas, natural)]
    drawings += [(picture, natural_size(picture) or natural) for picture in cost.pictures]
    tiles = [
        _tile_area(element, size)
        for drawing, size in drawings
        for element in drawing.walk()
        if element.tag == "pattern"
    ]
    tile = math.ceil(min(max(tiles, default=0.0) * factor**2, 1e18))
    check_limit("pattern_pixels", limits.pattern_pixels, tile, "pixels of a pattern's tile")


def _tile_area(pattern: Element, natural: tuple[float, float]) -> float:
    """Return the area of a pattern's tile in pixels of the file's own size.

    The pattern's own transform counts, because it is the usual cause of a large tile. Transforms of the filled shapes
    do not count; only the memory limit of the process bounds them.
    """
    of_user_space = pattern.attrs.get("patternUnits") == "userSpaceOnUse"
    area = 1.0
    for name, whole in zip(("width", "height"), natural, strict=True):
        side = length(pattern.attrs.get(name, ""), whole) or 0.0
        if not of_user_space and not pattern.attrs.get(name, "").strip().endswith("%"):
            side *= whole
        area *= side
    for kind, text in _TRANSFORM.findall(pattern.attrs.get("patternTransform", "")[:10_000]):
        area = min(area * _area_factor(kind, css.numbers(text)), 1e30)
    return area


def _area_factor(kind: str, numbers: list[float]) -> float:
    if kind == "scale" and numbers:
        return abs(numbers[0] * numbers[-1])
    if kind == "matrix" and len(numbers) == 6:
        a, b, c, d, _, _ = numbers
        # resvg scales the tile along each axis, so a skew does not make it smaller.
        return math.hypot(a, b) * math.hypot(c, d)
    return 1.0


def _drawn_size(text: str) -> tuple[float, float]:
    """Return the size that resvg gives a file without a size: the size of the drawn content.

    The file is drawn at increasing scales, from 10 ** -6 on, until each side of the picture has at least one pixel;
    resvg fails below that. Raises `SvgRefused` if resvg cannot draw the file at all.
    """
    _resvg(text, _PROBE_SIDE, _PROBE_SIDE, None)
    for exponent in range(-6, 0):
        try:
            png = _resvg(text, None, None, 10.0**exponent)
        except SvgRefused:
            continue
        across, down = struct.unpack(">II", png[16:24])
        return across / 10.0**exponent, down / 10.0**exponent
    # The shorter side has less than 5 pixels, because resvg rounds its tenth to 0. The other one is at most
    # `_PROBE_SIDE` times as long, because the picture of the first call has at least one pixel on each side.
    return 5.0, 5.0 * _PROBE_SIDE


def _resvg(text: str, width: int | None, height: int | None, scale: float | None) -> bytes:
    try:
        return resvg_py.svg_to_bytes(
            svg_string=text, width=width, height=height, zoom=scale, dpi=_DPI
        )
    except ValueError as error:
        raise SvgRefused("unrenderable", "svg", detail=f"resvg: {error}") from None
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException:  # noqa: BLE001 - a panic in Rust is a BaseException
        raise SvgRefused("unrenderable", "svg", detail="resvg cannot draw this") from None
