"""SVG to PNG, with resvg, within bounds of memory that hold before it starts."""

import math
import re
import struct

import resvg_py

from svgx_canvas import complexity, css
from svgx_canvas.complexity import Cost
from svgx_canvas.limits import DEFAULT_LIMITS, Limits, SvgRefused, require
from svgx_canvas.picture import length, natural_size
from svgx_canvas.policy import Report
from svgx_canvas.svg_reader import read_svg
from svgx_canvas.svg_writer import write_svg
from svgx_canvas.tree import Canvas, Element

_DPI = 96.0
_TRANSFORM = re.compile(r"(matrix|scale|skewX|skewY)\s*\(([^()]*)\)")
_PROBE = 256


def render_png(
    svg: bytes,
    width: int | None = None,
    height: int | None = None,
    scale: float | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> bytes:
    """A PNG of the SVG file, with the fonts that the system has.

    width, height: pixels; with one of them the other follows the file's proportions, with both the picture is the
    largest that fits into them. scale: factor on the file's own size, when neither is given. The policy and all limits
    come first. Raises `SvgRefused`: "too_large", "malformed", "forbidden", or "unrenderable" where resvg gives up.
    """
    for name, value in (("width", width), ("height", height), ("scale", scale)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise SvgRefused("malformed", name, detail=f"{name} has to be more than 0")
    canvas = read_svg(svg, limits, Report())
    cost = complexity.check(canvas, limits)
    text = write_svg(canvas).decode()
    natural = natural_size(canvas) or _probe(text)
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
    require("side", limits.side, max(across, down), "pixels of a side of the picture")
    pixels = across * down
    require("pixels", limits.pixels, pixels, "pixels of the picture")
    layer_bytes = 4 * pixels * (1 + cost.layers)
    require("layer_bytes", limits.layer_bytes, layer_bytes, "bytes of the picture and its layers")
    operations = math.ceil(min(cost.operations * max(1.0, factor) ** 2 * pixels, 1e18))
    require("filter_operations", limits.filter_operations, operations, "operations of filters")
    tiles = [_tile(element, natural) for element in canvas.walk() if element.tag == "pattern"]
    tile = math.ceil(min(max(tiles, default=0.0) * factor**2, 1e18))
    require("pattern_pixels", limits.pattern_pixels, tile, "pixels of a pattern's tile")


def _tile(pattern: Element, natural: tuple[float, float]) -> float:
    """The area of a pattern's tile in the picture's own pixels. Transforms of what it fills are left to the limit on
    the process's memory; those of the pattern itself are the usual way to a large one."""
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
        # The tile is drawn in the axes' own scales, so that a skew does not make it smaller.
        return math.hypot(a, b) * math.hypot(c, d)
    return 1.0


def _probe(text: str) -> tuple[float, float]:
    """The size of a file that does not say it: resvg takes that of what is drawn, which may be any.

    The first small picture shows the proportions. Then the scale goes up from one that makes the largest possible size
    a thousand pixels, until the smaller side is one pixel and tells.
    """
    _resvg(text, _PROBE, _PROBE, None)
    for exponent in range(-6, 0):
        try:
            png = _resvg(text, None, None, 10.0**exponent)
        except SvgRefused:
            continue
        across, down = struct.unpack(">II", png[16:24])
        return across / 10.0**exponent, down / 10.0**exponent
    # Less than five pixels on one side at least, and not more than `_PROBE` times that on the other.
    return 5.0, 5.0 * _PROBE


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
