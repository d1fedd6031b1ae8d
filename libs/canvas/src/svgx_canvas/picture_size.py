"""The size in pixels of the picture that a canvas is rendered to."""

import math
import re

from svgx_canvas import css
from svgx_canvas.tree import Canvas

_LENGTH = re.compile(
    r"\s*+([-+]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][-+]?[0-9]++)?)\s*+(px|pt|pc|mm|cm|in|em|ex|%|)\s*+"
)
"""A number and its unit. The quantifiers are possessive, so that matching takes linear time."""
_PIXELS = {
    "": 1.0,
    "px": 1.0,
    "pt": 96 / 72,
    "pc": 16.0,
    "mm": 96 / 25.4,
    "cm": 96 / 2.54,
    "in": 96.0,
    # These two units assume the default font size of 16 px. Only other callers of `length` use them, because
    # `natural_size` returns None for em and ex.
    "em": 16.0,
    "ex": 8.0,
}
"""CSS pixels per unit, at 96 dpi (CSS Values and Units 4, section 6.2)."""


def natural_size(canvas: Canvas) -> tuple[float, float] | None:
    """Return width and height in pixels from the root's attributes, as resvg computes them.

    Percentages refer to the view box. If only one side is given, the other one follows the proportions of the view box.
    A side that resvg cannot represent is `css.MAX_NUMBER` pixels long. Return None if the attributes give no size:
    resvg then takes the size of the drawn content. Also return None for lengths in em and ex, because they depend on
    the font.
    """
    box = view_box(canvas)
    sides = [canvas.attrs.get(name, "").strip() for name in ("width", "height")]
    if any(side.endswith(("em", "ex")) for side in sides):
        return None
    width = length(sides[0], box[0] if box else None)
    height = length(sides[1], box[1] if box else None)
    if width is not None and height is not None:
        return width, height
    if box is None:
        return None
    if width is not None:
        return width, min(width * box[1] / box[0], css.MAX_NUMBER)
    if height is not None:
        return min(height * box[0] / box[1], css.MAX_NUMBER), height
    return box


def picture_size(
    natural: tuple[float, float], width: int | None, height: int | None, scale: float | None
) -> tuple[int, int]:
    """Return width and height in pixels of the picture that resvg draws, computed as resvg computes them.

    `natural` is the SVG's own size: the result of `natural_size`, or else the size of the drawn content. If only one
    side is given, the other one follows the proportions of `natural`. If both sides are given, the picture is the
    largest that fits into a box of this size. If no side is given, the picture has `scale` times the SVG's own size.
    """
    across, down = _whole_pixels(natural)
    if width is None and height is None:
        factor = scale or 1.0
        return math.floor(across * factor + 0.5), math.floor(down * factor + 0.5)
    if height is None or (width is not None and fills_width(natural, width, height)):
        assert width is not None
        return width, -(-width * down // across)
    return -(-height * across // down), height


def smallest_scale(natural: tuple[float, float]) -> float:
    """Return the smallest accepted scale of a picture. Below it, a side would have no pixel: resvg would draw nothing.

    The scale is one percent larger than the half pixel that resvg rounds up, because resvg computes with fewer digits.
    """
    return float(f"{0.505 / min(_whole_pixels(natural)):.3g}")


def fills_width(natural: tuple[float, float], width: int, height: int) -> bool:
    """Return whether the largest picture that fits into a box of this size has the width of the box."""
    across, down = _whole_pixels(natural)
    return width * down <= height * across


def _whole_pixels(natural: tuple[float, float]) -> tuple[int, int]:
    """Return a size in whole pixels, within the numbers that resvg can represent."""
    across, down = (min(max(1, math.floor(side + 0.5)), 2**32 - 1) for side in natural)
    return across, down


def view_box(canvas: Canvas) -> tuple[float, float] | None:
    """Return width and height of the root's view box, or None if it is missing or invalid.

    A view box with a number that resvg cannot represent is invalid.
    """
    numbers = css.numbers(canvas.attrs.get("viewBox", ""), 5)
    if len(numbers) != 4 or not (numbers[2] > 0 and numbers[3] > 0):
        return None
    if max(map(abs, numbers)) >= css.MAX_NUMBER:
        return None
    return numbers[2], numbers[3]


def length(text: str, whole: float | None) -> float | None:
    """Return a positive length in pixels, or None for any other text. `whole` is the length of 100 percent.

    A length above `css.MAX_NUMBER` becomes `css.MAX_NUMBER`, and an infinite one is None, because resvg ignores it.
    """
    match = _LENGTH.fullmatch(text)
    if match is None:
        return None
    number, unit = float(match.group(1)), match.group(2)
    if unit == "%":
        if whole is None:
            return None
        number *= whole / 100
    else:
        number *= _PIXELS[unit]
    return min(number, css.MAX_NUMBER) if number > 0 and math.isfinite(number) else None
