"""Render SVG as PNG with resvg. The memory that resvg will need is checked before resvg starts."""

import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import cache

import resvg_py

from svgx_canvas import complexity, css
from svgx_canvas.complexity import Cost
from svgx_canvas.limits import DEFAULT_LIMITS, Limits, SvgRefused, check_limit
from svgx_canvas.picture_size import fills_width, length, natural_size, picture_size, smallest_scale
from svgx_canvas.policy import Report
from svgx_canvas.svg_reader import read_svg
from svgx_canvas.svg_writer import write_svg
from svgx_canvas.tree import Canvas, Element

_DPI = 96.0
_TRANSFORM = re.compile(r"(matrix|scale|skewX|skewY)\s*\(([^()]*)\)")
_TILE_ATTRIBUTES = ("width", "height", "patternUnits", "patternTransform")
_PROBE_SIDE = 256
"""Longer side in pixels of the test picture from which `_measure` learns the size of a file that states no size."""
_LONG_SIDE = 16_384
"""Longer side in pixels of the test pictures from which `_measure` learns the proportions of a file without a size."""
_LOW_RATIO = 16
"""`_first_picture` searches in large steps if the longer side is at most this many times the shorter one.

A large step raises the scale by a factor of 100. Each picture that is drawn during this search then has at most 50 by
800 pixels.
"""


def render_png(
    svg: bytes,
    width: int | None = None,
    height: int | None = None,
    scale: float | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> bytes:
    """Return a PNG of the SVG file, drawn with the fonts of the system.

    width, height: pixels. If only one is given, the other one follows the file's proportions. If both are given, the
    picture is the largest that fits into a box of this size. scale: factor on the file's own size, if neither width nor
    height is given.
    The policy and all limits are applied before rendering. Raises `SvgRefused`: "too_large", "malformed", "forbidden",
    or "unrenderable" if resvg fails.
    """
    for name, value in (("width", width), ("height", height), ("scale", scale)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise SvgRefused("malformed", name, detail=f"{name} must be greater than 0")
    canvas = read_svg(svg, limits, Report(), max_bytes=limits.export_bytes)
    cost = complexity.check(canvas, limits)
    _remove_circular_references(canvas, cost)
    natural = natural_size(canvas)
    if natural is not None:
        # Write the size as plain numbers, because resvg reads fewer spellings of a length than `natural_size`. With a
        # length that it cannot read, resvg draws the picture in the size of the content.
        canvas.attrs |= {
            name: f"{side:.10g}" for name, side in zip(("width", "height"), natural, strict=True)
        }
    text = write_svg(canvas).decode()
    if natural is None:
        natural = _measure(text, lambda pixels: _check_cost(canvas, cost, limits, pixels=pixels))
    if width is None and height is None and scale is not None:
        _check_scale(scale, smallest_scale(natural))
    size = picture_size(natural, width, height, scale)
    _check_size(size, limits)
    factor = max(
        side / max(natural_side, 1e-9) for side, natural_side in zip(size, natural, strict=True)
    )
    _check_cost(canvas, cost, limits, natural=natural, factor=factor, pixels=size[0] * size[1])
    if width is not None and height is not None:
        return _fitting(text, width, height, natural)
    png = _resvg(text, width, height, scale if width is None and height is None else None)
    _check_size(_size(png), limits)
    return png


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    for side in size:
        check_limit("side", limits.side, side, "pixels of a side of the picture")
    check_limit("pixels", limits.pixels, size[0] * size[1], "pixels of the picture")


def _fitting(text: str, width: int, height: int, natural: tuple[float, float]) -> bytes:
    """Return the largest picture that fits into a box.

    One side alone determines the picture. With both, resvg may exceed one of them, even by thousands of pixels. The
    other side is tried if the picture exceeds the box, because `natural` may be inexact (see `_measure`).
    """
    sides = [(width, None), (None, height)]
    if not fills_width(natural, width, height):
        sides.reverse()
    png = _resvg(text, *sides[0], None)
    across, down = _size(png)
    return png if across <= width and down <= height else _resvg(text, *sides[1], None)


def _check_scale(scale: float, smallest: float) -> None:
    if scale < smallest:
        detail = (
            f"scale: must be at least {smallest:g}, so that each side of the picture has a pixel"
        )
        raise SvgRefused("malformed", "scale", smallest, detail=detail)


def _remove_circular_references(canvas: Canvas, cost: Cost) -> None:
    """Remove the references that close circles, because resvg would exhaust its stack. Browsers ignore them too.

    Raises `SvgRefused` "unrenderable" if a style sheet may have an important declaration with such a reference.
    """
    if not cost.circular:
        return
    for element in canvas.walk():
        if element.tag == "style" and any("!" in child.text for child in element.children):
            raise SvgRefused(
                "unrenderable",
                "svg",
                detail="elements refer to each other in a circle; "
                "remove the circle, or !important from the style sheets",
            )
    for reference in cost.circular:
        reference.remove()


def _check_cost(
    canvas: Canvas,
    cost: Cost,
    limits: Limits,
    *,
    natural: tuple[float, float] = (1.0, 1.0),
    factor: float = 1.0,
    pixels: int,
) -> None:
    """Raise `SvgRefused` if drawing a picture of `pixels` needs more memory or operations than the limits.

    factor: pixels of the picture for one unit of the canvas.
    """
    layer_bytes = 4 * pixels * (1 + cost.layers)
    check_limit(
        "layer_bytes", limits.layer_bytes, layer_bytes, "bytes of the picture and its layers"
    )
    operations = math.ceil(min(cost.operations * max(1.0, factor) ** 2 * pixels, 1e18))
    check_limit("filter_operations", limits.filter_operations, operations, "operations of filters")
    # An embedded SVG picture without a size of its own is drawn in the size of the file.
    drawings = [(canvas, natural)]
    drawings += [(picture, natural_size(picture) or natural) for picture in cost.pictures]
    tiles = [area for drawing, size in drawings for area in _tile_areas(drawing, size)]
    tile = math.ceil(min(max(tiles, default=0.0) * factor**2, 1e18))
    check_limit("pattern_pixels", limits.pattern_pixels, tile, "pixels of a pattern's tile")


def _tile_areas(drawing: Canvas, natural: tuple[float, float]) -> Iterator[float]:
    """Yield the areas of all tiles of patterns, in pixels of the file's own size.

    A pattern has the attributes of the pattern that its `href` names, if it lacks them itself, and so on.
    """
    patterns = [each for each in drawing.walk() if each.tag == "pattern"]
    by_id = {each.attrs["id"]: each for each in patterns if "id" in each.attrs}
    found: dict[int, Mapping[str, str]] = {}
    tiles = _Tiles(natural)
    for pattern in patterns:
        chain: list[Element] = []
        next_pattern: Element | None = pattern
        while next_pattern is not None and id(next_pattern) not in found:
            found[id(next_pattern)] = {}  # ends a circle of references
            chain.append(next_pattern)
            next_pattern = _target_of(next_pattern, by_id)
        for each in reversed(chain):
            target = _target_of(each, by_id)
            inherited = {} if target is None else found[id(target)]
            own = {name: each.attrs[name] for name in _TILE_ATTRIBUTES if name in each.attrs}
            found[id(each)] = {**inherited, **own}
        yield tiles.area(found[id(pattern)])


def _target_of(pattern: Element, by_id: Mapping[str, Element]) -> Element | None:
    """Return the pattern that a pattern refers to, or None. resvg prefers `href` to `xlink:href`."""
    href = pattern.attrs.get("href") or pattern.attrs.get("xlink:href", "")
    return next((by_id[each] for each in css.href_ids(href) if each in by_id), None)


class _Tiles:
    """Computes the tiles of the patterns of one drawing.

    Each text is read once, because very many patterns can inherit a very long one.
    """

    def __init__(self, natural: tuple[float, float]) -> None:
        self._natural = natural
        self._side = cache(_side)
        self._factor = cache(_factor)

    def area(self, attrs: Mapping[str, str]) -> float:
        """Return the area of the tile of a pattern with these attributes, in pixels of the file's own size.

        The pattern's own transform counts, because it is the usual cause of a large tile. Transforms of the filled
        shapes do not count; only the memory limit of the process bounds them.
        """
        in_user_space = attrs.get("patternUnits") == "userSpaceOnUse"
        area = 1.0
        for name, natural_side in zip(("width", "height"), self._natural, strict=True):
            side, is_percentage = self._side(attrs.get(name, ""), natural_side)
            area *= side if in_user_space or is_percentage else side * natural_side
        return min(area * self._factor(attrs.get("patternTransform", "")), 1e30)


def _side(text: str, natural_side: float) -> tuple[float, bool]:
    """Return the length of a side of a tile, and whether the text is a percentage."""
    return length(text, natural_side) or 0.0, text.strip().endswith("%")


def _factor(transform: str) -> float:
    """Return the factor by which a transform enlarges an area, up to 1e200."""
    factor = 1.0
    for kind, text in _TRANSFORM.findall(transform):
        factor = min(factor * _area_factor(kind, css.numbers(text, 7)), 1e200)
    return factor


def _area_factor(kind: str, numbers: list[float]) -> float:
    if kind == "scale" and numbers:
        return abs(numbers[0] * numbers[-1])
    if kind == "matrix" and len(numbers) == 6:
        a, b, c, d, _, _ = numbers
        # resvg scales the tile along each axis, so a skew does not make it smaller.
        return math.hypot(a, b) * math.hypot(c, d)
    return 1.0


def _measure(text: str, check_pixels: Callable[[int], None]) -> tuple[float, float]:
    """Return the size that resvg gives a file without a size: the extent of the drawn content from the origin.

    resvg reveals this size only in the pictures that it draws. So each picture that this function draws must be small,
    however large the content is. The proportions are measured first, with pictures that are two pixels high or wide.
    Then the scale rises from 10 ** -10 until resvg draws a picture. Before that, resvg fails without drawing, because
    a side is shorter than half a pixel. If the longer side is below 250 pixels, the size is exact in whole pixels.
    Otherwise the sides are those of a smaller picture, which are rounded to whole pixels. The longer side is accurate
    to a quarter of a percent. The shorter side comes from the proportions if the ratio is above `_LOW_RATIO`, and is
    accurate to a few percent.

    `check_pixels` raises `SvgRefused` if a picture with so many pixels costs too much. Raises `SvgRefused`
    "too_large" if one side is at least `_LONG_SIDE` / 2 times the other, and "unrenderable" if resvg cannot draw the
    file.
    """
    check_pixels(4 * _LONG_SIDE)
    ratio = 1.0
    for box in ((2, _LONG_SIDE), (_LONG_SIDE, 2)):
        across, down = _size(_resvg(text, *box, None))
        ratio = max(ratio, across / down, down / across)
    if ratio >= _LONG_SIDE / 2:
        raise SvgRefused(
            "too_large",
            "side",
            _LONG_SIDE // 2,
            detail=f"one side of the content is at least {_LONG_SIDE // 2} times as long as the other (side); "
            "give the canvas a width and a height, or a viewBox",
        )
    step = 2 if ratio <= _LOW_RATIO else 1
    check_pixels(math.ceil(25 * 10 ** (2 * step - 2) * ratio))
    zoom, png = _first_picture(text, step)
    longest = max(_size(png))
    if zoom < 1 and longest < _PROBE_SIDE:
        zoom = min(1.0, zoom * _PROBE_SIDE / longest)
        png = _resvg(text, None, None, zoom)
    across, down = _size(png)
    if ratio > _LOW_RATIO and zoom < 1:
        longer = max(across, down) / zoom
        return (longer, longer / ratio) if across > down else (longer / ratio, longer)
    return across / zoom, down / zoom


def _first_picture(text: str, step: int) -> tuple[float, bytes]:
    """Return the first of the scales 10 ** -10, 10 ** (step - 10), … at which resvg draws a picture, and the picture.

    Its shorter side has 1 to 5 pixels with a step of 1, and up to 50 pixels with a step of 2.
    """
    for exponent in range(-10, 0, step):
        try:
            return 10.0**exponent, _resvg(text, None, None, 10.0**exponent)
        except SvgRefused:
            continue
    return 1.0, _resvg(text, None, None, 1.0)


def _size(png: bytes) -> tuple[int, int]:
    across, down = struct.unpack(">II", png[16:24])
    return across, down


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
        raise SvgRefused("unrenderable", "svg", detail="resvg cannot draw the file") from None
